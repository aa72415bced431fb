//! One machine: the planner's word, and what people should know beside it.
use super::declared::{Assignment, Declared, Origin};
use super::live::{Lookup, Missing, group_key};
use super::report::{IfEnforced, Machine, Outcome};
use super::steps::{Line, Mark, lines};
use crate::domain::aks::{AksSign, managed_by_aks};
use crate::domain::claims::Holding;
use crate::domain::depart::depart;
use crate::domain::evidence::{Census, NotListed};
use crate::domain::judge::{Judge, Judgement, Memory, Waiting, judge};
use crate::domain::live::Provisioning;
use crate::domain::plan::{Guard, plan};
use crate::domain::{
    Bounds, Claims, Complete, Fresh, Identities, IdentityId, Live, Moment, Plan, Record, Stance, TargetId, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a machine's assessment rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub declared: &'a Declared,
    pub lookup: &'a Lookup,
    /// The wall clock's word, for what the record would say.
    pub now: &'a Timestamp,
}

/// What would be done about one machine.
#[must_use]
pub fn assess(target: &TargetId, facts: Facts<'_>) -> Machine {
    let assignments = facts.declared.of(target);
    let machine = |outcome| Machine {
        resource_id: target.to_string(),
        name: target.name().into(),
        kind: target.kind().display_name(),
        outcome,
        declared_by: assignments.iter().map(Assignment::origin).collect(),
        identities: Vec::new(),
        if_enforced: Vec::new(),
        warnings: Vec::new(),
        patch: None,
        error: None,
    };
    let live = match facts.lookup.machines.get(target) {
        Some(Ok(live)) => live,
        Some(Err(Missing::NotThere)) => {
            let waits = "it is not there: what is declared is attached when it appears".to_owned();
            return Machine { warnings: vec![waits], ..machine(Outcome::NotFound) };
        }
        Some(Err(Missing::Unread(why))) => {
            return Machine { error: Some(why.clone()), ..machine(Outcome::Unread) };
        }
        None => {
            return Machine { error: Some("it was not asked for".into()), ..machine(Outcome::Unread) };
        }
    };
    let view = match View::new(target, live, assignments, facts) {
        Ok(view) => view,
        Err(error) => return Machine { error: Some(error.to_string()), ..machine(Outcome::Unread) },
    };
    let plan = view.plan(&view.claims);
    let identities = lines(&plan, live, assignments);
    let changes = identities.iter().any(|line| line.action.is_change());
    let outcome = if changes { Outcome::Change } else { Outcome::NoChange };
    Machine {
        warnings: view.warnings(&plan),
        if_enforced: view.if_enforced(&plan, &identities),
        patch: plan.patch.as_ref().map(crate::domain::Patch::body),
        identities,
        ..machine(outcome)
    }
}

/// Whether the plan of a machine would write, as far as is known without its resource group.
#[must_use]
pub fn would_write(target: &TargetId, facts: Facts<'_>) -> bool {
    let Some(Ok(live)) = facts.lookup.machines.get(target) else { return false };
    let Ok(view) = View::new(target, live, facts.declared.of(target), facts) else { return false };
    view.plan(&view.claims).patch.is_some() || facts.declared.of(target).iter().any(|one| !one.claim.enforces())
}

/// Declared identities that look dead on the machine: they have to be asked themselves.
#[must_use]
pub fn suspects(target: &TargetId, facts: Facts<'_>) -> BTreeSet<IdentityId> {
    let Some(Ok(live)) = facts.lookup.machines.get(target) else { return BTreeSet::new() };
    let declared = facts.declared.of(target).iter().flat_map(|one| one.claim.present());
    let blank = |id: &&IdentityId| live.user.get(id).is_some_and(|principal| principal.principal_id.is_none());
    let at_rest = live.provisioning == Provisioning::Succeeded;
    declared.filter(blank).filter(|_| at_rest).cloned().collect()
}

struct View<'a> {
    target: &'a TargetId,
    live: Fresh<Live>,
    assignments: &'a [Assignment],
    record: Record,
    claims: Complete<Claims>,
    identities: Identities,
    aks: Option<AksSign>,
    /// What the record waits for.
    waiting: Option<String>,
}

impl<'a> View<'a> {
    fn new(
        target: &'a TargetId,
        live: &Live,
        assignments: &'a [Assignment],
        facts: Facts<'_>,
    ) -> Result<Self, NotListed> {
        let stored = facts.declared.record(target);
        let live = Fresh::glimpsed(live.clone());
        let (record, waiting) = judged(&stored, &live, facts.now);
        let claims = accounted(assignments, &record)?;
        let (record, _) = depart(&record, &claims);
        let managed_by = facts.lookup.groups.get(&group_key(target)).and_then(Option::as_deref);
        let aks = managed_by_aks(target, &live, managed_by);
        let accepting: BTreeSet<&str> =
            assignments.iter().filter(|one| one.accepts_aks()).map(|one| one.claim.key.uid.as_str()).collect();
        let claims = match aks {
            None => claims,
            Some(_) => claims.holding(&record, |claim| {
                (!accepting.contains(claim.key.uid.as_str())).then_some(Holding::ManagedByAks)
            }),
        };
        let known = live.user.keys().filter_map(|id| Some((id.clone(), facts.lookup.identities.get(id)?.clone())));
        let identities = Identities::new(known.collect::<BTreeMap<_, _>>(), BTreeSet::new());
        Ok(Self { target, live, assignments, record, claims, identities, aks, waiting })
    }

    fn plan(&self, claims: &Complete<Claims>) -> Plan {
        let guard = if self.live.etag.is_some() { Guard::IfMatch } else { Guard::Weak { allow_shrink: false } };
        let bounds = Bounds { guard, ..Bounds::default() };
        plan(crate::domain::Facts {
            claims,
            record: &self.record,
            live: &self.live,
            bounds: &bounds,
            identities: &self.identities,
        })
    }

    /// Each assignment that only observes, with what would be new if it were in force.
    fn if_enforced(&self, plan: &Plan, now: &[Line]) -> Vec<IfEnforced> {
        let observing = self.assignments.iter().filter(|one| matches!(one.claim.stance, Stance::Hold(_)));
        let would = observing.filter_map(|one| {
            let enforced = self.plan(&self.claims.with_enforced(&one.claim, &self.record));
            if enforced == *plan {
                return None;
            }
            let lines = lines(&enforced, &self.live, self.assignments);
            let changes: Vec<Line> =
                lines.into_iter().filter(|line| line.action.is_change() && !now.contains(line)).collect();
            (!changes.is_empty()).then(|| IfEnforced { assignment: one.origin(), changes })
        });
        would.collect()
    }

    fn warnings(&self, plan: &Plan) -> Vec<String> {
        let name = self.target.name();
        let mut warnings: Vec<String> = self.waiting.iter().cloned().collect();
        for assignment in self.assignments {
            let (wrong, twice) = assignment.repeated();
            let told = assignment.waiting().into_iter().chain(wrong).chain(twice);
            warnings.extend(told.map(|(origin, said)| format!("{said} [{origin}]")));
        }
        if let Some(change) = &plan.default_change {
            warnings.push(format!(
                "programs on {name} that ask for a token without naming an identity get {} now, and would get {}",
                change.before, change.after
            ));
        }
        if self.live.etag.is_none() {
            warnings
                .push("the endpoint tells no ETag: no write leaves that takes away the last identity of a kind".into());
        }
        if plan.patch.is_some() && self.live.may_roll_out {
            warnings.push(
                "its upgrade policy is Automatic and its image is the latest: a change of the model may start a rollout".into(),
            );
        }
        let refused: Vec<String> = self
            .assignments
            .iter()
            .filter(|one| self.aks.is_some() && !one.accepts_aks())
            .map(|one| one.origin().to_string())
            .collect();
        if let (Some(sign), false) = (self.aks, refused.is_empty()) {
            warnings.push(format!(
                "AKS manages it ({}), and rewrites its identities: {} does nothing here unless spec.aksNodePool is Manage",
                told_by(sign),
                refused.join(", ")
            ));
        }
        warnings
    }
}

fn told_by(sign: AksSign) -> &'static str {
    match sign {
        AksSign::Tag => "by its tags",
        AksSign::GroupName => "by its group's name",
        AksSign::GroupManagedBy => "by its group's managedBy",
    }
}

/// The record as the controller would judge it now. What it waits for is told, and the record taken as it stands.
fn judged(record: &Record, live: &Fresh<Live>, now: &Timestamp) -> (Record, Option<String>) {
    let by = Judge { writer: "lanyard plan", now: Moment::default(), timestamp: now };
    match judge(record, live, &mut Memory::default(), by) {
        Judgement::Clear { record, .. } => (record, None),
        Judgement::Wait(why) => (record.clone(), Some(format!("the controller would wait first: {}", waits_for(why)))),
    }
}

/// Every assignment that there is was read: from the cluster in whole lists, or from the files that stand for it.
fn accounted(assignments: &[Assignment], record: &Record) -> Result<Complete<Claims>, NotListed> {
    let read = assignments.iter().map(|one| one.claim.clone()).collect();
    Complete::account(Census { listed: true, read, ..Census::default() }, record)
}

fn waits_for(why: Waiting) -> String {
    match why {
        Waiting::Unidentified => "ARM tells no vmId or uniqueId, so that this could be any machine".into(),
        Waiting::Running => "an operation runs on the machine".into(),
        Waiting::Deleting => "the machine is being deleted".into(),
        Waiting::AnotherWriter { writer, .. } => format!("{writer} has a change of it under way"),
        Waiting::StaleRead => "ARM does not show the last change yet".into(),
    }
}

/// Who and what disagrees: known from the claims alone, whatever the machine has.
#[must_use]
pub fn conflicts(target: &TargetId, assignments: &[Assignment]) -> Vec<(Line, Vec<Origin>)> {
    let record = Record::empty(target.clone());
    let live = Fresh::glimpsed(Live::default());
    let Ok(claims) = accounted(assignments, &record) else { return Vec::new() };
    let plan = plan(crate::domain::Facts {
        claims: &claims,
        record: &record,
        live: &live,
        bounds: &Bounds::default(),
        identities: &Identities::default(),
    });
    let disputed = lines(&plan, &live, assignments).into_iter().filter(|line| line.action == Mark::Conflict);
    disputed.map(|line| (line.clone(), line.by)).collect()
}
