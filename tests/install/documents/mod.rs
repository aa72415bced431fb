//! What people read is so: links lead somewhere, manifests are taken by a real API server, command lines are understood by the
//! programs that they are for, and every field, value and option is told of.
//!
//! How much there is of it is written past the test harness, so that a run shows it.
mod blocks;
mod commands;
mod fields;
mod links;
mod pages;
mod workflows;

use std::io::Write as _;

/// A line of the report, whatever becomes of the test.
fn count(line: &str) {
    let _ = writeln!(std::io::stderr(), "documents: {line}");
}
