//! A plan in the making: what is due is held back, step by step, until one request may carry it.
use crate::claims::{ClaimKey, Claims, DefaultIdentityChange, Ensure};
use crate::halving::Turn;
use crate::ids::IdentityId;
use crate::live::{DefaultIdentity, Live};
use crate::patch::{Edit, IdentityType, Patch};
use crate::plan::{DefaultChange, Guard, Hold, MAX_IDENTITIES_IN_REQUEST, Removals, Step, SystemStep, Trials};
use crate::record::Switch;
use std::collections::{BTreeMap, BTreeSet};

/// A plan in the making: steps are only ever held back from here on.
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

    pub fn set_aside(&mut self, ids: &BTreeSet<IdentityId>) {
        self.hold(Hold::SetAside, |id, _| ids.contains(id));
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

    /// Holds what claims with `Block` ask for. A withdrawn claim is never held by this.
    pub fn hold_for_default_identity(&mut self, claims: &Claims) {
        let blocking: BTreeSet<&str> = claims
            .staying()
            .filter(|claim| claim.default_identity_change == DefaultIdentityChange::Block)
            .map(|claim| claim.key.uid.as_str())
            .collect();
        let blocks = |by: &[ClaimKey]| by.iter().any(|key| blocking.contains(key.uid.as_str()));
        match &self.system {
            SystemStep::Enable { by } | SystemStep::Disable { by, .. } if blocks(by) => {
                self.hold_system(Hold::DefaultIdentity);
            }
            SystemStep::Enable { .. }
            | SystemStep::Disable { .. }
            | SystemStep::Keep(_)
            | SystemStep::Leave { .. }
            | SystemStep::Off
            | SystemStep::Disputed { .. }
            | SystemStep::Held { .. }
            | SystemStep::RefusedByFlexible => {}
        }
        if self.default_change().is_none() {
            return;
        }
        for step in self.steps.values_mut() {
            if matches!(step, Step::Attach { by } if blocks(by)) {
                *step = Step::Held { edit: Edit::Attach, why: Hold::DefaultIdentity };
            }
        }
        let declared_absent_by_blocker = |id: &IdentityId| {
            claims
                .staying()
                .any(|claim| blocking.contains(claim.key.uid.as_str()) && claim.user.get(id) == Some(&Ensure::Absent))
        };
        self.hold(Hold::DefaultIdentity, |id, edit| edit == Edit::Detach && declared_absent_by_blocker(id));
    }

    pub fn pace(&mut self, removals: Removals) {
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
    pub fn take_turn(&mut self, trials: &Trials) {
        let turn = trials.halving.turn(&self.edits(), &trials.again, trials.affordable);
        self.hold(Hold::SetAside, |id, _| trials.again.has(id) && !turn.ids().contains(id));
        self.hold(Hold::Suspected, |id, _| !turn.ids().contains(id));
        let apart = trials.halving.keeps_system_apart() && !turn.ids().is_empty();
        if apart || matches!(turn, Turn::Trial(_)) {
            self.hold_system(Hold::NextRequest);
        }
    }

    /// One request names at most 150 identities; additions come first.
    pub fn fit_request(&mut self, split: bool) {
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
    pub fn guard(&mut self, guard: Guard) {
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
