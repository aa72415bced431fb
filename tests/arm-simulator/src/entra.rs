//! Entra ID's token endpoint, as far as confidential clients need it.
mod assertion;

use std::collections::HashMap;

use assertion::{Jwt, Used};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::settings::Client;
use crate::state::World;
use crate::wire::{Answer, Call};

#[derive(Clone, Debug)]
pub struct Token {
    pub client: String,
    pub tenant: String,
    pub audience: String,
    pub expires: Timestamp,
}

impl Token {
    pub fn is_expired(&self) -> bool {
        self.expires <= Timestamp::now()
    }
}

/// What was issued and not revoked.
#[derive(Debug, Default)]
pub struct Tokens {
    issued: HashMap<String, Token>,
    assertions: Used,
}

impl Tokens {
    pub fn find(&self, text: &str) -> Option<&Token> {
        self.issued.get(text)
    }

    pub fn revoke_all(&mut self) {
        self.issued.clear();
    }

    pub fn expire_all(&mut self) {
        for token in self.issued.values_mut() {
            token.expires = Timestamp::UNIX_EPOCH;
        }
    }

    fn issue(&mut self, token: Token) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let head = part(&json!({"typ": "JWT", "alg": "none"}));
        let claims = part(&json!({
            "aud": token.audience,
            "iss": format!("https://sts.windows.net/{}/", token.tenant),
            "tid": token.tenant,
            "appid": token.client,
            "exp": token.expires.as_second(),
            "uti": Uuid::new_v4().to_string(),
        }));
        let text = format!("{head}.{claims}.{}", Uuid::new_v4().simple());
        self.issued.insert(text.clone(), token);
        text
    }
}

/// One of Entra's documented refusals.
struct Aadsts {
    status: u16,
    error: &'static str,
    number: u32,
    message: String,
}

impl Aadsts {
    const fn new(status: u16, error: &'static str, number: u32, message: String) -> Self {
        Self { status, error, number, message }
    }
}

impl From<Aadsts> for Answer {
    fn from(refusal: Aadsts) -> Self {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let (number, message) = (refusal.number, refusal.message);
        let body = json!({
            "error": refusal.error,
            "error_description": format!("AADSTS{number}: {message} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"),
            "error_codes": [number],
            "timestamp": now,
            "trace_id": trace.to_string(),
            "correlation_id": correlation.to_string(),
            "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
        });
        Self::json(refusal.status, &body)
    }
}

impl World {
    pub fn entra(&mut self, call: &Call) -> Answer {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), &parts[..]) {
            // AD FS has one tenant, and one version of its endpoint.
            ("POST", ["adfs", "oauth2", "token"]) if self.is_adfs() => {
                self.token("adfs", call).unwrap_or_else(Answer::from)
            }
            ("POST", [tenant, "oauth2", "v2.0", "token"]) if !self.is_adfs() => {
                self.token(tenant, call).unwrap_or_else(Answer::from)
            }
            ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
                let origin = call.origin();
                Answer::json(
                    200,
                    &json!({
                        "issuer": format!("{origin}/{tenant}/v2.0"),
                        "token_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/token"),
                        "authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/authorize"),
                    }),
                )
            }
            _ => Answer::empty(404),
        }
    }

    fn is_adfs(&self) -> bool {
        self.settings.stack.as_ref().is_some_and(|stack| stack.adfs)
    }

    fn token(&mut self, tenant: &str, call: &Call) -> Result<Answer, Aadsts> {
        let form: HashMap<String, String> = url::form_urlencoded::parse(&call.body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let missing = |name: &str| {
            let message = format!("The request body must contain the following parameter: '{name}'.");
            Aadsts::new(400, "invalid_request", 900_144, message)
        };
        let grant = field("grant_type").ok_or_else(|| missing("grant_type"))?;
        if grant != "client_credentials" {
            let message = format!("The app requested an unsupported grant type '{grant}'.");
            return Err(Aadsts::new(400, "unsupported_grant_type", 70_003, message));
        }
        let id = field("client_id").ok_or_else(|| missing("client_id"))?;
        let scope = field("scope").ok_or_else(|| missing("scope"))?;
        let client = self.client(tenant, id)?.clone();
        match (field("client_secret"), field("client_assertion")) {
            (Some(secret), _) => secret_fits(&client, secret)?,
            (None, Some(assertion)) => self.assertion_fits(&client, assertion, call)?,
            (None, None) => return Err(missing("client_assertion' or 'client_secret")),
        }
        let Some(audience) = scope.strip_suffix("/.default") else {
            let message = format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
            );
            return Err(Aadsts::new(400, "invalid_scope", 1_002_012, message));
        };
        let (client, tenant, audience) = (client.client_id, client.tenant_id, audience.to_owned());
        let (text, lifetime) = self.issue(client, tenant, audience);
        Ok(Answer::json(
            200,
            &json!({
                "token_type": "Bearer",
                "expires_in": lifetime,
                "ext_expires_in": lifetime,
                "access_token": text,
            }),
        ))
    }

    /// Of the application's own certificate, or of another issuer.
    fn assertion_fits(&mut self, client: &Client, text: &str, call: &Call) -> Result<(), Aadsts> {
        let malformed = || Aadsts::new(400, "invalid_request", 50_027, "JWT token is invalid or malformed.".to_owned());
        let jwt = Jwt::parse(text).ok_or_else(malformed)?;
        if !jwt.is_own(client) {
            return federated_fits(client, &jwt);
        }
        let endpoint = format!("{}{}", call.origin(), call.path);
        let adfs = self.is_adfs();
        assertion::fits(client, &jwt, &endpoint, adfs, &mut self.tokens.assertions)
    }

    /// A token and its lifetime in seconds.
    pub fn issue(&mut self, client: String, tenant: String, audience: String) -> (String, u64) {
        let lifetime = self.settings.token_lifetime_secs;
        let span = SignedDuration::from_secs(i64::try_from(lifetime).unwrap_or(i64::MAX));
        let expires = Timestamp::now().saturating_add(span).unwrap_or(Timestamp::MAX);
        let text = self.tokens.issue(Token { client, tenant, audience, expires });
        (text, lifetime)
    }

    fn client(&self, tenant: &str, id: &str) -> Result<&Client, Aadsts> {
        let clients = &self.settings.clients;
        let mut here = clients.iter().filter(|client| client.tenant_id.eq_ignore_ascii_case(tenant)).peekable();
        if here.peek().is_none() {
            let message = format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."
            );
            return Err(Aadsts::new(400, "invalid_request", 90_002, message));
        }
        here.find(|client| client.client_id.eq_ignore_ascii_case(id)).ok_or_else(|| {
            let message = format!("Application with identifier '{id}' was not found in the directory '{tenant}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.");
            Aadsts::new(400, "unauthorized_client", 700_016, message)
        })
    }
}

fn secret_fits(client: &Client, secret: &str) -> Result<(), Aadsts> {
    if client.secret.as_deref() == Some(secret) {
        return Ok(());
    }
    let message = format!(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{}'.",
        client.client_id
    );
    Err(Aadsts::new(401, "invalid_client", 7_000_215, message))
}

/// Reads the claims of another issuer's token; its signature is that issuer's affair, and none runs here.
fn federated_fits(client: &Client, jwt: &Jwt<'_>) -> Result<(), Aadsts> {
    let expires = jwt.claims.get("exp").and_then(Value::as_i64).unwrap_or_default();
    if expires <= Timestamp::now().as_second() {
        let message = format!(
            "Client assertion is not within its valid time range. Current time: {}, expiry time of assertion {expires}.",
            Timestamp::now()
        );
        return Err(Aadsts::new(401, "invalid_client", 700_024, message));
    }
    let (issuer, subject) = (jwt.claim("iss"), jwt.claim("sub"));
    let known = client.federated.is_empty()
        || client.federated.iter().any(|one| one.issuer == issuer && one.subject == subject);
    if known {
        return Ok(());
    }
    let message = format!(
        "No matching federated identity record found for presented assertion subject '{subject}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
    );
    Err(Aadsts::new(401, "invalid_client", 700_213, message))
}
