//! Programs of a test's own making.

use std::path::Path;
use std::process::Command;

/// Writes a shell script that can be run.
///
/// Another process does the writing: what this one holds open for writing, a child that another test
/// starts at that moment holds too, and the system refuses to run it ("text file busy").
pub fn write(path: &Path, script: &str) {
    let writer = r#"mkdir -p "${1%/*}" && printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
    run(Command::new("sh").args(["-c", writer, "write"]).arg(path).arg(script));
}

/// Copies a program, in the same way.
pub fn copy(program: &Path, to: &Path) {
    run(Command::new("cp").arg(program).arg(to));
}

fn run(command: &mut Command) {
    assert!(command.status().expect("it runs").success(), "{command:?}");
}
