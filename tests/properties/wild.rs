//! Cases that are made to go wrong: ids in many spellings and of unknown form, claims that are read, unread, unseen and
//! gone, modes and deletions mixed, and everything that may hold a change back.
use crate::kit::{NOTHING_SAID, base, claim, complete_with, live, record};
use crate::merge::ArmBlock;
use lanyard_domain::claims::{DefaultIdentityChange, Holding};
use lanyard_domain::evidence::Census;
use lanyard_domain::halving::{Again, Halving};
use lanyard_domain::live::{Orchestration, SystemIdentity};
use lanyard_domain::plan::{Guard, Removals, Trials};
use lanyard_domain::{
    Attached, Bounds, Claim, ClaimKey, Claims, Complete, DeletionPolicy, Edit, Ensure, Facts, Fresh, IdentityId,
    Leaving, Live, Mode, Patch, Plan, Principal, Record, RecordedClaim, Stance, SystemWish, plan,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// How many cases each property sees; `PROPTEST_CASES` says otherwise.
const CASES: u32 = 20_000;

pub fn config() -> ProptestConfig {
    let told = std::env::var_os("PROPTEST_CASES").is_some();
    let rng_algorithm = proptest::test_runner::RngAlgorithm::XorShift;
    let config = ProptestConfig { failure_persistence: None, rng_algorithm, ..ProptestConfig::default() };
    if told { config } else { ProptestConfig { cases: CASES, ..config } }
}

/// Groups whose letters change their number of bytes with their case, or stand for others.
const GROUPS: [&str; 6] = ["ids", "İstanbul", "STRAẞE", "ΟΔΟΣ", "Ωhm-Å", "ids"];

/// What stands on machines without being an identity's id.
const UNKNOWN: [&str; 4] = ["", "not an id", "/subscriptions/x/providers/Microsoft.Other/things/y", "/SUBSCRIPTIONS/ı"];

const IDS: usize = GROUPS.len();

/// Every id in many spellings, the first as it was written first.
static SPELLINGS: LazyLock<Vec<Vec<IdentityId>>> = LazyLock::new(|| {
    let flips = |turn: u32| 0x5bd1_e995_97f4_a7c1_u64.rotate_left(turn * 7);
    let of = |n: usize| std::iter::once(0).chain((0..15).map(flips)).map(|flips| spelled(n, flips)).collect();
    (0..IDS).map(of).collect()
});

/// The n-th id, spelled in one of many ways.
fn spelled(n: usize, flips: u64) -> IdentityId {
    let text = format!(
        "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{n}",
        GROUPS[n]
    );
    let flip = |(at, letter): (usize, char)| -> String {
        let turned = flips.rotate_right(u32::try_from(at).unwrap_or_default()) & 1 == 1;
        if !turned {
            return letter.to_string();
        }
        if letter.is_uppercase() { letter.to_lowercase().collect() } else { letter.to_uppercase().collect() }
    };
    let wild: String = text.chars().enumerate().map(flip).collect();
    let same = wild.to_lowercase() == text.to_lowercase();
    if same { wild.parse() } else { text.parse() }.expect("an identity's id")
}

pub fn an_id() -> impl Strategy<Value = IdentityId> {
    (0..IDS, 0..16_usize).prop_map(|(n, spelling)| SPELLINGS[n][spelling].clone())
}

fn ids(most: usize) -> impl Strategy<Value = BTreeSet<IdentityId>> {
    proptest::collection::btree_set(an_id(), 0..=most)
}

fn a_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Observe), 1 => Just(Mode::Suspended)]
}

fn a_policy() -> impl Strategy<Value = DeletionPolicy> {
    prop_oneof![2 => Just(DeletionPolicy::Detach), 1 => Just(DeletionPolicy::Retain)]
}

/// Namespaces many, names few: who looks at the name alone takes one for another.
fn named(mut claim: Claim, n: usize) -> Claim {
    claim.key = ClaimKey { namespace: format!("team-{n}"), name: "web".into(), uid: n.to_string() };
    claim
}

fn a_claim() -> impl Strategy<Value = Claim> {
    let wishes = proptest::collection::btree_map(an_id(), prop_oneof![3 => Just(true), 2 => Just(false)], 0..4);
    let system =
        prop_oneof![1 => Just(SystemWish::Enabled), 1 => Just(SystemWish::Disabled), 2 => Just(SystemWish::Unmanaged)];
    let aks = proptest::bool::weighted(0.1);
    let leaving = proptest::option::weighted(0.3, any::<bool>());
    let block = proptest::bool::weighted(0.2);
    (wishes, system, a_mode(), aks, leaving, a_policy(), block).prop_map(
        |(wishes, system, mode, aks, leaving, deletion_policy, block)| {
            let ensure = |present| if present { Ensure::Present } else { Ensure::Absent };
            let stance = match mode {
                Mode::Enforce if aks => Stance::Hold(Holding::ManagedByAks),
                Mode::Enforce => Stance::Enforce,
                Mode::Observe => Stance::Hold(Holding::Observe),
                Mode::Suspended => Stance::Hold(Holding::Suspended),
            };
            Claim {
                user: wishes.into_iter().map(|(id, present)| (id, ensure(present))).collect(),
                system,
                mode,
                stance,
                deletion_policy,
                leaving: leaving.map(|released| Leaving::of(deletion_policy, mode, released)),
                default_identity_change: if block { DefaultIdentityChange::Block } else { DefaultIdentityChange::Warn },
                ..claim("?", "")
            }
        },
    )
}

/// What the record remembers of a claim, and how its object shows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// As a claim, or not any more by this uid.
    Read,
    Unread,
    /// Proven gone.
    Gone,
    /// Neither seen nor proven gone.
    Unseen,
}

fn a_recorded_claim() -> impl Strategy<Value = (Shows, RecordedClaim)> {
    let shows =
        prop_oneof![3 => Just(Shows::Read), 1 => Just(Shows::Unread), 2 => Just(Shows::Gone), 1 => Just(Shows::Unseen)];
    (shows, ids(3), a_mode(), a_policy(), any::<bool>()).prop_map(
        |(shows, present, mode, deletion_policy, system_enabled)| {
            let key = ClaimKey { namespace: String::new(), name: String::new(), uid: String::new() };
            let refs = std::collections::BTreeMap::new();
            (shows, RecordedClaim { key, generation: 1, deletion_policy, mode, present, refs, system_enabled })
        },
    )
}

#[allow(clippy::needless_update, reason = "a bound that is added later holds nothing back here")]
fn some_bounds() -> impl Strategy<Value = Bounds> {
    let removals = prop_oneof![
        4 => Just(Removals::Unlimited),
        1 => (0..3_usize).prop_map(Removals::Left),
        1 => Just(Removals::Paused),
    ];
    let guard = prop_oneof![
        4 => Just(Guard::IfMatch),
        1 => any::<bool>().prop_map(|allow_shrink| Guard::Weak { allow_shrink }),
    ];
    let aside = proptest::collection::btree_set(an_id(), 0..2);
    (removals, aside, guard, proptest::bool::weighted(0.2)).prop_map(|(removals, set_aside, guard, split)| Bounds {
        removals,
        set_aside,
        guard,
        split,
        ..Bounds::default()
    })
}

/// A target in some state, and what is told of its assignments.
#[derive(Clone, Debug)]
pub struct Case {
    pub live: Live,
    pub record: Record,
    pub read: Vec<Claim>,
    pub unread: Vec<Claim>,
    pub gone: BTreeSet<String>,
    pub bounds: Bounds,
}

/// Everything at once, with nothing that holds a change back.
pub fn case() -> impl Strategy<Value = Case> {
    any_case().prop_map(|mut case| {
        for claim in case.read.iter_mut().chain(&mut case.unread) {
            claim.default_identity_change = DefaultIdentityChange::Warn;
        }
        case
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    let on_it = (ids(5), proptest::collection::vec(proptest::sample::select(UNKNOWN.to_vec()), 0..2), any::<bool>());
    let orchestration = prop_oneof![3 => Just(Orchestration::Single), 1 => Just(Orchestration::Flexible)];
    let claims = proptest::collection::vec((a_claim(), proptest::option::of(a_recorded_claim())), 0..5);
    (on_it, orchestration, ids(4), claims).prop_map(|((there, unknown, system), orchestration, attached, claims)| {
        let mut shown = live("m1", 1, "");
        shown.orchestration = orchestration;
        shown.system = (system && orchestration != Orchestration::Flexible).then(SystemIdentity::default);
        let unknown = unknown.into_iter().map(IdentityId::told_by_arm);
        shown.user = there.into_iter().chain(unknown).map(|id| (id, Principal::default())).collect();
        let mut record = record("m1", "");
        record.attached = attached.into_iter().map(|id| (id, Attached::default())).collect();
        let mut case = Case {
            live: shown,
            record,
            read: vec![],
            unread: vec![],
            gone: BTreeSet::new(),
            bounds: Bounds::default(),
        };
        for (n, (claim, recorded)) in claims.into_iter().enumerate() {
            case.add(named(claim, n), recorded);
        }
        case
    })
}

/// The same, under whatever may hold a change back.
pub fn bounded_case() -> impl Strategy<Value = Case> {
    (any_case(), some_bounds()).prop_map(|(case, bounds)| Case { bounds, ..case })
}

/// The same in the midst of a search for what ARM refused, and with what is tried again.
pub fn searched_case() -> impl Strategy<Value = Case> {
    let due = || ids(4).prop_map(|ids| ids.into_iter().map(|id| (id, Edit::Attach)).collect::<BTreeMap<_, _>>());
    let refusals = proptest::collection::vec((due(), proptest::bool::weighted(0.2)), 0..3);
    (bounded_case(), refusals, ids(2), ids(1), any::<bool>()).prop_map(
        |(mut case, refusals, together, alone, affordable)| {
            let mut halving = Halving::default();
            for (sent, system) in refusals {
                halving.refused(&sent, system);
            }
            case.bounds.trials = Trials { halving, again: Again { together, alone }, affordable };
            case
        },
    )
}

/// As the controller comes to a plan.
pub struct Planned {
    pub claims: Complete<Claims>,
    pub record: Record,
    pub plan: Plan,
}

/// Who says what of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Voices {
    pub present: bool,
    pub absent: bool,
    pub protected: bool,
}

impl Case {
    fn add(&mut self, claim: Claim, recorded: Option<(Shows, RecordedClaim)>) {
        let shows = recorded.as_ref().map_or(Shows::Read, |(shows, _)| *shows);
        if let Some((_, known)) = recorded {
            self.record.claims.push(RecordedClaim { key: claim.key.clone(), ..known });
        }
        match shows {
            Shows::Read => self.read.push(claim),
            Shows::Unread => {
                self.unread.push(Claim { stance: Stance::Hold(Holding::Unread), leaving: None, ..claim });
            }
            Shows::Gone => {
                self.gone.insert(claim.key.uid);
            }
            Shows::Unseen => {}
        }
    }

    pub fn claims(&self, record: &Record) -> Complete<Claims> {
        let census = Census {
            listed: true,
            read: self.read.clone(),
            unread: self.unread.clone(),
            gone: self.gone.clone(),
            ..Census::default()
        };
        complete_with(census, record)
    }

    pub fn planned(&self) -> Planned {
        let mut memory = lanyard_domain::judge::Memory::default();
        let (judged, _) = crate::kit::clear(&self.record, &self.live, &mut memory);
        let claims = self.claims(&judged);
        let (record, _) = lanyard_domain::depart::depart(&judged, &claims);
        let fresh = Fresh::answered(self.live.clone());
        let plan = plan(Facts {
            claims: &claims,
            record: &record,
            live: &fresh,
            bounds: &self.bounds,
            identities: &NOTHING_SAID,
        });
        Planned { claims, record, plan }
    }

    pub fn block(&self) -> ArmBlock {
        ArmBlock::new(self.live.system.is_some(), self.live.user.keys().map(IdentityId::as_str))
    }

    pub fn staying(&self) -> impl Iterator<Item = &Claim> {
        self.read.iter().filter(|claim| claim.leaving.is_none())
    }

    fn recorded(&self, uid: &str) -> Option<&RecordedClaim> {
        self.record.claims.iter().find(|claim| claim.key.uid == uid)
    }

    /// The claims that stand as recorded, since their objects are not legible, or not seen and not proven gone.
    fn standing(&self) -> impl Iterator<Item = &RecordedClaim> {
        let read = |uid: &str| self.read.iter().any(|claim| claim.key.uid == uid);
        self.record.claims.iter().filter(move |known| !read(&known.key.uid) && !self.gone.contains(&known.key.uid))
    }

    pub fn user_voices(&self, id: &IdentityId) -> Voices {
        let mut voices = Voices::default();
        for claim in self.staying() {
            let ours = self.record.attached.contains_key(id) && self.live.has(id);
            match (claim.user.get(id), claim.stance) {
                (Some(Ensure::Present), Stance::Enforce) => voices.present = true,
                (Some(Ensure::Absent), Stance::Enforce) => voices.absent = true,
                (Some(Ensure::Present), Stance::Hold(_)) | (Some(Ensure::Kept), _) => voices.protected = true,
                (Some(Ensure::Absent), Stance::Hold(_)) | (None, _) => {}
            }
            let acted_on = self.recorded(&claim.key.uid).is_some_and(|known| known.present.contains(id));
            voices.protected |= claim.stance != Stance::Enforce && acted_on && ours;
        }
        voices.protected |= self.unread.iter().any(|claim| claim.user.get(id) == Some(&Ensure::Present));
        voices.protected |= self.standing().any(|known| known.present.contains(id));
        voices
    }

    pub fn system_voices(&self) -> Voices {
        let mut voices = Voices::default();
        for claim in self.staying() {
            match (claim.system, claim.stance) {
                (SystemWish::Enabled, Stance::Enforce) => voices.present = true,
                (SystemWish::Disabled, Stance::Enforce) => voices.absent = true,
                (SystemWish::Enabled, Stance::Hold(_)) => voices.protected = true,
                (SystemWish::Disabled, Stance::Hold(_)) | (SystemWish::Unmanaged, _) => {}
            }
        }
        voices.protected |= self.standing().any(|known| known.system_enabled);
        voices.protected |= self.unread.iter().any(|claim| claim.system == SystemWish::Enabled);
        voices
    }

    /// Attached by us, and not let go by an assignment that leaves without a write.
    pub fn ours(&self, id: &IdentityId) -> bool {
        let recorded = |uid: &str| self.recorded(uid).is_some_and(|known| known.present.contains(id));
        let declares = |claim: &Claim| claim.user.get(id) == Some(&Ensure::Present) || recorded(&claim.key.uid);
        let let_go = self.read.iter().any(|claim| claim.leaving == Some(Leaving::Release) && declares(claim));
        let gone = self.record.claims.iter().filter(|known| self.gone.contains(&known.key.uid)).any(|known| {
            let how = Leaving::of(known.deletion_policy, known.mode, false);
            how == Leaving::Release && known.present.contains(id)
        });
        self.record.attached.contains_key(id) && !let_go && !gone
    }

    fn blocking(&self) -> impl Iterator<Item = &Claim> {
        let enforcing = self.staying().filter(|claim| claim.stance == Stance::Enforce);
        enforcing.filter(|claim| claim.default_identity_change == DefaultIdentityChange::Block)
    }

    /// A claim with `Block` asks for this change, and no deletion does.
    pub fn is_blocked(&self, id: &IdentityId, edit: Edit) -> bool {
        let recorded = |claim: &Claim| self.recorded(&claim.key.uid).is_some_and(|known| known.present.contains(id));
        let declared = |claim: &Claim| recorded(claim) || claim.user.get(id) == Some(&Ensure::Present);
        if edit == Edit::Attach {
            return self.blocking().any(|claim| claim.user.get(id) == Some(&Ensure::Present));
        }
        if self.user_voices(id).absent {
            return self.blocking().any(|claim| claim.user.get(id) == Some(&Ensure::Absent));
        }
        let gone = |known: &RecordedClaim| self.gone.contains(&known.key.uid) && known.present.contains(id);
        let deleted = self.read.iter().any(|claim| claim.leaving.is_some() && declared(claim));
        !deleted && !self.record.claims.iter().any(gone) && self.blocking().any(declared)
    }

    pub fn is_switch_blocked(&self) -> bool {
        self.blocking().any(|claim| claim.system != SystemWish::Unmanaged)
    }

    /// Every id that anybody says anything of.
    pub fn all_ids(&self) -> BTreeSet<IdentityId> {
        let claimed = self.read.iter().chain(&self.unread).flat_map(|claim| claim.user.keys());
        let recorded = self.record.claims.iter().flat_map(|claim| claim.present.iter());
        self.live.user.keys().chain(claimed).chain(recorded).cloned().collect()
    }

    /// What the semantics want of the machine, said once more and apart from the planner.
    pub fn wanted(&self) -> ArmBlock {
        let decided = |voices: Voices, there: bool, unclaimed: bool| match voices {
            Voices { present: true, absent: false, .. } => true,
            Voices { present: false, absent: true, protected: false } => false,
            Voices { present: false, absent: false, protected: false } => unclaimed,
            Voices { absent: true, .. } | Voices { present: false, absent: false, protected: true } => there,
        };
        let on = self.live.system.is_some();
        let flexible = self.live.orchestration == Orchestration::Flexible;
        let system = decided(self.system_voices(), on, on) && (on || !flexible);
        let all = self.all_ids();
        let user = all.iter().filter(|id| {
            let there = self.live.has(id);
            decided(self.user_voices(id), there, there && !self.ours(id))
        });
        ArmBlock::new(system, user.map(|id| id.as_str().to_owned()))
    }

    /// Whether promise 1 allows that the machine comes to this state.
    pub fn drops_nothing(&self, after: &ArmBlock) -> bool {
        let Voices { present, absent, protected } = self.system_voices();
        let system = self.live.system.is_none() || after.system || (absent && !present && !protected);
        let lost = self.live.user.keys().filter(|id| !after.user.contains(id.folded()));
        system
            && lost.into_iter().all(|id| {
                let Voices { present, absent, protected } = self.user_voices(id);
                !present && !protected && (absent || self.ours(id))
            })
    }

    /// The machine after an accepted write, and the record as judged by it.
    pub fn applied(&self, planned: &Planned, patch: &Patch) -> Self {
        use lanyard_domain::intend::{Attempt, intend};
        use lanyard_domain::judge::{Memory, Outcome, Sent};
        let by = Attempt { writer: "me", operation: "op-1" };
        let intended = intend(&planned.record, &planned.claims, &base("m1", 1), patch, by);
        let after = self.block().patched(&patch.body()).expect("covered by the facts");
        let mut shown = Live { etag: live("m1", 2, "").etag, ..self.live.clone() };
        shown.system = after.system.then(SystemIdentity::default);
        let known: BTreeMap<&str, &IdentityId> = self.live.user.keys().map(|id| (id.folded(), id)).collect();
        let written = |id: &String| known.get(id.as_str()).copied().cloned();
        let user = after.user.iter().map(|id| written(id).unwrap_or_else(|| IdentityId::told_by_arm(id)));
        shown.user = user.map(|id| (id, Principal::default())).collect();
        let sent = Sent { outcome: Outcome::Succeeded, ..Sent::new("op-1", patch) };
        let mut memory = Memory { sent: Some(sent), last_write_ended: Some(crate::kit::NOW), ..Memory::default() };
        let (settled, _) = crate::kit::clear(&intended, &shown, &mut memory);
        // The ETag is told again as the first one, for the next of several rounds.
        shown.etag.clone_from(&self.live.etag);
        Self { live: shown, record: Record { superseded: Vec::new(), ..settled }, ..self.clone() }
    }
}
