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
use crate::scrapes::Scrapes;
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
    scrapes: Option<Scrapes>,
    http: reqwest::Client,
    pub begun: Instant,
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
        Ok(Self { process, pid, log, listen, http: reqwest::Client::builder().build()?, begun, scrapes: None })
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

    /// Kilobytes: the most that was resident so far.
    pub fn peak_memory(&self) -> Result<u64> {
        process::peak_memory(self.pid).with_context(|| end_of(&self.log))
    }

    /// Whether it is ready, and has neither work at hand nor work that is due.
    pub async fn is_idle(&self) -> Result<bool> {
        let ready = self.http.get(format!("http://{}/readyz", self.listen)).send().await;
        let ready = ready.with_context(|| end_of(&self.log))?.status().is_success();
        let text = self.http.get(format!("http://{}/metrics", self.listen)).send().await?.text().await?;
        let is_none = |name: &str| is_zero(&text, name).with_context(|| format!("the program tells no {name}"));
        Ok(ready && is_none("targets_due")? && is_none("targets_under_way")?)
    }

    /// Keeps what its /metrics tells, for as long as it runs.
    pub fn scrape_into(&mut self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        self.scrapes = Some(Scrapes::of(&self.listen, self.http.clone(), directory.to_owned()));
        Ok(())
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

/// Whether every gauge of that name is 0; None: there is none.
fn is_zero(metrics: &str, name: &str) -> Option<bool> {
    let gauges = metrics.lines().filter(|line| !line.starts_with('#') && line.contains(name));
    let values = gauges.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.fold(None, |zero, value| Some(zero.unwrap_or(true) && value <= 0.0))
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

    #[test]
    fn work_is_seen_under_any_label() {
        let metrics =
            "# TYPE lanyard_targets_due gauge\nlanyard_targets_due{a=\"1\"} 0\nlanyard_targets_due{a=\"2\"} 3\n";
        assert_eq!(is_zero(metrics, "targets_due"), Some(false));
        assert_eq!(is_zero("lanyard_targets_due 0\n", "targets_due"), Some(true));
        assert_eq!(is_zero(metrics, "targets_under_way"), None);
    }
}
