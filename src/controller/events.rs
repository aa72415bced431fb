//! Events: on the assignments concerned, and on the `IdentityTarget` where an assignment is going. Best effort.
use super::context::Context;
use super::news;
use super::status::WEAK_MODE;
use super::visit::{Done, Visit};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use lanyard_domain::contest::{Matter, Undone, in_words};
use lanyard_domain::judge::Note;
use lanyard_domain::plan::DefaultChange;
use lanyard_domain::reason::Reason;
use lanyard_domain::record::Switch;
use lanyard_domain::{Claim, Claims, Complete, IdentityId};
use std::collections::BTreeSet;

/// Kubernetes refuses notes of more than 1,024 bytes.
const LONGEST_NOTE: usize = 1000;

/// Something to tell people.
#[derive(Clone, Debug)]
pub struct News {
    pub reason: &'static str,
    pub action: &'static str,
    pub note: String,
    pub warning: bool,
    pub audience: Audience,
}

/// Whom news concern.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Everybody who declares something about the target.
    All,
    /// Those who declare one of these ids, or did when last acted on.
    Declaring(BTreeSet<IdentityId>),
    /// One assignment, by uid.
    One(String),
    /// An assignment that goes: told on the target, whose Events live in `default`.
    Target,
}

/// Before the record is written: what it is about to forget, and may be on the machine all the same, only an Event
/// names. A process that is killed in between tells it twice rather than never.
pub async fn before_forgetting(context: &Context, visit: &mut Visit, claims: &Complete<Claims>) {
    for news in news::of_what_stays(visit, claims) {
        if visit.told_first.insert(news.note.clone()) {
            publish(context, visit, &news).await;
        }
    }
}

/// Publishes what is news. What is no longer said may be news again.
pub async fn publish_all(context: &Context, visit: &mut Visit, mut news: Vec<News>, ended_well: bool) {
    news.retain(|news| !visit.told_first.contains(&news.note));
    for news in news {
        publish(context, visit, &news).await;
    }
    visit.memory.has_spoken(ended_well);
}

async fn publish(context: &Context, visit: &mut Visit, news: &News) {
    let about = match &news.audience {
        Audience::One(uid) => format!("{} {uid}", news.reason),
        Audience::All | Audience::Declaring(_) | Audience::Target => news.reason.to_owned(),
    };
    if !visit.memory.is_news(&about, &news.note) {
        return;
    }
    for about in audience(visit, &news.audience) {
        send(context, &about, news.reason, news.action, &news.note, news.warning).await;
    }
}

/// Publishes one Event, best effort. Of a note that is too long, what fits.
pub async fn send(
    context: &Context,
    about: &ObjectReference,
    reason: &'static str,
    action: &'static str,
    note: &str,
    warning: bool,
) {
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason: reason.into(),
        note: Some(shortened(note)),
        action: action.into(),
        secondary: None,
    };
    if let Err(error) = context.kubernetes.publish(&event, about).await {
        tracing::debug!(reason, %error, "an Event was refused");
    }
}

/// The assignments concerned that stay; if there are none, the target.
fn audience(visit: &Visit, whom: &Audience) -> Vec<ObjectReference> {
    let staying = visit.read.iter().filter(|read| read.claim.leaving.is_none());
    let concerned = staying.filter(|read| match whom {
        Audience::All => true,
        Audience::Declaring(ids) => ids.is_empty() || declares(visit, &read.claim, ids),
        Audience::One(uid) => read.claim.key.uid == *uid,
        Audience::Target => false,
    });
    let assignments: Vec<ObjectReference> = concerned.map(|read| read.object.object_ref(&())).collect();
    match (&visit.target_ref, assignments.is_empty()) {
        (Some(target), true) => vec![target.clone()],
        (_, _) => assignments,
    }
}

fn declares(visit: &Visit, claim: &Claim, ids: &BTreeSet<IdentityId>) -> bool {
    let recorded = visit.record.recorded_claim(&claim.key.uid);
    ids.iter().any(|id| claim.user.contains_key(id) || recorded.is_some_and(|recorded| recorded.present.contains(id)))
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.into();
    }
    let end = (0..=LONGEST_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &note[..end])
}

fn names<'a>(ids: impl Iterator<Item = &'a IdentityId>) -> String {
    listed(ids.map(IdentityId::name))
}

/// As many as fit, "and 12 more".
pub fn listed<'a>(all: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 10;
    let all: Vec<&str> = all.collect();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// What a PATCH changed. One that gives callers who name no identity another answer is a warning that says that, too:
/// one Event a change.
pub fn of_done(visit: &Visit, done: &Done) -> News {
    let patch = &done.patch;
    let mut parts = Vec::new();
    if patch.added().next().is_some() {
        parts.push(format!("attached {}", names(patch.added())));
    }
    if patch.removed().next().is_some() {
        parts.push(format!("removed {}", names(patch.removed())));
    }
    match patch.system {
        Some(Switch::On) => parts.push("enabled the system-assigned identity".into()),
        Some(Switch::Off) => parts.push(format!(
            "disabled the system-assigned identity, principal {} is gone for good",
            done.lost_principal.as_deref().unwrap_or("unknown")
        )),
        None => {}
    }
    if let Some(change) = &done.default_change {
        parts.push(of_default_change(visit, change));
    }
    let note = format!("{}: {}", visit.target.name(), parts.join("; "));
    if done.default_change.is_some() {
        let reason = Reason::DefaultIdentityChanged.as_str();
        return News { reason, action: "Patch", note, warning: true, audience: Audience::All };
    }
    // Who declares the system-assigned identity is concerned by its switch.
    let audience = match patch.system {
        Some(_) => Audience::All,
        None => Audience::Declaring(patch.edits.keys().cloned().collect()),
    };
    News { reason: "IdentitiesChanged", action: "Patch", note, warning: false, audience }
}

/// Callers on the machine that name no identity get another answer from now on.
pub fn of_default_change(visit: &Visit, change: &DefaultChange) -> String {
    format!(
        "programs on {} that ask for a token without naming an identity got {} and now get {}",
        visit.target.name(),
        change.before,
        change.after
    )
}

/// The endpoint does not keep two writers apart.
pub fn of_weak_mode(visit: &Visit) -> News {
    let note = format!("writes to {}: {WEAK_MODE}", visit.target.name());
    News { reason: Reason::EndpointUnguarded.as_str(), action: "Probe", note, warning: true, audience: Audience::All }
}

/// An assignment leaves that wanted the system-assigned identity on: that one is only ever switched off by name.
pub fn of_system_kept(visit: &Visit, leaving: &str) -> News {
    let note = format!(
        "{leaving} is gone and the system-assigned identity of {} stays on; declare systemAssigned: Disabled to switch it off",
        visit.target.name()
    );
    News { reason: "SystemIdentityKept", action: "Delete", note, warning: false, audience: Audience::Target }
}

/// Before the first write: whether a change of the model's identity starts a rollout is not documented.
pub async fn before_rollout(context: &Context, visit: &mut Visit) {
    let may = visit.live.as_ref().is_some_and(|live| live.may_roll_out);
    if !may || std::mem::replace(&mut visit.memory.rollout_told, true) {
        return;
    }
    let note = format!(
        "the identities of {} are about to change; its upgrade policy is Automatic and its image latest, so that Azure \
         may replace instances",
        visit.target.name()
    );
    let news = News { reason: "RolloutPossible", action: "Patch", note, warning: true, audience: Audience::All };
    publish(context, visit, &news).await;
}

/// Somebody keeps undoing a change of ours.
pub fn of_contest(visit: &Visit, matter: &Matter, undone: &Undone) -> News {
    let note = format!("{}: {}", visit.target.name(), in_words(matter, undone));
    let audience = match matter {
        Matter::User(id, _) => Audience::Declaring([id.clone()].into()),
        Matter::System(_) => Audience::All,
    };
    News { reason: Reason::Contested.as_str(), action: "Patch", note, warning: true, audience }
}

/// What a visit found out beside its own writes.
pub fn of_note(visit: &Visit, said: &Note) -> News {
    let machine = visit.target.name();
    let (reason, note, warning) = match said {
        Note::MachineReplaced { old, new, ids } => {
            let under_way = if ids.is_empty() {
                String::new()
            } else {
                format!("; {} was under way, is there, and is not Lanyard's", names(ids.iter()))
            };
            let note = format!(
                "another machine bears the name {machine} now ({new}, was {old}): the record was emptied{under_way}"
            );
            ("MachineReplaced", note, true)
        }
        Note::Arrived { ids } => (
            "WriteArrived",
            format!("a change whose answer was lost had arrived: {} on {machine}", names(ids.iter())),
            false,
        ),
        Note::Vanished { ids } => {
            ("IdentityVanished", format!("somebody else took {} off {machine}", names(ids.iter())), true)
        }
        Note::PutBack { ids } => (
            "IdentityPutBack",
            format!("somebody else put {} back on {machine}: it is theirs now", names(ids.iter())),
            true,
        ),
        Note::Released { by, ids } => (
            "IdentitiesReleased",
            format!("{by} was let go: {} on {machine} stays, and is nobody's here", names(ids.iter())),
            false,
        ),
        Note::OpenExpired { ids } => (
            "WriteGivenUp",
            format!(
                "a change was never answered and did not arrive: should it still, {} on {machine} is not ours",
                names(ids.iter())
            ),
            true,
        ),
        Note::PrincipalChanged { id, old, new } => {
            let what = id.as_ref().map_or("the system-assigned identity", |id| id.name());
            (
                "PrincipalChanged",
                format!(
                    "{what} on {machine} has another principal now ({new}, was {old}): role assignments of the old one are void"
                ),
                true,
            )
        }
        Note::Repairing { id, old, new } => {
            let void = old.as_ref().map(|old| format!("; role assignments of {old} are void")).unwrap_or_default();
            let note = format!(
                "the entry of {} on {machine} was dead, since the identity was deleted and created again: it was removed, and is \
                 attached again with the principal {new}{void}",
                id.name()
            );
            ("IdentityRepaired", note, true)
        }
        Note::Adopted { ids } => {
            ("IdentitiesAdopted", format!("{} on {machine} is Lanyard's from now on", names(ids.iter())), false)
        }
    };
    let audience = match said {
        Note::Arrived { ids }
        | Note::Vanished { ids }
        | Note::PutBack { ids }
        | Note::OpenExpired { ids }
        | Note::Adopted { ids } => Audience::Declaring(ids.clone()),
        Note::PrincipalChanged { id: Some(id), .. } | Note::Repairing { id, .. } => {
            Audience::Declaring([id.clone()].into())
        }
        Note::Released { .. } => Audience::Target,
        Note::MachineReplaced { .. } | Note::PrincipalChanged { id: None, .. } => Audience::All,
    };
    News { reason, action: "Observe", note, warning, audience }
}
