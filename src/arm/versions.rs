//! The api-versions: which are asked for, and what an endpoint supports.
use super::client::Arm;
use super::errors::ArmError;
use super::send::Call;
use super::settings::API_VERSION;
use super::wire;
use lanyard_domain::quota::Key;
use serde_json::Value;
use std::collections::BTreeSet;

/// The first with the map of identities. In the list of those before, a write replaces everything.
pub(super) const FIRST_WITH_MAP: &str = "2018-06-01";

/// Which api-version each provider is asked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    pub compute: Compute,
    pub groups: &'static str,
    pub identities: &'static str,
}

/// The api-version of `Microsoft.Compute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compute {
    Fixed(String),
    /// The best that the endpoint says it supports.
    Supported,
}

/// Why an api-version cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error("the compute api-version '{0}' is none: write it as {API_VERSION}")]
    Malformed(String),
    #[error(
        "the compute api-version '{0}' is too old: before {FIRST_WITH_MAP} a write replaces the machine's whole list of \
         identities; leave --compute-api-version out, or name a newer one that the endpoint supports"
    )]
    TooOld(String),
}

impl Default for Versions {
    fn default() -> Self {
        Self { compute: Compute::Fixed(API_VERSION.into()), groups: "2021-04-01", identities: "2023-01-31" }
    }
}

impl Versions {
    /// What every Azure Stack Hub since the profile `2019-03-01-hybrid` knows.
    #[must_use]
    pub fn of_stack() -> Self {
        Self { compute: Compute::Supported, groups: "2016-06-01", identities: "2018-11-30" }
    }
}

impl Compute {
    /// What a person chose.
    pub(super) fn chosen(written: &str) -> Result<Self, VersionError> {
        let version = written.trim();
        if !is_stable(version) {
            return Err(VersionError::Malformed(written.into()));
        }
        if version < FIRST_WITH_MAP {
            Err(VersionError::TooOld(version.into()))
        } else {
            Ok(Self::Fixed(version.into()))
        }
    }
}

/// Four, two and two digits. Previews come and go, and are never chosen.
fn is_stable(version: &str) -> bool {
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = version.split('-').collect();
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

/// Machines and scale sets are asked in the same.
pub(super) fn supported(provider: &[u8]) -> Result<BTreeSet<String>, String> {
    let document = wire::document(provider)?;
    let types = document.get("resourceTypes").and_then(Value::as_array).ok_or("it lists no resourceTypes")?;
    let of = |wanted: &str| -> Option<BTreeSet<String>> {
        let named =
            |one: &&Value| wire::word(one.get("resourceType")).is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        let versions = types.iter().find(named)?.get("apiVersions")?.as_array()?;
        Some(versions.iter().filter_map(Value::as_str).filter(|it| is_stable(it)).map(str::to_owned).collect())
    };
    match (of("virtualMachines"), of("virtualMachineScaleSets")) {
        (Some(machines), Some(sets)) => Ok(machines.intersection(&sets).cloned().collect()),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err("it lists neither virtualMachines nor virtualMachineScaleSets".into()),
    }
}

/// The nearest to the one that all of this was tried with: not older if there is one, else the newest.
pub(super) fn best(supported: &BTreeSet<String>) -> Option<&String> {
    supported.iter().find(|version| version.as_str() >= API_VERSION).or_else(|| supported.iter().next_back())
}

impl Arm {
    /// The api-version for machines. An endpoint that is asked for what it supports is asked once.
    ///
    /// # Errors
    ///
    /// When the endpoint does not say what it supports.
    pub(super) async fn compute_version(&self, subscription: &str) -> Result<&str, ArmError> {
        match &self.inner.settings.versions.compute {
            Compute::Fixed(version) => Ok(version),
            Compute::Supported => Ok(self.inner.compute.get_or_try_init(|| self.ask_for_version(subscription)).await?),
        }
    }

    /// Whether the api-version in use is one of those in which a write replaces the whole list.
    pub(super) fn asks_for_lists(&self) -> bool {
        self.inner.compute.get().is_some_and(|version| version.as_str() < FIRST_WITH_MAP)
    }

    async fn ask_for_version(&self, subscription: &str) -> Result<String, ArmError> {
        let asked = format!("/subscriptions/{subscription}/providers/Microsoft.Compute");
        let segments = ["subscriptions", subscription, "providers", "Microsoft.Compute"];
        let url = self.url(&segments, self.inner.settings.versions.groups);
        let answer = self.send(&Call::get(&asked, url, Key::reads(subscription)), None).await?;
        let supported = supported(&answer.body).map_err(|why| ArmError::unreadable(&asked, why))?;
        let version = best(&supported).ok_or_else(|| {
            ArmError::unreadable(&asked, "it lists no api-version that is not a preview: set --compute-api-version")
        })?;
        tracing::info!(api_version = %version, "the endpoint supports this api-version of Microsoft.Compute");
        if version.as_str() < FIRST_WITH_MAP {
            tracing::warn!(
                api_version = %version,
                "this endpoint lists identities as before {FIRST_WITH_MAP}: it is read, and never written to"
            );
        }
        Ok(version.clone())
    }
}

#[cfg(test)]
mod tests;
