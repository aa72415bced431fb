//! Step 1, gather: the record, every claim accounted for, and a fresh look at the machine.
use super::context::Context;
use super::error::{RecordTrouble, VisitError};
use super::index::OfTarget;
use super::visit::Visit;
use crate::api::assignment::AksNodePool;
use crate::api::claim::{is_leaving, released};
use crate::api::raw::Readable;
use crate::api::record::RecordError;
use crate::arm::ArmError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::aks::{AksSign, managed_by_aks};
use lanyard_domain::claims::{Holding, Leaving};
use lanyard_domain::evidence::{Census, NotFresh, Reading, said_gone, shows_the_past};
use lanyard_domain::pace::Class;
use lanyard_domain::target_name::target_name;
use lanyard_domain::{Claim, Claims, Complete, Fresh, Live, Record, RecordedClaim};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Between two reads, where the first shows a state that we know to be old.
const REREAD: Duration = Duration::from_millis(700);
const REREADS: usize = 3;

/// Loads the target's record as the watch knows it. Another object under the record's name is somebody else's.
pub fn load(context: &Context, visit: &mut Visit) -> Result<(), VisitError> {
    let name = target_name(&visit.target);
    let known = context.index.target_objects(&visit.target);
    let Some(stored) = known.into_iter().find(|object| object.metadata.name.as_deref() == Some(&name)) else {
        visit.stored = None;
        visit.record = Record::empty(visit.target.as_ref().clone());
        return Ok(());
    };
    visit.record = match Record::try_from(&stored.record) {
        Ok(record) => record,
        Err(RecordError::Newer { .. }) => return Err(RecordTrouble::Newer { name }.into()),
        Err(source) => return Err(RecordTrouble::Unreadable { name, source }.into()),
    };
    // One spelling from visit to visit: whichever came first.
    visit.target = Arc::new(visit.record.resource_id.clone());
    visit.keep(stored);
    Ok(())
}

/// Accounts for every claim: what the watch holds, and a direct read for each that the record knows and the watch does not.
pub async fn claims(context: &Context, visit: &mut Visit) -> Result<Complete<Claims>, VisitError> {
    let of_target = context.index.of(&visit.target);
    let confirmed = confirm(context, &visit.record, &of_target.read).await;
    let of_target = if confirmed.is_empty() { of_target } else { context.index.of(&visit.target) };
    let listed = of_target.listed;
    take_up(visit, of_target, &confirmed);
    let mut gone = BTreeSet::new();
    for recorded in unaccounted(visit) {
        match context.kubernetes.assignment_is_gone(&recorded.key).await {
            Ok(true) => {
                gone.insert(recorded.key.uid.clone());
            }
            Ok(false) => {}
            // Not proven gone: it stands as recorded.
            Err(error) => tracing::warn!(assignment = %recorded.key, %error, "whether it is gone could not be read"),
        }
    }
    let let_go = gone.iter().filter(|uid| context.index.was_let_go(uid)).cloned().collect();
    let census = Census { let_go, ..census(visit, listed, gone, confirmed) };
    Ok(Complete::account(census, &visit.record)?)
}

/// The same, if the watches account for every claim; `None` where somebody would have to be asked.
pub fn claims_at_hand(context: &Context, visit: &mut Visit) -> Option<Complete<Claims>> {
    let of_target = context.index.of(&visit.target);
    let listed = of_target.listed;
    take_up(visit, of_target, &BTreeSet::new());
    let all = unaccounted(visit).next().is_none();
    let census = all.then(|| census(visit, listed, BTreeSet::new(), BTreeSet::new()))?;
    Complete::account(census, &visit.record).ok()
}

/// Without those of which an older version is shown than was acted on.
fn take_up(visit: &mut Visit, of_target: OfTarget, confirmed: &BTreeSet<String>) {
    visit.read = of_target.read;
    visit.read.retain(|read| confirmed.contains(&read.claim.key.uid) || !shows_the_past(&read.claim, &visit.record));
    visit.unread = of_target.unread;
}

/// Claims that the record knows, and no watch shows.
fn unaccounted(visit: &Visit) -> impl Iterator<Item = &RecordedClaim> {
    let read = visit.read.iter().map(|read| read.claim.key.uid.as_str());
    let uids: BTreeSet<&str> = read.chain(visit.unread.iter().map(|unread| unread.claim.key.uid.as_str())).collect();
    visit.record.claims.iter().filter(move |recorded| !uids.contains(recorded.key.uid.as_str()))
}

fn census(visit: &Visit, listed: bool, gone: BTreeSet<String>, confirmed: BTreeSet<String>) -> Census {
    let (let_go, unread): (Vec<_>, Vec<_>) = visit.unread.iter().partition(|unread| lets_go(&unread.metadata));
    let unread = unread.into_iter().map(|unread| unread.claim.clone()).collect();
    // Whatever else such an object says, that it may go is legible.
    let let_go = let_go.into_iter().map(|unread| Claim { leaving: Some(Leaving::Release), ..unread.claim.clone() });
    Census {
        listed,
        read: visit.read.iter().map(|read| read.claim.clone()).chain(let_go).collect(),
        unread,
        gone,
        confirmed,
        ..Census::default()
    }
}

/// Reads those objects anew of which the watch shows an older version than the record knows: behind a server that lags,
/// what was declared since would look withdrawn. One that cannot be read stands as recorded.
async fn confirm(context: &Context, record: &Record, read: &[Arc<Readable>]) -> BTreeSet<String> {
    let mut confirmed = BTreeSet::new();
    for read in read.iter().filter(|read| shows_the_past(&read.claim, record)) {
        let key = &read.claim.key;
        match context.kubernetes.assignment(key).await {
            Ok(Some(object)) if object.metadata.uid.as_deref() == Some(&key.uid) => {
                context.index.apply_assignment(object);
                confirmed.insert(key.uid.clone());
            }
            // Whether it is gone is asked in the way that proves it.
            Ok(_) => {}
            Err(error) => tracing::warn!(assignment = %key, %error, "the watch is behind, and it could not be read"),
        }
    }
    confirmed
}

fn lets_go(metadata: &ObjectMeta) -> bool {
    is_leaving(metadata) && released(metadata)
}

/// A GET of the machine, begun in this visit and not older than our last write.
pub async fn live(context: &Context, visit: &mut Visit) -> Result<Fresh<Live>, VisitError> {
    if let Some(live) = visit.read_back.take() {
        visit.follows = None;
        return Ok(live);
    }
    let mut reads = 0;
    loop {
        let begun = context.now();
        let arm = context.arm.at(visit.urgency());
        let live = arm.machine(&visit.target).await.map_err(|error| missing(context, visit, error))?;
        visit.memory.gone_since = None;
        let reading = Reading {
            begun,
            visit: visit.began,
            last_write_ended: visit.memory.protocol.last_write_ended,
            stale_since: visit.memory.superseded_since,
        };
        match Fresh::read(live, reading, &visit.record) {
            Ok(fresh) => {
                visit.memory.superseded_since = None;
                visit.follows = None;
                return Ok(fresh);
            }
            Err(NotFresh::Superseded) if reads < REREADS => {
                visit.memory.superseded_since.get_or_insert(begun);
                reads += 1;
                tokio::time::sleep(REREAD).await;
            }
            Err(why) => {
                visit.memory.superseded_since.get_or_insert(begun);
                return Err(why.into());
            }
        }
    }
}

/// A 404 in ARM's own words counts when it is repeated a minute later.
fn missing(context: &Context, visit: &mut Visit, error: ArmError) -> VisitError {
    match error {
        ArmError::NotFound { .. } => visit.gone = said_gone(&mut visit.memory.gone_since, context.now()),
        _ => visit.memory.gone_since = None,
    }
    error.into()
}

/// The claims, with those held back that do not accept a machine of AKS.
pub fn without_aks(visit: &Visit, claims: &Complete<Claims>, managed_by: Option<&str>) -> Option<Complete<Claims>> {
    let live = visit.live.as_ref()?;
    let sign: AksSign = managed_by_aks(&visit.target, live, managed_by)?;
    tracing::debug!(target_id = %visit.target, ?sign, "managed by AKS");
    let accepting: BTreeSet<&str> = visit
        .read
        .iter()
        .filter(|read| read.object.spec.aks_node_pool == AksNodePool::Manage)
        .map(|read| read.claim.key.uid.as_str())
        .collect();
    Some(
        claims.holding(&visit.record, |claim| {
            (!accepting.contains(claim.key.uid.as_str())).then_some(Holding::ManagedByAks)
        }),
    )
}

fn group_key(visit: &Visit) -> String {
    format!("{}/{}", visit.target.subscription(), visit.target.group().to_lowercase())
}

/// What is remembered of the resource group's `managedBy`.
pub fn known_managed_by(context: &Context, visit: &Visit) -> Option<String> {
    context.known_group(&group_key(visit))?.managed_by
}

/// Whether the machine's resource group is a cluster's. Asked before a write only, and remembered for an hour.
///
/// Without the right to read the group, tags and the group's name have to do.
pub async fn group_managed_by(context: &Context, visit: &Visit) -> Result<Option<String>, VisitError> {
    let group = group_key(visit);
    if let Some(known) = context.known_group(&group) {
        return Ok(known.managed_by);
    }
    match context.arm.at(visit.urgency()).group_managed_by(&visit.target).await {
        Ok(managed_by) => {
            context.learn_group(group, managed_by.clone());
            Ok(managed_by)
        }
        // ARM's word that it will not tell. A right that is missing stays missing; anything else is asked again.
        Err(error) if matches!(error.class(), Class::Refused | Class::Waiting | Class::Defect) => {
            let error_text = crate::arm::chain(&error);
            tracing::info!(
                group,
                error = error_text,
                "the resource group cannot be read; tags and name decide whether AKS manages it"
            );
            if matches!(error, ArmError::Forbidden { .. }) {
                context.learn_group(group, None);
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
