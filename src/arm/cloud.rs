//! The clouds by name, and where everything is in each.
//!
//! | cloud | ARM | audience | authority | compute api-version |
//! | --- | --- | --- | --- | --- |
//! | `AzurePublic` | `management.azure.com` | the same | `login.microsoftonline.com` | [`API_VERSION`] |
//! | `AzureUSGovernment` | `management.usgovcloudapi.net` | `management.core.usgovcloudapi.net` | `login.microsoftonline.us` | [`API_VERSION`] |
//! | `AzureChina` | `management.chinacloudapi.cn` | `management.core.chinacloudapi.cn` | `login.chinacloudapi.cn` | [`API_VERSION`] |
//! | `AzureStack` | as given | discovered | discovered | the best that it supports |
//!
//! Sources: the cloud configurations of the Azure SDKs (Go's `azcore/cloud`, `azure_identity`'s authorities), and what
//! `/metadata/endpoints` of each cloud answers. `docs/clouds.md` has them with links.
use super::settings::{API_VERSION, Settings, SettingsError};
use super::versions::{Compute, VersionError, Versions};
use url::Url;

/// A cloud that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumIter)]
pub enum Cloud {
    AzurePublic,
    AzureUSGovernment,
    AzureChina,
    /// Azure Stack Hub, or any other that describes itself at `/metadata/endpoints`.
    AzureStack,
}

/// What is the same for everybody in a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub endpoint: &'static str,
    pub audience: &'static str,
    pub authority: &'static str,
    pub compute: &'static str,
}

impl Cloud {
    /// What follows from the name; nothing where it has to be discovered.
    #[must_use]
    pub fn known(self) -> Option<Known> {
        match self {
            Self::AzurePublic => Some(Known {
                endpoint: "https://management.azure.com",
                audience: "https://management.azure.com",
                authority: "https://login.microsoftonline.com",
                compute: API_VERSION,
            }),
            Self::AzureUSGovernment => Some(Known {
                endpoint: "https://management.usgovcloudapi.net",
                audience: "https://management.core.usgovcloudapi.net",
                authority: "https://login.microsoftonline.us",
                compute: API_VERSION,
            }),
            Self::AzureChina => Some(Known {
                endpoint: "https://management.chinacloudapi.cn",
                audience: "https://management.core.chinacloudapi.cn",
                authority: "https://login.chinacloudapi.cn",
                compute: API_VERSION,
            }),
            Self::AzureStack => None,
        }
    }

    /// The cloud whose ARM endpoint this is.
    fn of_endpoint(endpoint: &Url) -> Option<Self> {
        use strum::IntoEnumIterator as _;
        let same = |known: Known| Url::parse(known.endpoint).is_ok_and(|url| url.origin() == endpoint.origin());
        Self::iter().find(|cloud| cloud.known().is_some_and(same))
    }
}

impl std::str::FromStr for Cloud {
    type Err = CloudError;

    /// In any case, and also as the Azure CLI and the older SDKs write it.
    fn from_str(written: &str) -> Result<Self, CloudError> {
        match written.trim().to_ascii_lowercase().as_str() {
            "azurepublic" | "azurecloud" | "azurepubliccloud" | "public" => Ok(Self::AzurePublic),
            "azureusgovernment" | "azureusgovernmentcloud" | "azuregovernment" | "usgovernment" => {
                Ok(Self::AzureUSGovernment)
            }
            "azurechina" | "azurechinacloud" | "china" => Ok(Self::AzureChina),
            "azurestack" | "azurestackcloud" | "azurestackhub" => Ok(Self::AzureStack),
            _ => Err(CloudError::Unknown(written.into())),
        }
    }
}

/// Why the options lead to no cloud, and what to write.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    #[error(
        "there is no cloud named '{0}': write AzurePublic, AzureUSGovernment, AzureChina, or AzureStack with the endpoint of yours"
    )]
    Unknown(String),
    #[error(
        "AzureStack is at an address of its own: set AZURE_RESOURCE_MANAGER_ENDPOINT, such as https://management.<region>.<domain>"
    )]
    NoEndpoint,
    #[error("the ARM endpoint '{endpoint}' is {its}'s, and the cloud is named {named}: leave one of the two out")]
    Contradiction { endpoint: String, its: Cloud, named: Cloud },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// What people say about where ARM is. What is said explicitly wins over the cloud's.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts {
    pub cloud: Option<Cloud>,
    pub endpoint: Option<String>,
    pub audience: Option<String>,
    pub authority: Option<String>,
    pub compute_api_version: Option<String>,
}

/// Where ARM is, and where its tokens come from.
#[derive(Clone, Debug)]
pub struct Place {
    pub settings: Settings,
    pub signing_in: SigningIn,
}

/// Where tokens come from, and what they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningIn {
    /// At this authority, for the audience of the settings.
    At(String),
    /// As the endpoint itself says; what is given here wins.
    Discovered { audience: Option<String>, authority: Option<String> },
}

impl Whereabouts {
    /// Finds out where everything is. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// When the options contradict each other, or name something that cannot be used.
    pub fn locate(&self) -> Result<Place, CloudError> {
        let cloud = self.cloud()?;
        let known = cloud.and_then(Cloud::known);
        let endpoint = self.endpoint.as_deref().or(known.map(|known| known.endpoint)).ok_or(CloudError::NoEndpoint)?;
        let audience = self.audience.as_deref().or(known.map(|known| known.audience));
        let authority = self.authority.clone().or(known.map(|known| known.authority.to_owned()));
        let mut settings = Settings::new(endpoint, audience)?;
        let signing_in = self.signing_in(cloud, authority);
        let stack = cloud == Some(Cloud::AzureStack) || matches!(signing_in, SigningIn::Discovered { .. });
        settings.versions = if stack { Versions::of_stack() } else { Versions::default() };
        if let Some(chosen) = &self.compute_api_version {
            settings.versions.compute = Compute::chosen(chosen)?;
        } else if let Some(known) = known {
            settings.versions.compute = Compute::Fixed(known.compute.into());
        }
        Ok(Place { settings, signing_in })
    }

    /// The cloud named, or the one whose endpoint is given; none: an endpoint that we do not know.
    fn cloud(&self) -> Result<Option<Cloud>, CloudError> {
        let Some(endpoint) = &self.endpoint else { return Ok(Some(self.cloud.unwrap_or(Cloud::AzurePublic))) };
        let its = Url::parse(endpoint.trim()).ok().and_then(|url| Cloud::of_endpoint(&url));
        match (its, self.cloud) {
            (Some(its), Some(named)) if its != named => {
                Err(CloudError::Contradiction { endpoint: endpoint.clone(), its, named })
            }
            (its, named) => Ok(named.or(its)),
        }
    }

    /// An endpoint that we do not know is asked, unless it was said where to sign in.
    fn signing_in(&self, cloud: Option<Cloud>, authority: Option<String>) -> SigningIn {
        let all_said = self.audience.is_some() && authority.is_some();
        let asks = match cloud {
            Some(Cloud::AzureStack) => !all_said,
            Some(Cloud::AzurePublic | Cloud::AzureUSGovernment | Cloud::AzureChina) => false,
            None => authority.is_none(),
        };
        match authority {
            Some(authority) if !asks => SigningIn::At(authority),
            authority => SigningIn::Discovered { audience: self.audience.clone(), authority },
        }
    }
}

#[cfg(test)]
mod tests;
