use std::fs;
use std::path::{Path, PathBuf};

use devenv::guardian::{Guardian, Scratch};

use crate::wait::until;

/// A process that lives until it is made to end.
fn sleeper() -> Guardian {
    Guardian::of("sleep").args(["600"])
}

/// The process whose id is in this file, once it is.
pub fn pid_in(file: &Path) -> String {
    let read = || fs::read_to_string(file).unwrap_or_default();
    until("a process id", || read().ends_with('\n'));
    read().trim().to_owned()
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
pub fn runs(pid: &str) -> bool {
    let status = fs::read_to_string(PathBuf::from("/proc").join(pid).join("stat"));
    status.is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[test]
fn a_dropped_child_ends_and_its_directory_goes_after_it() {
    let scratch = Scratch::new().expect("a directory");
    let (path, log) = (scratch.path().to_path_buf(), scratch.path().join("sleeper.log"));
    let child = sleeper().spawn(&log, Some(&scratch)).expect("a child");
    let pid = pid_in(&log.with_extension("pid"));
    assert!(runs(&pid));

    drop(scratch);
    assert!(path.exists(), "the child still needs it");
    drop(child);
    until("the child to end", || !runs(&pid));
    until("the directory to go", || !path.exists());
}

#[test]
fn what_a_killed_child_started_ends_too() {
    let scratch = Scratch::new().expect("a directory");
    let file = scratch.path().join("grandchild");
    let script = format!("sleep 600 & echo $! >{}; wait", file.display());
    let child = Guardian::of("sh").args(["-c".to_owned(), script]);
    let child = child.spawn(&scratch.path().join("child.log"), None).expect("a child");
    let grandchild = pid_in(&file);

    drop(child);
    until("the grandchild to end", || !runs(&grandchild));
}

#[test]
fn signals_reach_the_child_and_its_end_is_told() {
    let scratch = Scratch::new().expect("a directory");
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let log = scratch.path().join("child.log");
    let mut child = Guardian::of("sh").args(["-c", script]).spawn(&log, None).expect("a child");
    until("the child to be ready", || fs::read_to_string(&log).is_ok_and(|text| text == "ready\n"));
    assert_eq!(child.ended().expect("a status"), None);

    child.signal("TERM").expect("it runs");
    assert_eq!(child.wait().expect("a status").code(), Some(7));
}

#[test]
fn a_program_that_does_not_exist_ends_at_once_and_its_log_says_why() {
    let scratch = Scratch::new().expect("a directory");
    let log = scratch.path().join("child.log");
    let mut child = Guardian::of("/nowhere/nothing").spawn(&log, None).expect("a guardian");
    assert_eq!(child.wait().expect("a status").code(), Some(127));
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains("not found"), "{text}");
}
