//! What one assignment is told: ready or not, for which reason, and in which words.
use crate::claims::{Claim, ClaimKey, Ensure, Holding, Mode, Stance, SystemWish};
use crate::contest::{Contest, Matter, in_words};
use crate::dangling::Stays;
use crate::ids::IdentityId;
use crate::patch::Edit;
use crate::plan::{Hold, Plan, Step, SystemStep};
use crate::reason::{Reason, Stall};
use crate::record::{Record, Switch};
use std::collections::BTreeMap;
use std::time::Duration;

/// A fresh grant or identity takes minutes to arrive: until then its absence is no standstill.
pub const GRACE: Duration = Duration::from_secs(10 * 60);

/// A machine that has been missing for so long is missing.
pub const MISSING: Duration = Duration::from_secs(60);

/// Something that went wrong, with how long it has been so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub reason: Reason,
    pub message: String,
    /// Since this process first saw it.
    pub lasting: Duration,
    /// Since when not all has been well, for whatever reason.
    pub unwell: Duration,
}

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The plan is carried out, apart from what it holds back.
    Settled,
    /// A PATCH is under way.
    Applying,
    /// Nothing could be told, or nothing done: the whole target waits.
    Trouble(Trouble),
}

/// What the `Ready` condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ready {
    True,
    False,
    /// It was ready when last seen; nothing fresh is known.
    Unknown,
    /// As it was: trouble so young, or so ordinary, that it is no reason to fall from `Ready`.
    AsBefore,
}

/// What one assignment is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub ready: Ready,
    pub reason: Reason,
    pub message: String,
    pub reconciling: bool,
    pub stalled: bool,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub claim: &'a Claim,
    pub record: &'a Record,
    /// The target's plan, where there is one.
    pub plan: Option<&'a Plan>,
    /// What switching this claim alone to `Enforce` would do.
    pub if_enforced: Option<&'a Plan>,
    pub set_aside: &'a BTreeMap<IdentityId, Trouble>,
    pub contest: &'a Contest,
    pub end: &'a End,
    /// `Ready=True` was said of this very generation.
    pub was_ready: bool,
}

/// The verdict on one assignment.
#[must_use]
pub fn verdict(case: Case<'_>) -> Verdict {
    match (case.end, case.plan) {
        (End::Trouble(trouble), _) => troubled(trouble, case.was_ready),
        (End::Settled | End::Applying, None) => {
            Verdict::on_the_way(Reason::Applying, "the target has not been seen yet".into())
        }
        (End::Settled | End::Applying, Some(plan)) => judged(case, plan),
    }
}

impl Verdict {
    fn as_declared() -> Self {
        Self {
            ready: Ready::True,
            reason: Reason::AsDeclared,
            message: "the target has the identities declared here".into(),
            reconciling: false,
            stalled: false,
        }
    }

    /// Not ready yet: work is under way, or waits for what time may mend.
    #[must_use]
    pub fn on_the_way(reason: Reason, message: String) -> Self {
        Self { ready: Ready::False, reason, message, reconciling: true, stalled: false }
    }

    /// Not ready for this reason, which has lasted for so long.
    #[must_use]
    pub fn of(reason: Reason, message: String, lasting: Duration) -> Self {
        let stalled = match reason.stall() {
            Stall::Never => false,
            Stall::AfterGrace => lasting >= GRACE,
            Stall::AtOnce => true,
        };
        Self { ready: Ready::False, reason, message, reconciling: !stalled, stalled }
    }
}

/// A fall from `Ready` rests on a fresh read, which trouble does not give: it is `Unknown` at most.
#[must_use]
pub fn troubled(trouble: &Trouble, was_ready: bool) -> Verdict {
    let verdict = Verdict::of(trouble.reason, trouble.message.clone(), trouble.lasting);
    let missing = trouble.reason == Reason::TargetNotFound && trouble.lasting >= MISSING;
    let ready = match (was_ready, verdict.stalled || trouble.unwell >= GRACE) {
        (false, _) => Ready::False,
        (true, _) if missing => Ready::False,
        (true, false) => Ready::AsBefore,
        (true, true) => Ready::Unknown,
    };
    // The first of a row may be the last: nobody is told yet.
    let reconciling = verdict.reconciling && !(was_ready && trouble.unwell.is_zero());
    Verdict { ready, reconciling, ..verdict }
}

fn judged(case: Case<'_>, plan: &Plan) -> Verdict {
    if let Some((reason, message, lasting)) = obstacle(case, plan) {
        return Verdict::of(reason, message, lasting);
    }
    if case.claim.leaving.is_some() {
        return Verdict::on_the_way(
            Reason::Applying,
            "deleted: identities that Lanyard attached are being removed".into(),
        );
    }
    match (case.claim.stance, case.end) {
        (Stance::Hold(Holding::Observe | Holding::Suspended), _) => observed(case),
        (Stance::Hold(Holding::Unread | Holding::ManagedByAks) | Stance::Enforce, End::Applying)
            if concerns(case, plan) =>
        {
            Verdict::on_the_way(Reason::Applying, "a change of the target's identities is under way".into())
        }
        (Stance::Hold(Holding::Unread | Holding::ManagedByAks) | Stance::Enforce, _) => Verdict::as_declared(),
    }
}

/// The pending PATCH changes something that this claim declares or no longer does.
fn concerns(case: Case<'_>, plan: &Plan) -> bool {
    let Some(patch) = &plan.patch else { return false };
    let system = patch.system.is_some() && case.claim.system != SystemWish::Unmanaged;
    system || patch.edits.keys().any(|id| names(case, id))
}

/// The claim declares this id, or did when it was last acted on.
fn names(case: Case<'_>, id: &IdentityId) -> bool {
    let recorded = case.record.recorded_claim(&case.claim.key.uid);
    case.claim.user.contains_key(id) || recorded.is_some_and(|claim| claim.present.contains(id))
}

fn observed(case: Case<'_>) -> Verdict {
    if let Some((reason, message, lasting)) = case.if_enforced.and_then(|plan| dangling(case, plan)) {
        return Verdict::of(reason, message, lasting);
    }
    let pending = |message: String| Verdict {
        ready: Ready::False,
        reason: Reason::ChangesPending,
        message,
        reconciling: false,
        stalled: false,
    };
    let held = case.if_enforced.and_then(|plan| plan.holds().next());
    match (case.if_enforced.and_then(|plan| plan.patch.as_ref()), held) {
        (None, None) => Verdict::as_declared(),
        (None, Some(why)) => pending(format!("nothing is written in this mode, and Enforce would wait: {why}")),
        (Some(patch), _) => {
            let counts = format!("{} to add, {} to remove", patch.added().count(), patch.removed().count());
            let system = match patch.system {
                Some(Switch::On) => ", system-assigned identity to enable",
                Some(Switch::Off) => ", system-assigned identity to disable",
                None => "",
            };
            pending(format!(
                "nothing is written in this mode; status.plan shows what Enforce would do: {counts}{system}"
            ))
        }
    }
}

type Obstacle = (Reason, String, Duration);

/// What keeps this claim from being fulfilled, the gravest first.
fn obstacle(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    unreadable(case)
        .or_else(|| conflict(case, plan))
        .or_else(|| contradicted(case))
        .or_else(|| aks(case))
        .or_else(|| flexible(case, plan))
        .or_else(|| aside(case, plan))
        .or_else(|| dangling(case, plan))
        .or_else(|| contested(case, plan))
        .or_else(|| held(case, plan))
        .or_else(|| waiting_refs(case))
}

/// A reference says the opposite of another entry of the same assignment.
fn contradicted(case: Case<'_>) -> Option<Obstacle> {
    let (name, id) = case.claim.contradicted().next().filter(|_| case.claim.leaving.is_none())?;
    let message = format!(
        "the reference {name} and another entry of this assignment say the opposite of {id}: neither is applied; remove one"
    );
    Some((Reason::Conflict, message, Duration::ZERO))
}

/// References whose identities are not there yet: they are waited for, and all else is done.
fn waiting_refs(case: Case<'_>) -> Option<Obstacle> {
    let refs = case.claim.refs.iter().filter(|_| case.claim.leaving.is_none());
    let mut waiting = refs.filter_map(|(name, reference)| Some(format!("{name}: {}", reference.waits()?)));
    let first = waiting.next()?;
    let more = match waiting.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some((Reason::IdentityNotReady, first + &more, Duration::ZERO))
}

fn unreadable(case: Case<'_>) -> Option<Obstacle> {
    (case.claim.stance == Stance::Hold(Holding::Unread)).then(|| {
        let message =
            "this object cannot be read by this version; what it was last known to declare stays as it is".into();
        (Reason::InvalidSpec, message, Duration::ZERO)
    })
}

fn conflict(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    let disputed = |what: String, ensure: Ensure, present: &[ClaimKey], absent: &[ClaimKey]| {
        let binds = case.claim.enforces() || ensure != Ensure::Absent;
        let others = if ensure == Ensure::Absent { present } else { absent };
        let (mine, theirs) = if ensure == Ensure::Absent { ("absent", "present") } else { ("present", "absent") };
        binds.then(|| {
            let message =
                format!("{what} is declared {mine} here and {theirs} by {}: neither is applied", list(others));
            (Reason::Conflict, message, Duration::ZERO)
        })
    };
    let system = match (&plan.system, case.claim.system) {
        (SystemStep::Disputed { present, absent }, SystemWish::Enabled) => {
            disputed("the system-assigned identity".into(), Ensure::Present, present, absent)
        }
        (SystemStep::Disputed { present, absent }, SystemWish::Disabled) => {
            disputed("the system-assigned identity".into(), Ensure::Absent, present, absent)
        }
        _ => None,
    };
    let staying = case.claim.leaving.is_none();
    let user = || {
        case.claim.user.iter().find_map(|(id, ensure)| match plan.step(id) {
            Step::Disputed { present, absent } => disputed(id.to_string(), *ensure, present, absent),
            _ => None,
        })
    };
    system.or_else(user).filter(|_| staying)
}

fn aks(case: Case<'_>) -> Option<Obstacle> {
    (case.claim.stance == Stance::Hold(Holding::ManagedByAks)).then(|| {
        let message = "the machine is managed by AKS, whose upgrades and scaling rewrite identities; \
                       set spec.aksNodePool to Manage to have Lanyard keep them all the same";
        (Reason::ManagedByAKS, message.into(), Duration::ZERO)
    })
}

fn flexible(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    let asks = case.claim.system == SystemWish::Enabled && case.claim.enforces();
    (asks && plan.system == SystemStep::RefusedByFlexible).then(|| {
        let message =
            "ARM takes only user-assigned identities on a Flexible scale set; set spec.systemAssigned to Unmanaged";
        (Reason::SystemIdentityUnsupported, message.into(), Duration::ZERO)
    })
}

fn aside(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    let held = |id: &IdentityId| matches!(plan.step(id), Step::Held { why: Hold::SetAside | Hold::Suspected, .. });
    let mine: Vec<&Trouble> =
        case.set_aside.iter().filter(|(id, _)| names(case, id) && held(id)).map(|(_, trouble)| trouble).collect();
    let gravest = mine.iter().max_by_key(|trouble| trouble.lasting)?;
    let more = match mine.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Some((gravest.reason, format!("{}{more}", gravest.message), gravest.lasting))
}

/// A dead entry is not as declared, though it is there. One that is not confirmed yet takes nobody's `Ready` away.
fn dangling(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    let staying = case.claim.leaving.is_none();
    let mine = case.claim.present().filter(|_| staying).filter_map(|id| match plan.step(id) {
        Step::Dangling(dead) => Some((id, dead)),
        _ => None,
    });
    let (young, told): (Vec<_>, Vec<_>) = mine.partition(|(_, dead)| dead.stays == Stays::Confirming);
    if let Some((id, dead)) = told.first() {
        let more = if told.len() > 1 { format!(" (and {} more)", told.len() - 1) } else { String::new() };
        return Some((Reason::IdentityDangling, format!("{}: {dead}{more}", id.name()), Duration::ZERO));
    }
    let (id, dead) = young.first().filter(|_| !case.was_ready)?;
    Some((Reason::Applying, format!("{}: {dead}", id.name()), Duration::ZERO))
}

fn contested(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    let mine = contested_matters(plan).into_iter().filter(|matter| match matter {
        Matter::User(id, edit) => names(case, id) && (case.claim.enforces() || *edit == Edit::Detach),
        Matter::System(_) => case.claim.system != SystemWish::Unmanaged,
    });
    let mut told = mine.filter_map(|matter| Some(in_words(&matter, case.contest.get(&matter)?)));
    let first = told.next()?;
    let more = match told.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some((Reason::Contested, first + &more, Duration::ZERO))
}

/// What the plan leaves alone because somebody keeps undoing it.
#[must_use]
pub fn contested_matters(plan: &Plan) -> Vec<Matter> {
    let system = match plan.system {
        SystemStep::Held { switch, why: Hold::Contested } => Some(Matter::System(switch)),
        _ => None,
    };
    let user = plan.steps.iter().filter_map(|(id, step)| match step {
        Step::Held { edit, why: Hold::Contested } => Some(Matter::User(id.clone(), *edit)),
        _ => None,
    });
    system.into_iter().chain(user).collect()
}

fn held(case: Case<'_>, plan: &Plan) -> Option<Obstacle> {
    let system = match plan.system {
        SystemStep::Held { why, .. } if case.claim.system != SystemWish::Unmanaged => hold_reason(why),
        _ => None,
    };
    let user = plan.steps.iter().filter(|(id, _)| names(case, id)).find_map(|(_, step)| match step {
        Step::Held { why, edit } if case.claim.enforces() || *edit == Edit::Detach => hold_reason(*why),
        _ => None,
    });
    system.or(user).map(|(reason, message)| (reason, message.into(), Duration::ZERO))
}

/// What keeps on the machine what nobody declares any more, where no assignment is left to tell it.
#[must_use]
pub fn held_back(plan: &Plan) -> Option<Verdict> {
    let (reason, message) = plan.steps.values().find_map(|step| match step {
        Step::Held { why, edit: Edit::Detach } => hold_reason(*why),
        _ => None,
    })?;
    Some(Verdict::of(reason, message.into(), Duration::ZERO))
}

fn hold_reason(why: Hold) -> Option<(Reason, &'static str)> {
    match why {
        Hold::SetAside | Hold::Suspected | Hold::Contested => None,
        Hold::RemovalsPaced => Some((
            Reason::RemovalsPaced,
            "many removals are due at once: this one waits for its turn (--removal-burst, --removal-rate)",
        )),
        Hold::RemovalsPaused => {
            Some((Reason::RemovalsPaused, "the controller runs with --removals=paused: nothing is removed"))
        }
        Hold::Unguarded => Some((
            Reason::EndpointUnguarded,
            "this ARM endpoint ignores If-Match: a write that takes away the last identity of a kind could drop somebody \
             else's; start the controller with --allow-unguarded to have it done all the same",
        )),
        Hold::ListForm => Some((
            Reason::EndpointTooOld,
            "this ARM endpoint shows identities as a list (identityIds, before api-version 2018-06-01), and a write in that form \
             replaces the whole list, with whatever somebody adds meanwhile: it is read, and nothing is written; make the change \
             by hand, or have the endpoint updated",
        )),
        Hold::DefaultIdentity => Some((
            Reason::DefaultIdentityChange,
            "callers on the machine that name no identity would get another one; set spec.defaultIdentityChange to Warn, or annotate \
             this object with lanyard.dev/allow-default-identity-change: \"true\", to go on",
        )),
        Hold::NextRequest => Some((Reason::Applying, "more than one request is needed: the rest follows")),
    }
}

fn list(keys: &[ClaimKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// An assignment in `Observe` or suspended: its mode is told by a condition of its own.
#[must_use]
pub fn is_suspended(claim: &Claim) -> bool {
    claim.mode == Mode::Suspended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_grant_or_identity_is_no_standstill_for_ten_minutes() {
        let told = |reason, seconds| {
            let verdict = Verdict::of(reason, String::new(), Duration::from_secs(seconds));
            (verdict.reconciling, verdict.stalled)
        };
        for reason in [Reason::AssignRefused, Reason::IdentityNotFound, Reason::AuthorizationFailed] {
            assert_eq!((told(reason, 0), told(reason, 599)), ((true, false), (true, false)), "{reason:?}");
            assert_eq!(told(reason, 600), (false, true), "{reason:?}");
        }
        assert_eq!(told(Reason::RequestRejected, 0), (false, true));
    }

    #[test]
    fn who_observes_is_not_ready_where_enforce_would_have_to_wait() {
        let db: IdentityId = IdentityId::told_by_arm("db");
        let claim = Claim {
            key: ClaimKey { namespace: "shop".into(), name: "web".into(), uid: "u1".into() },
            generation: 1,
            user: [(db.clone(), Ensure::Present)].into(),
            refs: BTreeMap::new(),
            repair: std::collections::BTreeSet::new(),
            system: SystemWish::Unmanaged,
            mode: Mode::Observe,
            stance: Stance::Hold(Holding::Observe),
            deletion_policy: crate::claims::DeletionPolicy::Detach,
            default_identity_change: crate::claims::DefaultIdentityChange::Block,
            leaving: None,
        };
        let machine = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web";
        let record = Record::empty(machine.parse().expect("a machine's id"));
        let told = |if_enforced: &Plan| {
            verdict(Case {
                claim: &claim,
                record: &record,
                plan: Some(&Plan::nothing()),
                if_enforced: Some(if_enforced),
                set_aside: &BTreeMap::new(),
                contest: &Contest::default(),
                end: &End::Settled,
                was_ready: true,
            })
        };
        assert_eq!(told(&Plan::nothing()).ready, Ready::True);
        for why in [Hold::DefaultIdentity, Hold::RemovalsPaused, Hold::SetAside] {
            let held = Step::Held { edit: Edit::Attach, why };
            let waiting = told(&Plan { steps: [(db.clone(), held)].into(), ..Plan::nothing() });
            assert_eq!((waiting.ready, waiting.reason), (Ready::False, Reason::ChangesPending), "{why:?}");
            assert!(waiting.message.contains(&why.to_string()), "{}", waiting.message);
        }
    }
}
