//! Which claims end, and what the record remembers of those that stay.
use crate::claims::{Claim, Claims, Ensure, Holding, Leaving, Stance, SystemWish};
use crate::evidence::Complete;
use crate::ids::IdentityId;
use crate::judge::Note;
use crate::live::Live;
use crate::record::{Attached, Record, RecordedClaim};
use crate::time::Timestamp;
use std::collections::BTreeSet;

/// Ends the claims that leave without a write: what nobody else claims is no longer ours.
#[must_use]
pub fn depart(record: &Record, claims: &Complete<Claims>) -> (Record, Vec<Note>) {
    let mut record = record.clone();
    let mut notes = Vec::new();
    let staying: BTreeSet<IdentityId> = claims.present().into_iter().cloned().collect();
    for (uid, how) in claims.leaving() {
        match how {
            Leaving::Detach => {}
            Leaving::Release => {
                let ended: BTreeSet<_> = declared(&record, claims, uid).difference(&staying).cloned().collect();
                let by = name_of(&record, claims, uid);
                notes.extend(release(&mut record, by, &ended));
            }
        }
    }
    (record, notes)
}

fn release(record: &mut Record, by: String, ended: &BTreeSet<IdentityId>) -> Option<Note> {
    let under_way = record.intent.iter().flat_map(|intent| &intent.add);
    let ours = record.attached.keys().chain(under_way);
    let ids: BTreeSet<IdentityId> = ours.filter(|id| ended.contains(*id)).cloned().collect();
    record.attached.retain(|id, _| !ended.contains(id));
    if let Some(intent) = &mut record.intent {
        intent.add.retain(|id| !ended.contains(id));
    }
    (!ids.is_empty()).then_some(Note::Released { by, ids })
}

/// The ids that an assignment declared present, by its object or as recorded.
fn declared(record: &Record, claims: &Claims, uid: &str) -> BTreeSet<IdentityId> {
    let recorded = record.recorded_claim(uid).into_iter().flat_map(|claim| claim.present.iter());
    let read = claims.get(uid).into_iter().flat_map(Claim::present);
    recorded.chain(read).cloned().collect()
}

fn name_of(record: &Record, claims: &Claims, uid: &str) -> String {
    let read = claims.get(uid).map(|claim| claim.key.to_string());
    read.or_else(|| record.recorded_claim(uid).map(|claim| claim.key.to_string())).unwrap_or_default()
}

/// Nothing that this leaving assignment put on the machine is left for us to take off, nor may any still arrive.
#[must_use]
pub fn has_left(record: &Record, claims: &Complete<Claims>, uid: &str) -> bool {
    let staying = claims.present();
    declared(record, claims, uid).iter().all(|id| {
        let in_flight = record.intent.as_ref().is_some_and(|intent| intent.ids().any(|named| named == id));
        staying.contains(id) || !(record.attached.contains_key(id) || in_flight)
    })
}

/// The claims as acted on now: those that stay, and those that have not left yet.
#[must_use]
pub fn recorded_claims(record: &Record, claims: &Complete<Claims>) -> Vec<RecordedClaim> {
    let leaving = claims.leaving();
    let left = |uid: &str| leaving.contains_key(uid) && has_left(record, claims, uid);
    let claimed = claims.present();
    let read =
        claims.iter().filter(|claim| !left(&claim.key.uid)).filter_map(|claim| remember(record, claim, &claimed));
    let absent = record.claims.iter().filter(|known| claims.get(&known.key.uid).is_none() && !left(&known.key.uid));
    let mut all: Vec<RecordedClaim> = read.chain(absent.cloned()).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// A withdrawal that is not carried out yet stays with whom it came from: a removal may be held back, or refused.
fn remember(record: &Record, claim: &Claim, claimed: &BTreeSet<&IdentityId>) -> Option<RecordedClaim> {
    let recorded = record.recorded_claim(&claim.key.uid);
    if claim.stance == Stance::Hold(Holding::Unread) || claim.leaving.is_some() {
        return recorded.cloned();
    }
    let withdrawn = recorded.into_iter().flat_map(|known| &known.present);
    let pending = withdrawn.filter(|id| record.attached.contains_key(*id) && !claimed.contains(id));
    Some(RecordedClaim {
        key: claim.key.clone(),
        generation: claim.generation,
        deletion_policy: claim.deletion_policy,
        mode: claim.mode,
        present: claim.present().chain(pending).cloned().collect(),
        refs: crate::reference::recorded(claim, recorded),
        system_enabled: claim.system == SystemWish::Enabled,
    })
}

/// An administrator's word: what is present and declared at this moment is ours from now on.
#[must_use]
pub fn adopt(record: &Record, claims: &Complete<Claims>, live: &Live, timestamp: &Timestamp) -> (Record, Option<Note>) {
    let mut record = record.clone();
    let enforcing = || claims.iter().filter(|claim| claim.enforces());
    let refused: BTreeSet<&IdentityId> = enforcing()
        .flat_map(|claim| claim.user.iter())
        .filter(|(_, e)| **e == Ensure::Absent)
        .map(|(id, _)| id)
        .collect();
    let ids: BTreeSet<IdentityId> = enforcing()
        .flat_map(Claim::wanted)
        .filter(|id| live.has(id) && !refused.contains(id) && !record.attached.contains_key(*id))
        .cloned()
        .collect();
    for id in &ids {
        let principal_id = live.user.get(id).and_then(|principal| principal.principal_id.clone());
        record.attached.insert(id.clone(), Attached { principal_id, since: timestamp.clone() });
    }
    let note = (!ids.is_empty()).then_some(Note::Adopted { ids });
    (record, note)
}
