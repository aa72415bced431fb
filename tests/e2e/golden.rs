//! Objects as this version writes them, frozen in `tests/golden`: a later one must read them, and needs no write to ARM for
//! it. What Flux and others make of each state is judged by the library that they use.
mod freeze;
mod kstatus;
mod thaw;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use devenv::paths;
use serde_json::Value;

pub use kstatus::kstatus;

/// In place of the namespace that everything was made in.
const NAMESPACE: &str = "namespace-of-golden-objects";

/// With this the removals of some states wait for ever.
const FLAGS: [&str; 1] = ["--removals=paused"];

/// Each state, and what kstatus makes of its objects: those that people write first, then those that the controller keeps.
///
/// Who only observes has changes pending for as long as he observes: `InProgress` for kstatus by itself; what
/// `deploy/gitops-example` adds for Flux and Argo CD says better.
const STATES: [(&str, &[&str]); 17] = [
    ("ready", &["Current", "Current"]),
    ("waits-for-machine", &["InProgress"]),
    ("conflict", &["Failed", "Failed", "Failed"]),
    ("contested", &["Failed", "Failed"]),
    ("observes", &["InProgress", "InProgress"]),
    ("observes-what-is-so", &["Current", "Current"]),
    ("suspended", &["InProgress", "InProgress"]),
    // The target's object is written before anything is known to say about it; nobody waits for one.
    ("applying", &["InProgress", "Current"]),
    ("removal-waits", &["InProgress", "InProgress"]),
    ("deletion-waits", &["Terminating", "InProgress"]),
    ("managed-by-aks", &["Failed", "Failed"]),
    ("default-held", &["Failed", "Failed"]),
    ("identity-ready", &["Current", "Current", "Current", "Current"]),
    ("waits-for-identity", &["InProgress", "InProgress"]),
    ("identity-exists", &["Failed"]),
    ("identity-waits-for-group", &["InProgress"]),
    ("identity-in-use", &["Terminating", "Current"]),
];

fn folder() -> PathBuf {
    paths::repository().join("tests/golden/v1alpha1")
}

/// The objects of each state, with this namespace.
fn frozen(namespace: &str) -> Result<BTreeMap<String, Vec<Value>>> {
    let read = |(state, _): &(&str, _)| -> Result<(String, Vec<Value>)> {
        let file = folder().join(format!("{state}.json"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(((*state).to_owned(), serde_json::from_str(&text.replace(NAMESPACE, namespace))?))
    };
    STATES.iter().map(read).collect()
}

/// Types and statuses and reasons of an object's conditions.
fn conditions(object: &Value) -> Vec<String> {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    conditions.map(|it| format!("{}={} {}", text(it, "type"), text(it, "status"), text(it, "reason"))).collect()
}
