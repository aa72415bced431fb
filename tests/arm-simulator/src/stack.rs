//! A cloud of one's own: it describes itself at `/metadata/endpoints`, and its providers know old api-versions only.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::errors::Refusal;
use crate::wire::{Answer, Call};

/// How an Azure Stack Hub differs from Azure.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stack {
    /// AD FS signs in, and not Entra ID.
    pub adfs: bool,
    /// It answers with a list of clouds, as later api-versions do.
    pub lists_clouds: bool,
    pub audience: String,
    /// Where it says that tokens come from; its own authority unless named.
    pub login_endpoint: Option<String>,
    /// Which ARM it says that it describes; itself unless named.
    pub resource_manager: Option<String>,
    /// What `Microsoft.Compute` supports.
    pub api_versions: Vec<String>,
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            adfs: false,
            lists_clouds: false,
            audience: "https://management.contoso.onmicrosoft.com/5c8f1e0a".to_owned(),
            login_endpoint: None,
            resource_manager: None,
            // What the documentation of Azure Stack Hub lists for its profiles.
            api_versions: ["2015-06-15", "2017-12-01", "2020-06-01"].map(str::to_owned).to_vec(),
        }
    }
}

/// The newest api-version of ARM's own resources that a Stack knows.
const NEWEST: &str = "2020-09-01";

impl Stack {
    /// The description, without a token asked for.
    pub(crate) fn described(&self, call: &Call) -> Answer {
        let origin = call.origin();
        let login = self.login_endpoint.clone().unwrap_or_default();
        let newer = call.parameter("api-version").is_some_and(|version| version.as_str() >= "2019-01-01");
        let mut cloud = json!({
            "galleryEndpoint": format!("{origin}/gallery/"),
            "graphEndpoint": format!("{origin}/graph/"),
            "portalEndpoint": format!("{origin}/portal/"),
            "authentication": {"loginEndpoint": login, "audiences": [self.audience]},
        });
        if newer {
            cloud["name"] = "AzureStack".into();
            cloud["resourceManager"] = self.resource_manager.clone().unwrap_or(origin).into();
            cloud["authentication"]["identityProvider"] = if self.adfs { "ADFS" } else { "AAD" }.into();
        }
        if !self.lists_clouds {
            return Answer::json(200, &cloud);
        }
        let public = json!({
            "name": "AzureCloud",
            "resourceManager": "https://management.azure.com/",
            "authentication": {
                "loginEndpoint": "https://login.microsoftonline.com/",
                "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
                "identityProvider": "AAD",
            },
        });
        Answer::json(200, &json!([public, cloud]))
    }

    /// What its compute provider supports.
    pub(crate) fn provider(&self, subscription: &str) -> Value {
        let types = ["virtualMachines", "virtualMachineScaleSets"];
        let types: Vec<Value> = types
            .iter()
            .map(|name| json!({"resourceType": name, "locations": ["local"], "apiVersions": self.api_versions}))
            .collect();
        json!({
            "id": format!("/subscriptions/{subscription}/providers/Microsoft.Compute"),
            "namespace": "Microsoft.Compute",
            "registrationState": "Registered",
            "resourceTypes": types,
        })
    }

    /// Whether it knows the api-version that was asked for.
    pub(crate) fn knows(&self, api: &str, of_compute: bool) -> Result<(), Refusal> {
        if of_compute && !self.api_versions.iter().any(|known| known == api) {
            return Err(Refusal::new(
                400,
                "NoRegisteredProviderFound",
                format!(
                    "No registered resource provider found for location 'local' and API version '{api}' for type 'virtualMachines'. The supported api-versions are '{}'. The supported locations are 'local'.",
                    self.api_versions.join(", ")
                ),
            ));
        }
        if !of_compute && api > NEWEST {
            return Err(Refusal::new(
                400,
                "InvalidApiVersionParameter",
                format!("The api-version '{api}' is invalid. The supported versions are '{NEWEST},2016-06-01'."),
            ));
        }
        Ok(())
    }
}
