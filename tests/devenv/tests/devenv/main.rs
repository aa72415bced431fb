//! What the dev environment promises to the tests that build on it.

mod control_plane;
mod guardian;
mod parts;
mod script;
mod up;
mod wait;
mod world;
