//! What ARM itself checks before a provider sees a request: token, subscription, quota, rights.
use std::borrow::Cow;

use uuid::Uuid;

use super::arm::Ways;
use super::errors::{Refusal, subscription_not_found, unauthorized};
use super::routes::{Place, Route};
use super::{Answer, Call};
use crate::entra::Token;
use crate::id::{ResourceId, fold};
use crate::state::World;
use crate::state::restrictions::{self, Action};
use crate::throttle::{Admission, Compute, Verb};

/// An api-version, as far as it changes what identities look like.
#[derive(Clone, Debug)]
pub struct ApiVersion(pub String);

impl ApiVersion {
    /// 2017-12-01 and 2018-04-01 list `identityIds`.
    pub fn lists_ids(&self) -> bool {
        self.0.as_str() < "2018-06-01"
    }

    pub fn shows_etag(&self) -> bool {
        self.0.as_str() >= "2024-07-01"
    }

    pub fn honours_if_match(&self) -> bool {
        self.0.as_str() >= "2023-09-01"
    }
}

/// A request that passed the gate.
pub struct Admitted<'a> {
    pub call: &'a Call,
    pub seq: u64,
    pub token: Token,
    pub api: ApiVersion,
    pub ways: &'a Ways,
}

type Headers = Vec<(Cow<'static, str>, String)>;

impl World {
    /// Answers as ARM would. Nothing here waits.
    pub fn answer(&mut self, call: &Call, seq: u64, ways: &Ways) -> Answer {
        self.settle();
        let mut headers = Headers::new();
        let mut answer = self.admit_and_route(call, seq, ways, &mut headers).unwrap_or_else(Answer::from);
        answer.headers.append(&mut headers);
        let request = Uuid::new_v4().to_string();
        let correlation = call.header("x-ms-correlation-request-id").unwrap_or(&request);
        answer
            .header("x-ms-correlation-request-id", correlation)
            .header("x-ms-request-id", &request)
            .maybe_header("x-ms-client-request-id", call.header("x-ms-client-request-id"))
    }

    fn admit_and_route(
        &mut self,
        call: &Call,
        seq: u64,
        ways: &Ways,
        headers: &mut Headers,
    ) -> Result<Answer, Refusal> {
        if let Some(stack) = self.settings.stack.as_ref().filter(|_| call.path == "/metadata/endpoints") {
            return Ok(stack.described(call));
        }
        let token = self.authenticated(call)?;
        let route = Route::parse(&call.path).ok_or_else(no_such_path)?;
        let api = call.parameter("api-version").filter(|version| !version.is_empty());
        let api = ApiVersion(api.ok_or_else(missing_api_version)?);
        self.known(&route, &token)?;
        if let Some(stack) = &self.settings.stack {
            stack.knows(&api.0, route.place.is_of_compute())?;
        }
        let (throttling, verb) = (self.settings.throttling, Verb::of(&call.method));
        let admission = self.throttle.arm(throttling, &fold(&route.subscription), &token.client, verb);
        admitted(admission, headers)?;
        self.routed(&route, &Admitted { call, seq, token, api, ways }, headers)
    }

    fn routed(&mut self, route: &Route, request: &Admitted<'_>, headers: &mut Headers) -> Result<Answer, Refusal> {
        let subscription = &route.subscription;
        match &route.place {
            Place::Subscription => Ok(self.get_subscription(subscription)),
            Place::Group(group) => self.get_group(subscription, group),
            Place::Resource(id) => self.resource(id, request, headers),
            Place::ListOfGroup(kind, group) => self.list(*kind, subscription, Some(group), request, headers),
            Place::ListOfSubscription(kind) => self.list(*kind, subscription, None, request, headers),
            Place::Operation(id) => {
                self.compute(Compute::Poll { subscription: &fold(subscription), operation: id }, headers)?;
                self.poll(id, request)
            }
            Place::ComputeProvider => match &self.settings.stack {
                Some(stack) => Ok(Answer::json(200, &stack.provider(subscription))),
                None => Err(no_such_path()),
            },
            Place::Rights(scope) => self.rights(scope, &request.token.client),
            Place::Locks(scope) => Ok(self.locks(scope)),
            Place::Elsewhere => Err(no_such_path()),
        }
    }

    /// Draws on the provider's buckets.
    pub fn compute(&mut self, action: Compute<'_>, headers: &mut Headers) -> Result<(), Refusal> {
        let admission = self.throttle.compute(self.settings.throttling, &action);
        admitted(admission, headers)
    }

    fn authenticated(&self, call: &Call) -> Result<Token, Refusal> {
        let authority = format!("https://login.microsoftonline.com/{}", crate::settings::TENANT);
        let refuse = |code, message: &str| unauthorized(code, message, &authority);
        let Some(authorization) = call.header("authorization") else {
            return Err(refuse(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            ));
        };
        let text = authorization.strip_prefix("Bearer ").unwrap_or_default();
        let Some(token) = self.tokens.find(text) else {
            return Err(refuse("InvalidAuthenticationToken", "The access token is invalid."));
        };
        if token.is_expired() {
            return Err(refuse("ExpiredAuthenticationToken", "The access token expiry UTC time has passed."));
        }
        let known = self.settings.audiences.iter();
        let audience = token.audience.trim_end_matches('/');
        if !known.into_iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(audience)) {
            return Err(refuse(
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource. It should exactly match with one of the allowed audiences.",
            ));
        }
        Ok(token.clone())
    }

    fn known(&self, route: &Route, token: &Token) -> Result<(), Refusal> {
        let Some(subscription) = self.subscriptions.get(&fold(&route.subscription)) else {
            return Err(subscription_not_found(&route.subscription));
        };
        let (own, theirs) = (&subscription.tenant, &token.tenant);
        if own.eq_ignore_ascii_case(theirs) {
            return Ok(());
        }
        let authority = format!("https://login.windows.net/{own}");
        let message = format!(
            "The access token is from the wrong issuer 'https://sts.windows.net/{theirs}/'. It must match the tenant 'https://sts.windows.net/{own}/' associated with this subscription. Please use the authority (URL) '{authority}' to get the token."
        );
        Err(unauthorized("InvalidAuthenticationTokenTenant", &message, &authority))
    }

    /// Refuses what locks, policies and roles forbid.
    pub fn allowed(&self, id: &ResourceId, request: &Admitted<'_>) -> Result<(), Refusal> {
        let verb = Verb::of(&request.call.method);
        let verb_name = match verb {
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Delete => "delete",
        };
        let action = Action {
            client: &request.token.client,
            name: format!("{}/{verb_name}", id.kind.type_name()),
            writes: verb != Verb::Read,
            namespace: id.kind.namespace(),
            subscription: &id.subscription,
            group: &id.group,
        };
        let refusal = restrictions::refusal(&self.restrictions, &id.key(), &id.to_string(), &action);
        refusal.map_or(Ok(()), Err)
    }
}

fn admitted(admission: Admission, headers: &mut Headers) -> Result<(), Refusal> {
    headers.extend(admission.headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)));
    admission.refusal.map_or(Ok(()), Err)
}

fn no_such_path() -> Refusal {
    Refusal::new(
        404,
        "InvalidResourceType",
        "The resource type could not be found in the namespace for the given api-version.",
    )
}

fn missing_api_version() -> Refusal {
    Refusal::new(
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    )
}
