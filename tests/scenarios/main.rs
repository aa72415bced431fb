//! Every row of the table, for both kinds: the planner sends exactly that body, and it has exactly that effect.
#![allow(clippy::expect_used, reason = "a test says what it expected")]
mod merge;
mod table;

use lanyard_domain::audit::audit;
use lanyard_domain::depart::{depart, recorded_claims};
use lanyard_domain::evidence::Census;
use lanyard_domain::live::{Orchestration, SystemIdentity};
use lanyard_domain::{
    Attached, Bounds, Claim, ClaimKey, Claims, Complete, DeletionPolicy, ETag, Ensure, Facts, Fresh, Identities,
    IdentityId, Leaving, Live, Mode, Patch, Plan, Principal, Record, Stance, SystemWish, TargetId, UniqueId, plan,
};
use merge::ArmBlock;
use std::collections::BTreeSet;
use table::{Deleted, SCENARIOS, Scenario, System};

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups";

fn id_of(name: &str) -> String {
    format!("{GROUP}/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
}

fn id(name: &str) -> IdentityId {
    id_of(name).parse().expect("an identity's id")
}

fn target(kind: Orchestration) -> TargetId {
    let arm_type = match kind {
        Orchestration::Single => "virtualMachines",
        Orchestration::Uniform | Orchestration::Flexible => "virtualMachineScaleSets",
    };
    format!("{GROUP}/shop/providers/Microsoft.Compute/{arm_type}/web").parse().expect("a machine's id")
}

fn live(system: bool, user: impl IntoIterator<Item = IdentityId>, kind: Orchestration) -> Live {
    Live {
        unique_id: Some(UniqueId("machine".into())),
        etag: Some(ETag("1".into())),
        system: system.then(SystemIdentity::default),
        user: user.into_iter().map(|id| (id, Principal::default())).collect(),
        orchestration: kind,
        ..Live::default()
    }
}

fn claim(row: &table::Claim) -> Claim {
    let of = |ensure| move |name: &&str| (id(name), ensure);
    let (deletion_policy, leaving) = match row.deleted {
        None => (DeletionPolicy::Detach, None),
        Some(Deleted::Detach) => (DeletionPolicy::Detach, Some(Leaving::Detach)),
        Some(Deleted::Retain) => (DeletionPolicy::Retain, Some(Leaving::Release)),
    };
    Claim {
        generation: 1,
        key: ClaimKey { namespace: "shop".into(), name: row.name.into(), uid: row.name.into() },
        user: row.present.iter().map(of(Ensure::Present)).chain(row.absent.iter().map(of(Ensure::Absent))).collect(),
        refs: std::collections::BTreeMap::new(),
        repair: BTreeSet::new(),
        system: match row.system {
            System::Enabled => SystemWish::Enabled,
            System::Disabled => SystemWish::Disabled,
            System::Unmanaged => SystemWish::Unmanaged,
        },
        mode: Mode::Enforce,
        stance: Stance::Enforce,
        deletion_policy,
        default_identity_change: lanyard_domain::claims::DefaultIdentityChange::Warn,
        leaving,
    }
}

/// What the row's plan follows from, but the live state.
struct Case {
    claims: Complete<Claims>,
    record: Record,
}

impl Case {
    fn of(row: &Scenario, kind: Orchestration) -> Self {
        let mut record = Record::empty(target(kind));
        record.unique_id = Some(UniqueId("machine".into()));
        record.attached = row.attached.iter().map(|name| (id(name), Attached::default())).collect();
        let read = row.claims.iter().map(claim).collect();
        let census = Census { listed: true, read, ..Census::default() };
        let claims = Complete::account(census, &record).expect("listed");
        record.claims = recorded_claims(&record, &claims);
        let (record, _) = depart(&record, &claims);
        Self { claims, record }
    }

    fn plan(&self, live: &Live) -> Plan {
        let (live, bounds) = (Fresh::answered(live.clone()), Bounds::default());
        let identities = Identities::default();
        plan(Facts {
            claims: &self.claims,
            record: &self.record,
            live: &live,
            bounds: &bounds,
            identities: &identities,
        })
    }
}

fn check(row: &Scenario, kind: Orchestration) {
    let told = format!("{} ({kind:?})", row.name);
    let mut case = Case::of(row, kind);
    let names = |block: &table::Block| ArmBlock::new(block.system, block.user.iter().map(|name| id_of(name)));
    let (before, after) = (names(&row.before), names(&row.after));
    let first = live(row.before.system, row.before.user.iter().map(|name| id(name)), kind);

    let plan = case.plan(&first);
    assert_eq!(plan.to_string(), row.plan, "{told}");
    let body = plan.patch.as_ref().map(Patch::body);
    assert_eq!(body, row.body(id_of), "{told}");

    let reached = match &body {
        Some(body) => {
            audit(&body.to_string(), Some("1"), &case.claims, &case.record, &first, &Identities::default())
                .expect(&told);
            before.patched(body).expect(&told)
        }
        None => before.clone(),
    };
    assert_eq!(reached, after, "{told}");

    for id in plan.patch.iter().flat_map(Patch::added) {
        case.record.attached.insert(id.clone(), Attached::default());
    }
    let again = case.plan(&live(reached.system, reached.user.iter().map(|id| IdentityId::told_by_arm(id)), kind));
    assert!(again.is_settled(), "{told}: planning again changes nothing, but:\n{again}");
}

#[test]
fn every_procedure_sends_exactly_its_body_to_a_vm() {
    for row in SCENARIOS {
        check(row, Orchestration::Single);
    }
}

#[test]
fn every_procedure_sends_exactly_its_body_to_a_scale_set() {
    for row in SCENARIOS {
        check(row, Orchestration::Uniform);
    }
}

#[test]
fn rows_have_names_of_their_own() {
    let names: BTreeSet<&str> = SCENARIOS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), SCENARIOS.len());
}
