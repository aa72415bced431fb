//! The product on a real control plane and a simulated Azure: what is declared, what leaves for ARM, what results, and
//! what people are told.
mod absence;
mod admission;
mod admission_identities;
mod api_server;
mod chaos;
mod clouds;
mod commands;
mod contested;
mod dangling;
mod explained;
mod faults;
mod faults_leaving;
mod faults_some;
mod faults_unknown;
mod harness;
mod holding;
mod identities;
mod killed;
mod laundering;
mod leading;
mod leaving;
mod observing;
mod one_bad;
mod operations;
mod owning;
mod policies;
mod principals;
mod process;
mod promises;
mod quota;
mod races;
mod rights;
mod safety;
mod scenarios;
mod sharing;
mod start;
mod starting;
mod sweeps;
#[path = "../scenarios/table.rs"]
#[allow(dead_code, reason = "how the plan prints is for the planner's own test")]
mod table;
mod targets;
mod tokens;
mod unanswered;
mod uninstalling;
