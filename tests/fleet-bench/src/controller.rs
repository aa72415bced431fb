//! The program that is measured, as a process.
use anyhow::{Context as _, Result};
use devenv::control_plane::ControlPlane;
use devenv::guardian::{Guarded, Guardian};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

use crate::azure::Azure;
use crate::process;
use crate::wait::until;

/// A process that has much to put in order may take its time to stop.
const TO_STOP: Duration = Duration::from_secs(60);
const TO_START: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);

pub struct Controller {
    process: Guarded,
    pid: u32,
    log: PathBuf,
    /// Where its metrics are, once it listens.
    listen: String,
    http: reqwest::Client,
    pub begun: Instant,
}

/// How busy it says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    pub due: u64,
    pub under_way: u64,
}

impl Controller {
    pub async fn start(
        program: &Path,
        options: &[String],
        control_plane: &ControlPlane,
        azure: &Azure,
        number: usize,
    ) -> Result<Self> {
        let log = control_plane.directory().join(format!("lanyard-{number}.log"));
        let mut guardian = Guardian::of(program).args(["controller", "--http-listen", "127.0.0.1:0"]).args(options);
        for (name, value) in variables(control_plane, azure) {
            guardian = guardian.env(name, value);
        }
        let begun = Instant::now();
        let process = guardian.spawn(&log, Some(control_plane.scratch()))?;
        let (pid_file, log_file) = (log.with_extension("pid"), log.clone());
        let found = until("the program listens", TO_START, GLANCE, async || {
            let pid = fs::read_to_string(&pid_file).unwrap_or_default().trim().parse().ok();
            Ok(pid.zip(listens(&fs::read_to_string(&log_file).unwrap_or_default())))
        });
        let (pid, listen) = found.await.with_context(|| end_of(&log))?;
        Ok(Self { process, pid, log, listen, http: reqwest::Client::builder().build()?, begun })
    }

    /// As Kubernetes stops it: told, then waited for.
    pub async fn stop(mut self) -> Result<()> {
        self.process.signal("TERM")?;
        let process = &mut self.process;
        until("the program stops", TO_STOP, GLANCE, async || Ok(process.ended()?)).await?;
        Ok(())
    }

    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid).with_context(|| end_of(&self.log))
    }

    /// Kilobytes: resident now, and at most so far.
    pub fn memory(&self) -> Result<(u64, u64)> {
        process::memory(self.pid).with_context(|| end_of(&self.log))
    }

    pub async fn depth(&self) -> Result<Depth> {
        let page = format!("http://{}/metrics", self.listen);
        let text = self.http.get(page).send().await.with_context(|| end_of(&self.log))?.text().await?;
        let gauge = |name: &str| {
            let line = text.lines().find(|line| !line.starts_with('#') && line.contains(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let whole = |value: f64| if value > 0.0 { value.ceil() as u64 } else { 0 };
        let due = gauge("targets_due").context("the program tells no targets_due")?;
        let under_way = gauge("targets_under_way").context("the program tells no targets_under_way")?;
        Ok(Depth { due: whole(due), under_way: whole(under_way) })
    }

    /// Whether it is ready, and has neither work at hand nor work that is due.
    pub async fn is_idle(&self) -> Result<bool> {
        let ready = self.http.get(format!("http://{}/readyz", self.listen)).send().await?.status().is_success();
        Ok(ready && self.depth().await? == Depth { due: 0, under_way: 0 })
    }

    pub fn last_words(&self) -> String {
        end_of(&self.log)
    }
}

fn variables(control_plane: &ControlPlane, azure: &Azure) -> Vec<(&'static str, String)> {
    let endpoints = &azure.endpoints;
    vec![
        ("KUBECONFIG", control_plane.kubeconfig().display().to_string()),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", endpoints.arm.clone()),
        ("AZURE_AUTHORITY_HOST", endpoints.authority.clone()),
        ("AZURE_TENANT_ID", endpoints.tenant_id.clone()),
        ("AZURE_CLIENT_ID", endpoints.client_id.clone()),
        ("AZURE_CLIENT_SECRET", endpoints.client_secret.clone()),
        ("SSL_CERT_FILE", endpoints.ca_pem.display().to_string()),
        ("LANYARD_LEASE_NAMESPACE", "default".to_owned()),
    ]
}

/// The address in the line that says so.
fn listens(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("\"listen\":\"")?;
    rest.split_once('"').map(|(address, _)| address.to_owned())
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("its log ends with:\n{}", lines[lines.len().saturating_sub(12)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let line =
            r#"{"level":"INFO","fields":{"message":"lanyard starts","version":"0.1.0","listen":"127.0.0.1:4711"}}"#;
        assert_eq!(listens(line).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(listens("{}"), None);
    }
}
