//! Lists by group and by subscription, page by page.
use std::borrow::Cow;
use std::ops::Bound;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::Answer;
use super::errors::{Refusal, group_not_found};
use super::gateway::Admitted;
use crate::id::{Kind, fold, group_key};
use crate::state::World;
use crate::throttle::Compute;

impl World {
    pub fn list(
        &mut self,
        kind: Kind,
        subscription: &str,
        group: Option<&str>,
        request: &Admitted<'_>,
        headers: &mut Vec<(Cow<'static, str>, String)>,
    ) -> Result<Answer, Refusal> {
        if request.call.method != hyper::Method::GET {
            return Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed here."));
        }
        if kind != Kind::UserAssignedIdentity {
            self.compute(Compute::List(kind, &fold(subscription)), headers)?;
        }
        let scope = match group {
            None => format!("/subscriptions/{}/", fold(subscription)),
            Some(group) => {
                let key = group_key(subscription, group);
                if !self.groups.contains_key(&key) {
                    return Err(group_not_found(group));
                }
                format!("{key}/")
            }
        };
        let from = request.call.parameter("$skiptoken").map(|token| skipped_to(&token)).transpose()?;
        let size = self.settings.page_size.max(1);
        let mut rows = self.rows(kind, &scope, from.as_deref(), size + 1, request);
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().map(|(key, _)| key.clone());
        let values: Vec<Value> = rows.into_iter().map(|(_, value)| value).collect();
        let mut body = json!({"value": values});
        if let Some(last) = last.filter(|_| more) {
            body["nextLink"] = json!(next_link(request, &last));
        }
        Ok(Answer::json(200, &body))
    }

    fn rows(
        &self,
        kind: Kind,
        scope: &str,
        from: Option<&str>,
        most: usize,
        request: &Admitted<'_>,
    ) -> Vec<(String, Value)> {
        let start = match from {
            Some(key) => Bound::Excluded(key.to_owned()),
            None => Bound::Included(scope.to_owned()),
        };
        if kind == Kind::UserAssignedIdentity {
            let tenant = |subscription: &str| self.tenant_of(subscription).to_owned();
            return self
                .identities
                .range((start, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(scope))
                .take(most)
                .map(|(key, identity)| (key.clone(), identity.rendered(&tenant(&identity.id.subscription))))
                .collect();
        }
        self.machines
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(scope))
            .filter(|(_, machine)| machine.id.kind == kind)
            .take(most)
            .map(|(key, machine)| {
                let model = if request.ways.stale { machine.before.as_deref() } else { None };
                (key.clone(), self.shown(machine, model.unwrap_or(&machine.model), &request.api))
            })
            .collect()
    }
}

fn skipped_to(token: &str) -> Result<String, Refusal> {
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Refusal::new(400, "InvalidSkipToken", "The skip token is not one of ours."))
}

fn next_link(request: &Admitted<'_>, last: &str) -> String {
    let call = request.call;
    let origin = request.ways.links_to.clone().unwrap_or_else(|| call.origin());
    let token = BASE64URL_NOPAD.encode(last.as_bytes());
    let path = call.path.replace(' ', "%20");
    format!("{origin}{path}?api-version={}&$skiptoken={token}", request.api.0)
}
