//! A plan in the making: what is due is held back, step by step, until one request may carry it.
use crate::claims::{Claim, ClaimKey, Claims, DefaultIdentityChange, Ensure};
use crate::contest::Contested;
use crate::evidence::Complete;
use crate::halving::Turn;
use crate::ids::IdentityId;
use crate::live::{DefaultIdentity, Live};
use crate::patch::{Edit, IdentityType, Patch};
use crate::plan::{
    Bounds, DefaultChange, Facts, Guard, Hold, MAX_IDENTITIES_IN_REQUEST, Removals, Step, SystemStep, Trials, Why,
};
use crate::record::{Record, Switch};
use std::collections::{BTreeMap, BTreeSet};

/// A plan in the making: steps are only ever held back from here on.
#[derive(Clone)]
pub(crate) struct Draft<'a> {
    pub live: &'a Live,
    pub system: SystemStep,
    pub steps: BTreeMap<IdentityId, Step>,
    pub under_repair: BTreeSet<IdentityId>,
}

impl Draft<'_> {
    fn edit(step: &Step) -> Option<Edit> {
        match step {
            Step::Attach { .. } => Some(Edit::Attach),
            Step::Detach(_) => Some(Edit::Detach),
            Step::Keep(_)
            | Step::Dangling(_)
            | Step::Spare
            | Step::Protect
            | Step::Disputed { .. }
            | Step::Held { .. }
            | Step::Nothing => None,
        }
    }

    fn switch(&self) -> Option<Switch> {
        match self.system {
            SystemStep::Enable { .. } => Some(Switch::On),
            SystemStep::Disable { .. } => Some(Switch::Off),
            SystemStep::Keep(_)
            | SystemStep::Leave { .. }
            | SystemStep::Off
            | SystemStep::Disputed { .. }
            | SystemStep::Held { .. }
            | SystemStep::RefusedByFlexible => None,
        }
    }

    fn edits(&self) -> BTreeMap<IdentityId, Edit> {
        self.steps.iter().filter_map(|(id, step)| Some((id.clone(), Self::edit(step)?))).collect()
    }

    /// Holds back the edits that `which` picks.
    fn hold(&mut self, why: Hold, mut which: impl FnMut(&IdentityId, Edit) -> bool) {
        for (id, step) in &mut self.steps {
            if let Some(edit) = Self::edit(step)
                && which(id, edit)
            {
                *step = Step::Held { edit, why };
            }
        }
    }

    fn hold_system(&mut self, why: Hold) {
        if let Some(switch) = self.switch() {
            self.system = SystemStep::Held { switch, why };
        }
    }

    pub fn hold_all(&mut self, why: Hold) {
        self.hold_system(why);
        self.hold(why, |_, _| true);
    }

    pub fn set_aside(&mut self, ids: &BTreeSet<IdentityId>) {
        self.hold(Hold::SetAside, |id, _| ids.contains(id));
    }

    /// What somebody keeps undoing waits; a change the other way round is another matter.
    pub fn contested(&mut self, contested: &Contested) {
        let repaired = self.under_repair.clone();
        self.hold(Hold::Contested, |id, edit| contested.user.get(id) == Some(&edit) && !repaired.contains(id));
        if contested.system.is_some() && self.switch() == contested.system {
            self.hold_system(Hold::Contested);
        }
    }

    fn system_after(&self) -> bool {
        match self.switch() {
            Some(Switch::On) => true,
            Some(Switch::Off) => false,
            None => self.live.system.is_some(),
        }
    }

    fn user_after(&self) -> impl Iterator<Item = &IdentityId> {
        self.steps
            .iter()
            .filter(|(id, step)| match Self::edit(step) {
                Some(Edit::Attach) => true,
                Some(Edit::Detach) => false,
                None => self.live.has(id),
            })
            .map(|(id, _)| id)
    }

    /// A change away from nobody breaks nothing: such callers got an error before.
    pub fn default_change(&self) -> Option<DefaultChange> {
        let before = DefaultIdentity::with(self.live.system.is_some(), self.live.user.keys(), &self.under_repair);
        let after = DefaultIdentity::with(self.system_after(), self.user_after(), &self.under_repair);
        (before != after && before != DefaultIdentity::Nobody).then_some(DefaultChange { before, after })
    }

    /// Narrowed down to what one request may carry, with what `Block` holds left out of it.
    ///
    /// A change that is balanced by another one, or made all the same by somebody else's, may go with that one alone:
    /// whether it does is seen in the request as it would leave. What is held then makes room for the next turn.
    pub fn one_request(mut self, facts: Facts<'_>) -> Self {
        if !facts.claims.staying().any(blocks) {
            self.narrow(facts.bounds);
            return self;
        }
        // First of all that is due: what waits for a person takes nobody's place.
        self.hold_blocked(&self.against_block(facts));
        loop {
            let mut request = self.clone();
            request.narrow(facts.bounds);
            let against = request.against_block(facts);
            if against.is_nothing() {
                return request;
            }
            self.hold_blocked(&against);
        }
    }

    fn narrow(&mut self, bounds: &Bounds) {
        self.pace(bounds.removals);
        self.take_turn(&bounds.trials);
        self.fit_request(bounds.split);
        self.guard(bounds.guard);
    }

    /// What claims with `Block` ask for, as far as it is what changes the default.
    ///
    /// The rest of what they ask for goes on, and so does what others ask for: if the default changes by that
    /// alone, nothing is gained by holding. A deletion is never held.
    fn against_block(&self, facts: Facts<'_>) -> Blocked {
        if self.default_change().is_none() {
            return Blocked::default();
        }
        let blocked = Blocked::by(facts.claims, facts.record, self);
        let kept = self.default_without(&blocked);
        let system_alone = Blocked { system: blocked.system, ..Blocked::default() };
        let user_alone = Blocked { user: blocked.user.clone(), ..Blocked::default() };
        let some = [Blocked::default(), system_alone, user_alone];
        some.into_iter().find(|some| self.default_without(some) == kept).unwrap_or(blocked)
    }

    fn hold_blocked(&mut self, blocked: &Blocked) {
        if blocked.system {
            self.hold_system(Hold::DefaultIdentity);
        }
        self.hold(Hold::DefaultIdentity, |id, _| blocked.user.contains(id));
    }

    /// The default identity after this draft without some of its changes.
    fn default_without(&self, held: &Blocked) -> DefaultIdentity {
        let system = if held.system { self.live.system.is_some() } else { self.system_after() };
        let user = self.steps.iter().filter(|(id, step)| match Self::edit(step).filter(|_| !held.user.contains(*id)) {
            Some(Edit::Attach) => true,
            Some(Edit::Detach) => false,
            None => self.live.has(id),
        });
        DefaultIdentity::with(system, user.map(|(id, _)| id), &self.under_repair)
    }

    fn pace(&mut self, removals: Removals) {
        let (mut left, why) = match removals {
            Removals::Unlimited => return,
            Removals::Left(left) => (left, Hold::RemovalsPaced),
            Removals::Paused => (0, Hold::RemovalsPaused),
        };
        let mut spend = || {
            let spent = left == 0;
            left = left.saturating_sub(1);
            spent
        };
        if self.switch() == Some(Switch::Off) && spend() {
            self.hold_system(why);
        }
        self.hold(why, |_, edit| edit == Edit::Detach && spend());
    }

    /// What ARM refused before goes in requests of its own; the system identity by itself, if a refusal was about it.
    fn take_turn(&mut self, trials: &Trials) {
        let turn = trials.halving.turn(&self.edits(), &trials.again, trials.affordable);
        self.hold(Hold::SetAside, |id, _| trials.again.has(id) && !turn.ids().contains(id));
        self.hold(Hold::Suspected, |id, _| !turn.ids().contains(id));
        let apart = trials.halving.keeps_system_apart() && !turn.ids().is_empty();
        if apart || matches!(turn, Turn::Trial(_)) {
            self.hold_system(Hold::NextRequest);
        }
    }

    /// One request names at most 150 identities; additions come first.
    fn fit_request(&mut self, split: bool) {
        let edits = self.edits();
        let attaches = edits.values().filter(|edit| **edit == Edit::Attach).count();
        let mut room_to_detach = match (split, attaches) {
            (true, 1..) => 0,
            (_, attaches) => MAX_IDENTITIES_IN_REQUEST.saturating_sub(attaches),
        };
        let mut room_to_attach = MAX_IDENTITIES_IN_REQUEST;
        self.hold(Hold::NextRequest, |_, edit| {
            let room = match edit {
                Edit::Attach => &mut room_to_attach,
                Edit::Detach => &mut room_to_detach,
            };
            let full = *room == 0;
            *room = room.saturating_sub(1);
            full
        });
    }

    /// Without If-Match nothing that shrinks `type` is sent: it would take along what a stranger added meanwhile.
    fn guard(&mut self, guard: Guard) {
        match guard {
            Guard::IfMatch | Guard::Weak { allow_shrink: true } => return,
            Guard::Weak { allow_shrink: false } => {}
        }
        if self.switch() == Some(Switch::Off) {
            self.hold_system(Hold::Unguarded);
        }
        if !self.live.user.is_empty() && self.user_after().next().is_none() {
            self.hold(Hold::Unguarded, |_, edit| edit == Edit::Detach);
        }
    }

    pub fn patch(&self) -> Option<Patch> {
        let edits = self.edits();
        let system = self.switch();
        if edits.is_empty() && system.is_none() {
            return None;
        }
        let user = self.user_after().next().is_some();
        let identity_type = IdentityType::of(self.system_after(), user);
        Some(Patch { if_match: self.live.etag.clone(), identity_type, edits, system })
    }
}

/// The changes that claims with `Block` ask for.
#[derive(Default)]
struct Blocked {
    system: bool,
    user: BTreeSet<IdentityId>,
}

impl Blocked {
    fn is_nothing(&self) -> bool {
        !self.system && self.user.is_empty()
    }

    fn by(claims: &Complete<Claims>, record: &Record, draft: &Draft<'_>) -> Self {
        let blocking: Vec<&Claim> = claims.staying().filter(|claim| blocks(claim)).collect();
        let any = |by: &[ClaimKey]| by.iter().any(|key| blocking.iter().any(|claim| claim.key.uid == key.uid));
        let system = match &draft.system {
            SystemStep::Enable { by } | SystemStep::Disable { by, .. } => any(by),
            SystemStep::Keep(_)
            | SystemStep::Leave { .. }
            | SystemStep::Off
            | SystemStep::Disputed { .. }
            | SystemStep::Held { .. }
            | SystemStep::RefusedByFlexible => false,
        };
        let user = draft.steps.iter().filter(|(id, step)| match step {
            // What was taken off to be put on again changes nothing.
            Step::Attach { by } => any(by) && !draft.under_repair.contains(*id),
            Step::Detach(Why::DeclaredAbsent) => {
                blocking.iter().any(|claim| claim.user.get(*id) == Some(&Ensure::Absent))
            }
            Step::Detach(Why::ClaimWithdrawn) => withdrawn_by(&blocking, claims, record, id),
            Step::Detach(Why::Dangling)
            | Step::Dangling(_)
            | Step::Keep(_)
            | Step::Spare
            | Step::Protect
            | Step::Disputed { .. }
            | Step::Held { .. }
            | Step::Nothing => false,
        });
        Self { system, user: user.map(|(id, _)| id.clone()).collect() }
    }
}

fn blocks(claim: &Claim) -> bool {
    claim.enforces() && claim.default_identity_change == DefaultIdentityChange::Block
}

/// One of these undeclared it, and no assignment that is deleted wants it off.
fn withdrawn_by(blocking: &[&Claim], claims: &Complete<Claims>, record: &Record, id: &IdentityId) -> bool {
    let leaving = claims.leaving();
    let declared = |uid: &str| {
        record.recorded_claim(uid).is_some_and(|known| known.present.contains(id))
            || claims.get(uid).is_some_and(|claim| claim.present().any(|present| present == id))
    };
    blocking.iter().any(|claim| declared(&claim.key.uid)) && !leaving.keys().any(|uid| declared(uid))
}
