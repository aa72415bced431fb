//! Where Azure is and who we are there: the options of every command that talks to ARM.
use crate::arm::{
    Arm, CloudError, CredentialKind, CredentialOptions, Observer, Settings, Share, Whereabouts, credential_at,
};
use clap::Args;
use secrecy::SecretString;
use std::path::PathBuf;

/// Options about Azure, the same for every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Azure")]
pub struct Azure {
    /// The cloud: `AzurePublic`, `AzureUSGovernment`, `AzureChina`, or `AzureStack` with its endpoint. By default the one whose
    /// endpoint is given, else `AzurePublic`. What follows from it gives way to the options below.
    #[arg(long = "azure-cloud", env = "AZURE_CLOUD", value_name = "NAME")]
    cloud: Option<String>,
    /// The ARM endpoint: https, or plain http to this machine's loopback alone.
    #[arg(long = "azure-resource-manager-endpoint", env = "AZURE_RESOURCE_MANAGER_ENDPOINT", value_name = "URL")]
    resource_manager_endpoint: Option<String>,
    /// What tokens are asked for; the cloud's, else the endpoint itself unless given.
    #[arg(long = "azure-resource-manager-audience", env = "AZURE_RESOURCE_MANAGER_AUDIENCE", value_name = "URL")]
    resource_manager_audience: Option<String>,
    /// Where tokens come from. Unless given: the cloud's, or what an unknown endpoint says at /metadata/endpoints.
    #[arg(long = "azure-authority-host", env = "AZURE_AUTHORITY_HOST", value_name = "URL")]
    authority_host: Option<String>,
    /// The api-version of Microsoft.Compute, 2018-06-01 or later. By default 2024-07-01, and for `AzureStack` the best that it supports.
    #[arg(long, env = "LANYARD_COMPUTE_API_VERSION", value_name = "VERSION")]
    compute_api_version: Option<String>,
    /// The tenant of the credential; adfs where AD FS signs in.
    #[arg(long = "azure-tenant-id", env = "AZURE_TENANT_ID", value_name = "GUID")]
    tenant_id: Option<String>,
    /// The application or managed identity to act as.
    #[arg(long = "azure-client-id", env = "AZURE_CLIENT_ID", value_name = "GUID")]
    client_id: Option<String>,
    /// A client secret. Give it by the environment: a command line is seen by others.
    #[arg(long = "azure-client-secret", env = "AZURE_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    client_secret: Option<SecretString>,
    /// A certificate with its private key, PEM or PKCS#12 (PFX). It is read anew for each token.
    #[arg(long = "azure-client-certificate-path", env = "AZURE_CLIENT_CERTIFICATE_PATH", value_name = "FILE")]
    client_certificate_path: Option<PathBuf>,
    /// What opens the certificate's file. Give it by the environment: a command line is seen by others.
    #[arg(
        long = "azure-client-certificate-password",
        env = "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    client_certificate_password: Option<SecretString>,
    /// Send the certificate's chain along, for an application that trusts by subject and issuer.
    #[arg(
        long = "azure-client-send-certificate-chain",
        env = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    client_send_certificate_chain: bool,
    /// The service account token of workload identity.
    #[arg(long = "azure-federated-token-file", env = "AZURE_FEDERATED_TOKEN_FILE", value_name = "FILE")]
    federated_token_file: Option<PathBuf>,
    /// Which credential to use: by default the first that is set up of workload-identity, client-secret, client-certificate, managed-identity.
    #[arg(long, env = "LANYARD_CREDENTIAL", default_value = "default", value_name = "NAME",
        value_parser = clap::builder::PossibleValuesParser::new(<CredentialKind as strum::VariantNames>::VARIANTS))]
    credential: String,
    /// The share of each of ARM's budgets that is spent, in percent. The rest is for whatever else runs as this principal.
    #[arg(long, env = "LANYARD_ARM_SHARE", default_value_t, value_name = "PERCENT")]
    arm_share: Share,
}

impl Azure {
    /// A client of the ARM endpoint, with the credential that the options choose.
    ///
    /// # Errors
    ///
    /// When the endpoint cannot be used, or the credential lacks something.
    pub fn arm(&self, observer: impl Observer) -> anyhow::Result<Arm> {
        let place = self.whereabouts()?.locate()?;
        let credential = credential_at(&place, self.credential.parse()?, &self.credential_options())?;
        Ok(Arm::new(Settings { share: self.arm_share, ..place.settings }, credential, observer)?)
    }

    /// As people run it: with nothing else set up, as whoever signed in by `az login`. A pod or a machine with an
    /// identity of its own says so in its environment, or by `--credential`.
    #[must_use]
    pub fn of_a_person(mut self) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let hosted = set("IDENTITY_ENDPOINT") || set("MSI_ENDPOINT");
        let configured = self.client_id.is_some()
            || self.client_secret.is_some()
            || self.client_certificate_path.is_some()
            || self.federated_token_file.is_some();
        if self.credential == "default" && !hosted && !configured {
            self.credential = CredentialKind::AzureCli.to_string();
        }
        self
    }

    fn whereabouts(&self) -> Result<Whereabouts, CloudError> {
        Ok(Whereabouts {
            cloud: said(self.cloud.as_ref()).map(|name| name.parse()).transpose()?,
            endpoint: said(self.resource_manager_endpoint.as_ref()),
            audience: said(self.resource_manager_audience.as_ref()),
            authority: said(self.authority_host.as_ref()),
            compute_api_version: said(self.compute_api_version.as_ref()),
        })
    }

    fn credential_options(&self) -> CredentialOptions {
        CredentialOptions {
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            client_certificate_path: self.client_certificate_path.clone().filter(|path| !path.as_os_str().is_empty()),
            client_certificate_password: self.client_certificate_password.clone(),
            client_send_certificate_chain: self.client_send_certificate_chain,
            federated_token_file: self.federated_token_file.clone(),
            authority_host: said(self.authority_host.as_ref()),
        }
    }
}

/// A variable that is set to nothing says nothing.
fn said(value: Option<&String>) -> Option<String> {
    value.filter(|text| !text.trim().is_empty()).cloned()
}
