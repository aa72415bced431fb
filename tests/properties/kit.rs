//! Short names for the parts of a target.
use lanyard_domain::claims::DefaultIdentityChange;
use lanyard_domain::evidence::{Census, NotFresh, Reading};
use lanyard_domain::judge::{Judge, Judgement, Memory, Note, judge};
use lanyard_domain::live::SystemIdentity;
use lanyard_domain::{
    Attached, Base, Claim, ClaimKey, Claims, Complete, DeletionPolicy, ETag, Ensure, Fresh, Identities, IdentityId,
    Intent, Live, Mode, Moment, Principal, Record, Stance, SystemWish, Timestamp, UniqueId,
};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

/// Far enough from the beginning that anything may have happened before.
pub const NOW: Moment = Moment(Duration::from_secs(3600));

pub fn id(name: &str) -> IdentityId {
    format!(
        "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}"
    )
    .parse()
    .expect("an identity's id")
}

pub fn ids<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<IdentityId> {
    names.into_iter().map(id).collect()
}

/// A machine with this ETag and these identities, `system` among the names for the system-assigned one.
pub fn live(machine: &str, etag: u32, names: &str) -> Live {
    let names: Vec<&str> = names.split_whitespace().collect();
    Live {
        unique_id: Some(UniqueId(machine.into())),
        etag: Some(ETag(etag.to_string())),
        system: names.contains(&"system").then(SystemIdentity::default),
        user: names.iter().filter(|n| **n != "system").map(|n| (id(n), Principal::default())).collect(),
        ..Live::default()
    }
}

pub fn base(machine: &str, etag: u32) -> Base {
    Base { unique_id: Some(UniqueId(machine.into())), etag: Some(ETag(etag.to_string())) }
}

pub fn record(machine: &str, attached: &str) -> Record {
    let target = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web";
    let mut record = Record::empty(target.parse().expect("a machine's id"));
    record.unique_id = Some(UniqueId(machine.into()));
    record.attached = attached.split_whitespace().map(|name| (id(name), Attached::default())).collect();
    record
}

/// The first attempt of process `me`, planned from `m1` at ETag 1.
pub fn intent(add: &str, remove: &str) -> Intent {
    Intent {
        attempt: 1,
        base: base("m1", 1),
        add: ids(add.split_whitespace()),
        remove: ids(remove.split_whitespace()),
        system: None,
        writer: "me".into(),
        unanswered: Vec::new(),
        operation: "op-1".into(),
    }
}

/// An enforcing claim: `+id` is declared present, `-id` absent.
pub fn claim(name: &str, wishes: &str) -> Claim {
    let ensure = |wish: &str| match wish.split_at(1) {
        ("+", name) => (id(name), Ensure::Present),
        (_, name) => (id(name), Ensure::Absent),
    };
    Claim {
        key: ClaimKey { namespace: "shop".into(), name: name.into(), uid: name.into() },
        user: wishes.split_whitespace().map(ensure).collect(),
        refs: std::collections::BTreeMap::new(),
        repair: BTreeSet::new(),
        system: SystemWish::Unmanaged,
        mode: Mode::Enforce,
        stance: Stance::Enforce,
        generation: 1,
        deletion_policy: DeletionPolicy::Detach,
        default_identity_change: DefaultIdentityChange::Warn,
        leaving: None,
    }
}

/// No identity was asked about itself: no entry is taken for dead.
pub static NOTHING_SAID: LazyLock<Identities> = LazyLock::new(Identities::default);

pub fn complete(claims: Vec<Claim>, record: &Record) -> Complete<Claims> {
    complete_with(Census { listed: true, read: claims, ..Census::default() }, record)
}

pub fn complete_with(census: Census, record: &Record) -> Complete<Claims> {
    Complete::account(census, record).expect("listed")
}

pub fn judged_at(now: Moment, record: &Record, live: &Live, memory: &mut Memory) -> Judgement {
    let by = Judge { writer: "me", now, timestamp: &Timestamp::default() };
    judge(record, &Fresh::answered(live.clone()), memory, by)
}

/// The record and notes of a judgement that need not wait.
pub fn clear(record: &Record, live: &Live, memory: &mut Memory) -> (Record, Vec<Note>) {
    match judged_at(NOW, record, live, memory) {
        Judgement::Clear { record, notes } => (record, notes),
        Judgement::Wait(why) => unreachable!("it waits: {why:?}"),
    }
}

pub fn read(live: &Live, record: &Record) -> Result<Fresh<Live>, NotFresh> {
    let reading = Reading { begun: NOW, visit: NOW, last_write_ended: None, stale_since: None };
    Fresh::read(live.clone(), reading, record)
}
