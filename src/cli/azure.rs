//! Which Azure, and as whom: what every command that asks ARM takes.
use crate::arm::{Arm, CredentialKind, CredentialOptions, Observer, Settings, Share, credential};
use azure_core::credentials::TokenCredential;
use clap::Args;
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;

/// Options of the conversation with ARM.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Azure")]
pub struct Azure {
    /// The ARM endpoint: https, or plain http to this machine's loopback alone.
    #[arg(
        long = "azure-resource-manager-endpoint",
        env = "AZURE_RESOURCE_MANAGER_ENDPOINT",
        default_value = "https://management.azure.com",
        value_name = "URL"
    )]
    resource_manager_endpoint: String,
    /// What tokens are asked for; the endpoint itself unless given.
    #[arg(long = "azure-resource-manager-audience", env = "AZURE_RESOURCE_MANAGER_AUDIENCE", value_name = "URL")]
    resource_manager_audience: Option<String>,
    /// Where tokens come from; the public cloud's login.microsoftonline.com unless given.
    #[arg(long = "azure-authority-host", env = "AZURE_AUTHORITY_HOST", value_name = "URL")]
    authority_host: Option<String>,
    /// The tenant of the credential.
    #[arg(long = "azure-tenant-id", env = "AZURE_TENANT_ID", value_name = "GUID")]
    tenant_id: Option<String>,
    /// The application or managed identity to act as.
    #[arg(long = "azure-client-id", env = "AZURE_CLIENT_ID", value_name = "GUID")]
    client_id: Option<String>,
    /// A client secret. Give it by the environment: a command line is seen by others.
    #[arg(long = "azure-client-secret", env = "AZURE_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    client_secret: Option<SecretString>,
    /// The service account token of workload identity.
    #[arg(long = "azure-federated-token-file", env = "AZURE_FEDERATED_TOKEN_FILE", value_name = "FILE")]
    federated_token_file: Option<PathBuf>,
    /// Which credential to use: by default the first that is set up of workload-identity, client-secret, managed-identity.
    #[arg(long, env = "LANYARD_CREDENTIAL", default_value = "default", value_name = "NAME",
        value_parser = clap::builder::PossibleValuesParser::new(<CredentialKind as strum::VariantNames>::VARIANTS))]
    credential: String,
    /// The share of each of ARM's budgets that is spent, in percent. The rest is for whatever else runs as this principal.
    #[arg(long, env = "LANYARD_ARM_SHARE", default_value_t, value_name = "PERCENT")]
    arm_share: Share,
}

impl Azure {
    /// Where ARM is, and what may be spent there.
    ///
    /// # Errors
    /// An endpoint that no token may be sent to.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let audience = self.resource_manager_audience.as_deref();
        Ok(Settings { share: self.arm_share, ..Settings::new(&self.resource_manager_endpoint, audience)? })
    }

    /// As whom ARM is asked.
    ///
    /// # Errors
    /// A credential that is named, or half set up, and lacks something.
    pub fn credential(&self) -> anyhow::Result<Arc<dyn TokenCredential>> {
        let options = CredentialOptions {
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            federated_token_file: self.federated_token_file.clone(),
            authority_host: self.authority_host.clone(),
        };
        Ok(credential(self.credential.parse()?, &options)?)
    }

    /// The client. Nothing is asked yet.
    ///
    /// # Errors
    /// As [`Self::settings`] and [`Self::credential`].
    pub fn arm(&self, observer: impl Observer) -> anyhow::Result<Arm> {
        Ok(Arm::new(self.settings()?, self.credential()?, observer)?)
    }

    /// As people run it: with nothing else set up, as whoever signed in by `az login`. A pod or a machine with an
    /// identity of its own says so in its environment, or by `--credential`.
    #[must_use]
    pub fn of_a_person(mut self) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let hosted = set("IDENTITY_ENDPOINT") || set("MSI_ENDPOINT");
        let configured =
            self.client_id.is_some() || self.client_secret.is_some() || self.federated_token_file.is_some();
        if self.credential == "default" && !hosted && !configured {
            self.credential = CredentialKind::AzureCli.to_string();
        }
        self
    }
}
