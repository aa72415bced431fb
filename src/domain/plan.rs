//! The plan: for every identity a step and a reason, and the one PATCH that follows from them.
use crate::claims::{ClaimKey, Claims};
use crate::contest::Contested;
use crate::dangling::{self, Dead, Identities};
use crate::draft::Draft;
use crate::evidence::{Complete, Fresh};
use crate::halving::{Again, Halving};
use crate::ids::IdentityId;
use crate::live::{DefaultIdentity, Live, Orchestration};
use crate::patch::{Edit, Patch};
use crate::record::{Base, Origin, Record, Switch};
use crate::wishes::{Wish, system_wish, user_wishes};
use std::collections::{BTreeMap, BTreeSet};

/// Everything a plan follows from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub claims: &'a Complete<Claims>,
    pub record: &'a Record,
    pub live: &'a Fresh<Live>,
    pub bounds: &'a Bounds,
    /// What the identities say of themselves, where they were asked.
    pub identities: &'a Identities,
}

/// What limits a plan beyond wishes and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub removals: Removals,
    /// Ids that ARM refused a short while ago: they wait, the others go on.
    pub set_aside: BTreeSet<IdentityId>,
    /// What somebody keeps undoing: it waits longer each time, the rest goes on.
    pub contested: Contested,
    pub guard: Guard,
    /// Additions and removals go in requests of their own: one endpoint was seen to refuse them mixed.
    pub split: bool,
    pub trials: Trials,
}

/// What goes in requests of its own, since ARM refused it before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trials {
    /// Whose fault a refusal is that named nobody.
    pub halving: Halving,
    /// Those set aside whose time has come.
    pub again: Again,
    /// Whether one more such request may leave now.
    pub affordable: bool,
}

/// What is left of the budget for removals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removals {
    #[default]
    Unlimited,
    Left(usize),
    Paused,
}

/// Whether the endpoint honours If-Match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    #[default]
    IfMatch,
    /// It does not: a write that shrinks `type` could drop what a stranger added meanwhile.
    Weak { allow_shrink: bool },
}

/// What is done about one user-assigned identity, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Attach {
        by: Vec<ClaimKey>,
    },
    Keep(Origin),
    Detach(Why),
    /// Declared and there, but dead, and left so: people are told.
    Dangling(Dead),
    /// Neither declared nor attached by us.
    Spare,
    /// Declared by claims that ask for nothing.
    Protect,
    Disputed {
        present: Vec<ClaimKey>,
        absent: Vec<ClaimKey>,
    },
    Held {
        edit: Edit,
        why: Hold,
    },
    /// Not on the machine, and nobody who may ask wants it there.
    Nothing,
}

/// Why an identity is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    DeclaredAbsent,
    ClaimWithdrawn,
    /// Its entry is dead: it goes, to be put on again by the next request.
    Dangling,
}

/// Why something that is due is not done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// ARM refused this id; it is tried again later.
    SetAside,
    /// ARM refused a request with this id in it, and did not say for which: that is being found out.
    Suspected,
    /// Somebody keeps undoing it; it is repaired at a slowing pace.
    Contested,
    RemovalsPaced,
    RemovalsPaused,
    /// The endpoint ignores If-Match, and the write would shrink `type`.
    Unguarded,
    /// The endpoint knows the list form only, in which a write replaces the whole list.
    ListForm,
    /// The default identity would change, and a claim says `Block`.
    DefaultIdentity,
    /// More than one request is needed: this waits for the next.
    NextRequest,
}

/// What is done about the system-assigned identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemStep {
    Enable {
        by: Vec<ClaimKey>,
    },
    Keep(Origin),
    Disable {
        by: Vec<ClaimKey>,
        principal_id: Option<String>,
    },
    /// Not declared by anybody who may ask: as it is.
    Leave {
        on: bool,
    },
    /// Declared off, and off.
    Off,
    Disputed {
        present: Vec<ClaimKey>,
        absent: Vec<ClaimKey>,
    },
    Held {
        switch: Switch,
        why: Hold,
    },
    /// Flexible scale sets take user-assigned identities only.
    RefusedByFlexible,
}

/// The default identity before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultChange {
    pub before: DefaultIdentity,
    pub after: DefaultIdentity,
}

/// Pure data: what to do, so specific that nothing is left to choose.
#[must_use = "a plan changes nothing until recorded and applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub base: Base,
    pub system: SystemStep,
    pub steps: BTreeMap<IdentityId, Step>,
    /// Callers on the machine that name no identity get another answer after this plan, or would after what is held.
    pub default_change: Option<DefaultChange>,
    /// Ids that are off the machine, or about to be, only to be put on again.
    pub under_repair: BTreeSet<IdentityId>,
    pub patch: Option<Patch>,
}

/// At most so many identities are named in one request.
pub const MAX_IDENTITIES_IN_REQUEST: usize = 150;

/// What to do about one target. Total and deterministic.
pub fn plan(facts: Facts<'_>) -> Plan {
    let (system, steps) = (system_step(system_wish(facts.claims), facts), user_steps(facts));
    let under_repair = dangling::under_repair(&steps, facts.record);
    let mut draft = Draft { live: facts.live, system, steps, under_repair };
    draft.set_aside(&facts.bounds.set_aside);
    draft.contested(&facts.bounds.contested);
    if facts.live.lists_ids {
        draft.hold_all(Hold::ListForm);
    }
    let default_change = draft.default_change();
    let draft = draft.one_request(facts);
    Plan {
        base: Base { unique_id: facts.live.unique_id.clone(), etag: facts.live.etag.clone() },
        patch: draft.patch(),
        system: draft.system,
        steps: draft.steps,
        default_change,
        under_repair: draft.under_repair,
    }
}

fn system_step(wish: Wish, facts: Facts<'_>) -> SystemStep {
    let on = facts.live.system.as_ref();
    match (wish, on) {
        (Wish::Disputed { present, absent }, _) => SystemStep::Disputed { present, absent },
        (Wish::Present(_), Some(_)) => SystemStep::Keep(facts.record.system_origin()),
        (Wish::Present(_), None) if facts.live.orchestration == Orchestration::Flexible => {
            SystemStep::RefusedByFlexible
        }
        (Wish::Present(by), None) => SystemStep::Enable { by },
        (Wish::Absent(by), Some(system)) => SystemStep::Disable { by, principal_id: system.principal_id.clone() },
        (Wish::Absent(_), None) => SystemStep::Off,
        (Wish::Protected | Wish::Unclaimed, on) => SystemStep::Leave { on: on.is_some() },
    }
}

fn user_steps(facts: Facts<'_>) -> BTreeMap<IdentityId, Step> {
    let mut wishes = user_wishes(facts.claims);
    let mut steps = BTreeMap::new();
    for id in facts.live.user.keys() {
        let wish = wishes.remove(id).unwrap_or(Wish::Unclaimed);
        steps.insert(id.clone(), present_step(id, wish, facts));
    }
    steps.extend(wishes.into_iter().map(|(id, wish)| (id, absent_step(wish))));
    steps
}

fn present_step(id: &IdentityId, wish: Wish, facts: Facts<'_>) -> Step {
    match (wish, facts.record.origin(id)) {
        (Wish::Disputed { present, absent }, _) => Step::Disputed { present, absent },
        // A list shows no principals: there, a blank one is no sign of death.
        (Wish::Present(_), origin) if facts.live.lists_ids => Step::Keep(origin),
        (Wish::Present(_), origin) => dangling::step(id, origin, facts),
        (Wish::Absent(_), _) => Step::Detach(Why::DeclaredAbsent),
        (Wish::Protected, _) => Step::Protect,
        (Wish::Unclaimed, Origin::Attached) => Step::Detach(Why::ClaimWithdrawn),
        (Wish::Unclaimed, Origin::Preexisting) => Step::Spare,
    }
}

fn absent_step(wish: Wish) -> Step {
    match wish {
        Wish::Disputed { present, absent } => Step::Disputed { present, absent },
        Wish::Present(by) => Step::Attach { by },
        Wish::Absent(_) | Wish::Protected | Wish::Unclaimed => Step::Nothing,
    }
}

/// How this very change alters what callers on the machine get that name no identity. What is under repair counts as there.
#[must_use]
pub fn default_change(live: &Live, patch: &Patch, under_repair: &BTreeSet<IdentityId>) -> Option<DefaultChange> {
    let removed = patch.removed_set();
    let user = live.user.keys().filter(|id| !removed.contains(*id)).chain(patch.added());
    let system = patch.system.map_or(live.system.is_some(), |switch| switch == Switch::On);
    let before = DefaultIdentity::with(live.system.is_some(), live.user.keys(), under_repair);
    let after = DefaultIdentity::with(system, user, under_repair);
    (before != after && before != DefaultIdentity::Nobody).then_some(DefaultChange { before, after })
}

impl Plan {
    /// The plan where nothing is known: do nothing.
    pub fn nothing() -> Self {
        Self {
            base: Base { unique_id: None, etag: None },
            system: SystemStep::Leave { on: false },
            steps: BTreeMap::new(),
            default_change: None,
            under_repair: BTreeSet::new(),
            patch: None,
        }
    }

    /// How many identities are on the machine that nobody declares and we did not attach.
    #[must_use]
    pub fn unmanaged(&self) -> usize {
        self.steps.values().filter(|step| **step == Step::Spare).count()
    }

    /// The ids whose dead entries it takes off, to be put on again.
    pub fn repairs(&self) -> impl Iterator<Item = &IdentityId> {
        self.steps.iter().filter(|(_, step)| **step == Step::Detach(Why::Dangling)).map(|(id, _)| id)
    }

    #[must_use]
    pub fn step(&self, id: &IdentityId) -> &Step {
        self.steps.get(id).unwrap_or(&Step::Nothing)
    }

    /// Everything that is due but held back, for any reason.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        let system = match self.system {
            SystemStep::Held { why, .. } => Some(why),
            _ => None,
        };
        let user = self.steps.values().filter_map(|step| match step {
            Step::Held { why, .. } => Some(*why),
            _ => None,
        });
        system.into_iter().chain(user)
    }

    /// Nothing to write and nothing held.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.patch.is_none() && self.holds().next().is_none()
    }
}
