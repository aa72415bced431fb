//! A second opinion, asked before every PATCH leaves: may this body, under this If-Match, remove anything that it must not?
//!
//! Written from promise 1 alone and without a line of the planner: it plays ARM's part on the very bytes that would leave,
//! and asks of every identity that would be lost whether somebody said so by name or the record allows it.
use crate::claims::{Claims, Ensure, Leaving, Stance, SystemWish};
use crate::dangling::{Identities, Own};
use crate::evidence::Complete;
use crate::live::{Live, Provisioning};
use crate::record::Record;
use serde_json::Value;
use std::collections::BTreeSet;

/// Why a request must not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request carries If-Match {sent:?}, but was planned from {planned:?}")]
    WrongETag { sent: Option<String>, planned: Option<String> },
    #[error("the endpoint lists identities: a write replaces the whole list")]
    ReplacesTheList,
    #[error("the body is not an identity change: {0}")]
    NotAnIdentityChange(String),
    #[error("it would drop {0}, which is neither ours and unclaimed, nor declared Absent, nor dead and to be repaired")]
    DropsUserIdentity(String),
    #[error("it would switch off the system-assigned identity, which nobody declares Disabled without dispute")]
    DropsSystemIdentity,
}

/// Says no to a request that could drop what is not ours to remove.
///
/// # Errors
/// [`Refusal`], naming what would be lost. Such a request is a defect of the planner and must not leave.
pub fn audit(
    body: &str,
    if_match: Option<&str>,
    claims: &Complete<Claims>,
    record: &Record,
    live: &Live,
    identities: &Identities,
) -> Result<(), Refusal> {
    if live.lists_ids {
        return Err(Refusal::ReplacesTheList);
    }
    let planned = live.etag.as_ref().map(|etag| etag.0.clone());
    if if_match != planned.as_deref() {
        return Err(Refusal::WrongETag { sent: if_match.map(Into::into), planned });
    }
    let after = Block::of(live).patched(body)?;
    if live.system.is_some() && !after.system && !may_disable(claims) {
        return Err(Refusal::DropsSystemIdentity);
    }
    let lost = live.user.keys().filter(|id| !after.user.contains(id.folded()));
    for id in lost {
        if !may_remove(id.folded(), claims, record) && !may_repair(id.folded(), claims, record, live, identities) {
            return Err(Refusal::DropsUserIdentity(id.to_string()));
        }
    }
    Ok(())
}

/// An identity block as ARM keeps it.
struct Block {
    system: bool,
    user: BTreeSet<String>,
}

impl Block {
    fn of(live: &Live) -> Self {
        Self { system: live.system.is_some(), user: live.user.keys().map(|id| id.folded().into()).collect() }
    }

    /// What ARM makes of a PATCH: `type` is authoritative, the map merges, `null` removes.
    fn patched(mut self, body: &str) -> Result<Self, Refusal> {
        let unlike = |why: &str| Refusal::NotAnIdentityChange(why.into());
        let body: Value = serde_json::from_str(body).map_err(|error| unlike(&error.to_string()))?;
        let only_identity = body.as_object().is_some_and(|object| object.keys().all(|key| key == "identity"));
        let identity = body.get("identity").and_then(Value::as_object).filter(|_| only_identity);
        let identity = identity.ok_or_else(|| unlike("it names something else than `identity`"))?;
        if identity.contains_key("identityIds") {
            return Err(unlike("`identityIds` replaces the whole list"));
        }
        let kind = identity.get("type").and_then(Value::as_str).ok_or_else(|| unlike("`type` is missing"))?;
        let kinds: Vec<String> = kind.split(',').map(|part| part.trim().to_lowercase()).collect();
        self.system = kinds.iter().any(|kind| kind == "systemassigned");
        match identity.get("userAssignedIdentities") {
            Some(Value::Object(map)) => self.merge(map),
            None => {}
            Some(_) => return Err(unlike("`userAssignedIdentities` is no map")),
        }
        if !kinds.iter().any(|kind| kind == "userassigned") {
            self.user.clear();
        }
        Ok(self)
    }

    fn merge(&mut self, map: &serde_json::Map<String, Value>) {
        for (id, value) in map {
            if value.is_null() {
                self.user.remove(&id.to_lowercase());
            } else {
                self.user.insert(id.to_lowercase());
            }
        }
    }
}

/// Attached by us and claimed by nobody, or declared `Absent` by a claim in force that no other contradicts.
fn may_remove(folded: &str, claims: &Complete<Claims>, record: &Record) -> bool {
    let mut refused = false;
    for claim in claims.iter().filter(|claim| claim.leaving.is_none()) {
        match (claim.user.iter().find(|(id, _)| id.folded() == folded), claim.stance) {
            (Some((_, Ensure::Present | Ensure::Kept)), Stance::Enforce | Stance::Hold(_)) => return false,
            (Some((_, Ensure::Absent)), Stance::Enforce) => refused = true,
            (Some((_, Ensure::Absent)), Stance::Hold(_)) | (None, _) => {}
        }
    }
    let attached = record.attached.keys().any(|id| id.folded() == folded);
    refused || (attached && !retained(folded, claims, record))
}

/// How often one identity's entry may be taken off for the sake of one principal.
const REPAIRS: u32 = 3;

/// Declared present by a claim in force and disputed by none; ours, or its repair asked for by such a claim; and dead by
/// two witnesses: a machine at rest whose last operation succeeded, and the identity itself, which has another principal.
fn may_repair(folded: &str, claims: &Complete<Claims>, record: &Record, live: &Live, identities: &Identities) -> bool {
    let Some((id, shown)) = live.user.iter().find(|(id, _)| id.folded() == folded) else { return false };
    let Some(Own::There(own)) = identities.own(id) else { return false };
    let (mut wanted, mut asked) = (false, record.attached.contains_key(id));
    for claim in claims.iter().filter(|claim| claim.leaving.is_none() && claim.stance == Stance::Enforce) {
        match claim.user.get(id) {
            Some(Ensure::Absent) => return false,
            Some(Ensure::Present) => {
                wanted = true;
                asked |= claim.repair.contains(id);
            }
            Some(Ensure::Kept) | None => {}
        }
    }
    let alive = shown.principal_id.as_ref().is_some_and(|shown| shown.eq_ignore_ascii_case(own));
    let done = record.repairs.get(id).filter(|repair| repair.principal_id == *own).map_or(0, |repair| repair.rounds);
    let settled = live.provisioning == Provisioning::Succeeded && !identities.is_settling(id);
    wanted && asked && settled && !alive && done < REPAIRS
}

/// An assignment that leaves without a write declared it.
fn retained(folded: &str, claims: &Complete<Claims>, record: &Record) -> bool {
    let leaving = claims.leaving();
    let releases = |uid: &str| leaving.get(uid) == Some(&Leaving::Release);
    record.claims.iter().any(|claim| releases(&claim.key.uid) && claim.present.iter().any(|id| id.folded() == folded))
}

fn may_disable(claims: &Claims) -> bool {
    let staying = || claims.iter().filter(|claim| claim.leaving.is_none());
    let off = staying().any(|claim| claim.stance == Stance::Enforce && claim.system == SystemWish::Disabled);
    let on = staying().any(|claim| claim.system == SystemWish::Enabled);
    off && !on
}
