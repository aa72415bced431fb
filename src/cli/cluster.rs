//! Which Kubernetes cluster.
use anyhow::Context as _;
use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;
use std::time::Duration;

/// Options of the conversation with Kubernetes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct Cluster {
    /// The kubeconfig; else KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl Cluster {
    /// The configuration of the client.
    ///
    /// # Errors
    /// No cluster, in one line.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let mut config = match &self.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file)
                    .with_context(|| format!("the kubeconfig {} cannot be read", file.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("the kubeconfig {} leads to no cluster", file.display()))?
            }
            None => Config::infer().await.context(
                "no cluster to work on: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account",
            )?,
        };
        config.connect_timeout = Some(Duration::from_secs(10));
        Ok(config)
    }
}
