//! Lists by group and by subscription, page by page.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Instant;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::errors::{Refusal, group_not_found};
use super::gateway::Admitted;
use super::routes::{self, Route};
use super::{Answer, Call};
use crate::id::{Kind, fold, group_key};
use crate::state::machine::Machine;
use crate::state::{UserIdentity, World};
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
        let place = place_of(request.call)?;
        let size = self.settings.page_size.max(1);
        let (keys, values) = match kind {
            Kind::UserAssignedIdentity => self.identity_rows(&scope, &place, size),
            Kind::VirtualMachine | Kind::VirtualMachineScaleSet => {
                self.machine_rows(kind, &scope, &place, size, request)
            }
        };
        let more = keys.len() > size;
        let last = keys.get(size - 1).filter(|_| more).cloned();
        let mut body = json!({"value": values});
        if let Some(last) = last {
            body["nextLink"] = json!(next_link(request, &Place { page: place.page + 1, after: Some(last) }));
        }
        self.sight(keys.into_iter().take(size));
        Ok(Answer::json(200, &body))
    }

    /// Of one page: the keys, and of the next page the first; and what is shown.
    fn identity_rows(&self, scope: &str, place: &Place, size: usize) -> (Vec<String>, Vec<Value>) {
        let start = place.after.as_deref().map_or(Bound::Included(scope), Bound::Excluded);
        let rows = self.identities.range::<str, _>((start, Bound::Unbounded));
        let rows: Vec<_> = rows.take_while(|(key, _)| key.starts_with(scope)).take(size + 1).collect();
        let shown = |identity: &UserIdentity| identity.rendered(self.tenant_of(&identity.id.subscription));
        let values = rows.iter().take(size).map(|(_, identity)| shown(identity)).collect();
        (rows.into_iter().map(|(key, _)| key.clone()).collect(), values)
    }

    fn machine_rows(
        &self,
        kind: Kind,
        scope: &str,
        place: &Place,
        size: usize,
        request: &Admitted<'_>,
    ) -> (Vec<String>, Vec<Value>) {
        let ways = request.ways;
        let after = place.after.as_deref();
        let owned = |(key, machine): (&str, _)| (key.to_owned(), machine);
        let mut rows: Vec<(String, &Machine)> = match ways.then {
            None => {
                let now = self.machines.after(kind, scope, after).map(owned);
                now.skip(ways.skipped).take(size + 1).collect()
            }
            Some(then) => {
                let then = self.then_after(kind, scope, after, then);
                then.into_iter().skip(ways.skipped).take(size + 1).collect()
            }
        };
        if let Some(after) = after {
            // One new machine at least: a listing that only repeats itself would never end.
            let again = self.machines.before(kind, scope, after).map(owned).take(ways.repeated.min(size - 1));
            rows.splice(0..0, again.collect::<Vec<_>>().into_iter().rev());
            rows.truncate(size + 1);
        }
        let shown = |machine: &Machine| self.shown(machine, ways.model_of(machine), &request.api);
        let values = rows.iter().take(size).map(|(_, machine)| shown(machine)).collect();
        (rows.into_iter().map(|(key, _)| key).collect(), values)
    }

    /// The same of another moment: who was there then, whoever is there now.
    fn then_after<'a>(
        &'a self,
        kind: Kind,
        scope: &'a str,
        after: Option<&'a str>,
        then: Instant,
    ) -> BTreeMap<String, &'a Machine> {
        let inside = |key: &str| key.starts_with(scope) && after.is_none_or(|after| key > after);
        let here = self.machines.after(kind, scope, after).map(|(key, machine)| (key.to_owned(), machine));
        let gone = self.buried.iter().filter(|machine| machine.id.kind == kind);
        let gone = gone.map(|machine| (machine.id.key(), machine)).filter(|(key, _)| inside(key));
        here.chain(gone).filter(|(_, machine)| machine.existed_at(then)).collect()
    }
}

/// Where a page begins.
struct Place {
    /// The first is 1.
    page: u64,
    /// The key that it begins after.
    after: Option<String>,
}

fn place_of(call: &Call) -> Result<Place, Refusal> {
    let Some(token) = call.parameter("$skiptoken") else {
        return Ok(Place { page: 1, after: None });
    };
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.split_once('|'));
    place
        .and_then(|(page, after)| Some(Place { page: page.parse().ok()?, after: Some(after.to_owned()) }))
        .ok_or_else(|| Refusal::new(400, "InvalidSkipToken", "The skip token is not one of ours."))
}

/// Which page of a LIST a request asks for; None: it is no LIST.
pub fn page_of(call: &Call) -> Option<u64> {
    let place = (call.method == hyper::Method::GET).then(|| Route::parse(&call.path)).flatten()?.place;
    match place {
        routes::Place::ListOfGroup(..) | routes::Place::ListOfSubscription(_) => {
            place_of(call).ok().map(|place| place.page)
        }
        routes::Place::Subscription
        | routes::Place::Group(_)
        | routes::Place::Resource(_)
        | routes::Place::Operation(_)
        | routes::Place::ComputeProvider
        | routes::Place::Rights(_)
        | routes::Place::Locks(_)
        | routes::Place::Elsewhere => None,
    }
}

fn next_link(request: &Admitted<'_>, place: &Place) -> String {
    let call = request.call;
    let origin = request.ways.links_to.clone().unwrap_or_else(|| call.origin());
    let after = place.after.as_deref().unwrap_or_default();
    let token = BASE64URL_NOPAD.encode(format!("{}|{after}", place.page).as_bytes());
    let path = call.path.replace(' ', "%20");
    format!("{origin}{path}?api-version={}&$skiptoken={token}", request.api.0)
}
