//! The program takes the arguments and environment that the manifests give it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{ArmSimulator, Settings};
use rstest::rstest;
use serde_json::Value;

use crate::render::{OVERLAYS, deploy, find, kustomize, objects};

/// What the manifests leave to Kubernetes to fill in: a Secret's keys, and the pod's names.
fn value_of(variable: &Value) -> Result<String> {
    if let Some(value) = variable["value"].as_str() {
        return Ok(value.to_owned());
    }
    let from = &variable["valueFrom"];
    if let Some(key) = from["secretKeyRef"]["key"].as_str() {
        return Ok(if key.ends_with("-id") { crate::render::NOBODY.into() } else { "a secret".into() });
    }
    let field = from["fieldRef"]["fieldPath"].as_str().context("a value from elsewhere")?;
    Ok(field.replace('.', "-"))
}

#[rstest]
fn the_program_takes_what_the_overlay_gives_it(#[values(0, 1, 2, 3, 4)] which: usize) -> Result<()> {
    let (overlay, _) = OVERLAYS[which];
    let all = objects(&kustomize(&deploy("overlays").join(overlay))?)?;
    let template = &find(&all, "Deployment", "lanyard")?["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let home = tempfile::tempdir()?;
    let azure = ArmSimulator::start(Settings::quick())?;
    let mut program = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    program.env_clear().env("HOME", home.path()).stdin(Stdio::null());
    for argument in container["args"].as_array().context("no arguments")? {
        program.arg(argument.as_str().context("no text")?);
    }
    // A pod has all its ports to itself; here others may listen on the usual one.
    program.arg("--http-listen=127.0.0.1:0");
    for variable in container["env"].as_array().context("no environment")? {
        let name = variable["name"].as_str().context("no name")?;
        let value = value_of(variable)?;
        // What is mounted in a pod is not here: some authorities stand for those of the stack.
        let value = if name == "SSL_CERT_FILE" { azure.ca_pem_path().display().to_string() } else { value };
        program.env(name, value);
    }
    if template["metadata"]["labels"]["azure.workload.identity/use"] == "true" {
        // As Azure's webhook does.
        program.env("AZURE_CLIENT_ID", crate::render::NOBODY).env("AZURE_TENANT_ID", crate::render::NOBODY);
        program.env("AZURE_FEDERATED_TOKEN_FILE", "/token");
    }
    // It gets as far as to look for a cluster, of which there is none here.
    let said = String::from_utf8(program.output()?.stderr)?;
    ensure!(said.contains("error: no cluster to work on"), "{said}");
    Ok(())
}
