//! The metadata service's token endpoint, and App Service's, which speaks almost the same.
use jiff::Timestamp;
use serde_json::json;

use crate::settings::TENANT;
use crate::state::World;
use crate::wire::{Answer, Call};

/// What App Service wants in `X-IDENTITY-HEADER`.
pub const IDENTITY_HEADER: &str = "simulated-identity-header";

impl World {
    pub fn imds(&mut self, call: &Call) -> Answer {
        let path = call.path.to_lowercase();
        let refusal = match path.as_str() {
            "/metadata/identity/oauth2/token" => {
                let told = call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true"));
                (!told).then_some("Required metadata header not specified")
            }
            "/msi/token" => (call.header("x-identity-header") != Some(IDENTITY_HEADER))
                .then_some("The identity header is missing or wrong"),
            _ => return Answer::empty(404),
        };
        if let Some(why) = refusal {
            return invalid(why);
        }
        if call.parameter("api-version").is_none() {
            return invalid("Required query variable 'api-version' is missing");
        }
        let Some(resource) = call.parameter("resource") else {
            return invalid("Required query variable 'resource' is missing");
        };
        match self.whose(call) {
            Ok(client) => self.metadata_token(&client, &resource),
            Err(why) => invalid(why),
        }
    }

    /// The rule that makes a second identity matter: system, else the only user identity, else none.
    fn whose(&self, call: &Call) -> Result<String, &'static str> {
        let own = &self.settings.imds;
        if let Some(client) = call.parameter("client_id") {
            let mut all = own.users.iter().chain(&own.system);
            return all.find(|known| known.eq_ignore_ascii_case(&client)).cloned().ok_or("Identity not found");
        }
        match (&own.system, &own.users[..]) {
            (Some(system), _) => Ok(system.clone()),
            (None, [only]) => Ok(only.clone()),
            (None, []) => Err("Identity not found"),
            (None, _) => Err(
                "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request",
            ),
        }
    }

    fn metadata_token(&mut self, client: &str, resource: &str) -> Answer {
        let known = self.settings.clients.iter().find(|known| known.client_id.eq_ignore_ascii_case(client));
        let tenant = known.map_or_else(|| TENANT.to_owned(), |known| known.tenant_id.clone());
        let audience = resource.trim_end_matches("/.default").to_owned();
        let (text, lifetime) = self.issue(client.to_owned(), tenant, audience);
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        Answer::json(
            200,
            &json!({
                "access_token": text,
                "client_id": client,
                "expires_in": lifetime.to_string(),
                "expires_on": (now + lifetime).to_string(),
                "ext_expires_in": lifetime.to_string(),
                "not_before": now.to_string(),
                "resource": resource,
                "token_type": "Bearer",
            }),
        )
    }
}

fn invalid(why: &str) -> Answer {
    Answer::json(400, &json!({"error": "invalid_request", "error_description": why}))
}
