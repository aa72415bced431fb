//! A cluster and a cloud that belong together, and how programs find them.

use anyhow::{Context as _, Result};
use arm_simulator::{ArmSimulator, Settings};

use crate::control_plane::{ControlPlane, Options};
use crate::{crds, paths};

/// A control plane and a simulated Azure.
#[derive(Debug)]
pub struct Environment {
    /// The cluster, with the repository's resource definitions applied.
    pub control_plane: ControlPlane,
    /// The cloud.
    pub arm: ArmSimulator,
}

impl Environment {
    /// Starts both, and waits until they are ready.
    ///
    /// # Errors
    /// When one does not come up, or a resource definition is refused.
    pub async fn start(options: Options, settings: Settings) -> Result<Self> {
        let control_plane = ControlPlane::start(options).await?;
        // Beside the control plane's files: they go together, even when we are killed.
        let settings = Settings { dir: Some(control_plane.directory().join("azure")), ..settings };
        let arm = ArmSimulator::start(settings).context("the simulator does not start")?;
        crds::apply(&control_plane.client().await?, &paths::repository().join("crds")).await?;
        Ok(Self { control_plane, arm })
    }

    /// The ecosystem's own names, which `lanyard controller` reads, and what they are here.
    ///
    /// `SSL_CERT_FILE` makes a program trust the simulator, and nothing else.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("KUBECONFIG", self.control_plane.kubeconfig().display().to_string())];
        all.extend(of_azure(&self.arm));
        // There is no other namespace here, whatever pod we may run in ourselves.
        all.push(("LANYARD_LEASE_NAMESPACE", "default".into()));
        all
    }
}

/// Of these, the ones that lead to the simulated Azure.
#[must_use]
pub fn of_azure(arm: &ArmSimulator) -> [(&'static str, String); 6] {
    [
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", arm.arm_url().into()),
        ("AZURE_AUTHORITY_HOST", arm.authority_url().into()),
        ("AZURE_TENANT_ID", arm.tenant_id().into()),
        ("AZURE_CLIENT_ID", arm.client_id().into()),
        ("AZURE_CLIENT_SECRET", arm.client_secret().into()),
        ("SSL_CERT_FILE", arm.ca_pem_path().display().to_string()),
    ]
}

/// Lines for a shell. Single quotes hold everything but themselves.
#[must_use]
pub fn exports(variables: &[(&'static str, String)]) -> String {
    let line = |(name, value): &(&str, String)| format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let value = "it's $HOME \"here\"";
        let script = exports(&[("SAID", value.to_owned())]) + "printf %s \"$SAID\"";
        let answer = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), value);
    }
}
