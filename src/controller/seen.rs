//! What was last seen of the machine, by which a change by somebody else is noticed: kept in the view of it, so that
//! it outlives the process.
use super::visit::Visit;
use crate::api::ACKNOWLEDGE;
use crate::api::IdentityTargetStatus;
use crate::api::status::DefaultIdentityChanged;
use lanyard_domain::claims::SystemWish;
use lanyard_domain::judge::Note;
use lanyard_domain::live::DefaultIdentity;
use lanyard_domain::plan::DefaultChange;
use lanyard_domain::principals::{Principals, Seen};
use lanyard_domain::{IdentityId, Live};

/// The machine as it was known when the visit began.
#[derive(Clone, Debug, Default)]
pub struct Before {
    principals: Principals,
    /// What a program got that names no identity.
    pub default_identity: Option<String>,
}

impl Before {
    /// From the view as stored, and from the record where that tells more.
    pub fn of(visit: &Visit) -> Self {
        let status = visit.stored.as_ref().and_then(|stored| stored.status.as_ref());
        let principals = status.map(principals).unwrap_or_default().completed(&visit.record);
        let default_identity = status.and_then(|status| status.default_identity.clone());
        Self { principals, default_identity }
    }
}

fn principals(status: &IdentityTargetStatus) -> Principals {
    let seen = |principal: &Option<String>, previous: &Option<String>| Seen {
        principal: principal.clone(),
        previous: previous.clone(),
    };
    let system = status.system_assigned.as_ref();
    let user = status.identities.iter().map(|identity| {
        let id = IdentityId::told_by_arm(&identity.resource_id);
        (id, seen(&identity.principal_id, &identity.previous_principal_id))
    });
    Principals {
        system: system.map(|system| seen(&system.principal_id, &system.previous_principal_id)).unwrap_or_default(),
        user: user.collect(),
    }
}

/// Looks for changes since the visit began. The read was judged: no operation runs on the machine.
pub fn look(visit: &mut Visit) {
    if visit.notes.iter().any(|note| matches!(note, Note::MachineReplaced { .. })) {
        visit.before = Some(Before::default());
        visit.memory.contest.forget(|_| true);
    }
    let (Some(live), Some(before)) = (&visit.live, &visit.before) else { return };
    let mut known = before.principals.clone();
    if visit.has_annotation(ACKNOWLEDGE, "principals") {
        known = known.acknowledged();
        visit.obeyed.insert(ACKNOWLEDGE);
    }
    let (principals, notes) = known.after(live);
    visit.changed_principals = notes.into_iter().filter(|note| is_ours_to_tell(visit, note)).collect();
    visit.principals = principals;
}

/// Of what is nobody's here nothing is told.
fn is_ours_to_tell(visit: &Visit, note: &Note) -> bool {
    let mut staying = visit.claims.iter().flat_map(|claims| claims.staying());
    match note {
        Note::PrincipalChanged { id: Some(id), .. } => {
            visit.record.attached.contains_key(id) || staying.any(|claim| claim.user.contains_key(id))
        }
        Note::PrincipalChanged { id: None, .. } => {
            visit.record.system.is_some() || staying.any(|claim| claim.system != SystemWish::Unmanaged)
        }
        Note::MachineReplaced { .. }
        | Note::Arrived { .. }
        | Note::Vanished { .. }
        | Note::PutBack { .. }
        | Note::Released { .. }
        | Note::OpenExpired { .. }
        | Note::Repairing { .. }
        | Note::Adopted { .. } => true,
    }
}

/// A default identity as status shows it.
fn name_of_default(default: &DefaultIdentity) -> String {
    match default {
        DefaultIdentity::System => "SystemAssigned".into(),
        DefaultIdentity::User(id) => id.to_string(),
        DefaultIdentity::Nobody => "None".into(),
    }
}

/// A change of it, likewise.
pub fn of_change(change: &DefaultChange) -> DefaultIdentityChanged {
    DefaultIdentityChanged { before: name_of_default(&change.before), after: name_of_default(&change.after) }
}

/// What a program on the machine gets that names no identity.
pub fn default_of(live: &Live) -> String {
    name_of_default(&DefaultIdentity::of(live.system.is_some(), live.user.keys()))
}
