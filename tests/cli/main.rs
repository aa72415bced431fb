//! The command line as people and pipelines run it: the real program against the simulated Azure, and no cluster.
mod identities;
mod import;
mod input;
mod plan;
mod preflight;
mod program;
mod validate;
