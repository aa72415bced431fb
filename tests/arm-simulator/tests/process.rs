//! The simulator as a process of its own.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use arm_simulator::Endpoints;

#[test]
fn it_prints_its_endpoints_and_ends_with_its_standard_input() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state.json");
    let seeds = r#"{"machines": [{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web"}]}"#;
    std::fs::write(&state, seeds).expect("the state is written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_arm-simulator"))
        .args(["--exit-with-stdin", "--throttling", "off", "--dir"])
        .arg(dir.path())
        .arg("--state")
        .arg(&state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = child.stdout.take().expect("its output");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let endpoints: Endpoints = serde_json::from_str(&line).expect("endpoints");
    assert!(endpoints.arm.starts_with("https://127.0.0.1:"));
    let pem = std::fs::read_to_string(&endpoints.ca_pem).expect("the CA");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(dir.path().join("endpoints.json").exists());
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}
