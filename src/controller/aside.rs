//! Identities that ARM refused: each waits by itself, with a reason and a backoff of its own. No IO.
use super::memory::essence;
use lanyard_domain::halving::{Again, Allowance, Due, Halving};
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::plan::{Hold, Step, Trials};
use lanyard_domain::reason::Reason;
use lanyard_domain::verdict::Trouble;
use lanyard_domain::{Edit, IdentityId, Moment, Patch, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What falls due within so much of another's time is tried with it: one request in place of two.
const TOGETHER: Duration = Duration::from_secs(10);

/// Something is due and affordable, and yet it did not go: no reason to come back at once.
const HELD_UP: Duration = Duration::from_secs(30);

/// How it is known that an identity is refused; and so, how it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// ARM named it: it may go with others that ARM would name.
    ByName,
    /// A request that named it alone was refused: it goes alone.
    Alone,
    /// Its own GET says that it is not there: no write is spent on it before that changes.
    Missing,
    /// Its own GET is forbidden, in the midst of a refusal that named nobody.
    Hidden,
}

/// A refusal of one identity.
#[derive(Clone, Debug)]
pub struct Refused {
    pub known: Known,
    pub edit: Edit,
    pub reason: Reason,
    pub message: String,
    pub class: Class,
}

/// An identity that waits by itself.
#[derive(Clone, Debug)]
pub struct Aside {
    pub known: Known,
    pub edit: Edit,
    reason: Reason,
    message: String,
    /// When each reason was first seen: a fresh identity's grant has its own ten minutes.
    since: BTreeMap<Reason, Moment>,
    failures: u32,
    until: Moment,
    /// When it was last asked about by itself.
    asked: Option<Moment>,
}

/// Why a search is under way.
#[derive(Clone, Debug)]
pub struct Suspicion {
    pub reason: Reason,
    pub message: String,
    pub since: Moment,
}

/// All of one target that wait.
#[derive(Clone, Debug, Default)]
pub struct Asides {
    ids: BTreeMap<IdentityId, Aside>,
    pub halving: Halving,
    suspicion: Option<Suspicion>,
    allowance: Allowance,
    /// What was in the last operation that failed for a reason that is not known to be about an identity.
    unclear: Option<Due>,
}

impl Asides {
    /// Sets one aside, or notes that it is refused still.
    pub fn put(&mut self, id: &IdentityId, refused: Refused, now: Moment, jitter: f64) {
        let aside = self.ids.entry(id.clone()).or_insert_with(|| Aside {
            known: refused.known,
            edit: refused.edit,
            reason: refused.reason,
            message: String::new(),
            since: BTreeMap::new(),
            failures: 0,
            until: now,
            asked: None,
        });
        aside.failures = aside.failures.saturating_add(1);
        aside.since.entry(refused.reason).or_insert(now);
        // The same refusal under another correlation id is no reason to write a status.
        if essence(&refused.message) != essence(&aside.message) {
            aside.message = refused.message;
        }
        (aside.known, aside.edit, aside.reason) = (refused.known, refused.edit, refused.reason);
        aside.until = now.after(pause(refused.class, aside.failures, Duration::ZERO, jitter));
        self.halving.found(&[id.clone()].into());
    }

    /// A failure that may or may not be about an identity: true when the very same change failed so twice in a row.
    pub fn failed_again(&mut self, sent: &Due) -> bool {
        self.unclear.replace(sent.clone()).as_ref() == Some(sent)
    }

    /// A request that named several was refused, and no one is known to be at fault.
    pub fn suspect(&mut self, why: Suspicion) {
        if self.halving.is_under_way() {
            let since = self.suspicion.as_ref().map_or(why.since, |known| known.since);
            self.suspicion = Some(Suspicion { since, ..why });
        }
    }

    /// ARM took these: whatever was the matter with them is over.
    pub fn accepted(&mut self, patch: &Patch) {
        self.ids.retain(|id, _| !patch.edits.contains_key(id));
        self.halving.accepted(&patch.edits, patch.system.is_some());
        self.unclear = None;
    }

    /// A request that left with one of these in it was a trial.
    pub fn count(&mut self, patch: &Patch, now: Moment) {
        let searched = self.halving.suspects().any(|id| patch.edits.contains_key(id));
        if searched || patch.edits.keys().any(|id| self.ids.contains_key(id)) {
            self.allowance.spend(now);
        }
    }

    fn affordable(&self, now: Moment) -> bool {
        self.allowance.wait(now).is_zero()
    }

    fn due(&self, now: Moment) -> impl Iterator<Item = (&IdentityId, &Aside)> {
        let any = self.ids.values().any(|aside| aside.until <= now);
        let soon = now.after(TOGETHER);
        self.ids.iter().filter(move |(_, aside)| any && aside.until <= soon)
    }

    /// Those to be asked about before they are tried again, once each time: whether they exist is told by a read.
    pub fn ask_about(&mut self, now: Moment) -> Vec<(IdentityId, Known)> {
        let due: Vec<IdentityId> = self.due(now).map(|(id, _)| id.clone()).collect();
        let mut asked = Vec::new();
        for (id, aside) in self.ids.iter_mut().filter(|(id, _)| due.contains(id)) {
            if aside.edit == Edit::Attach && aside.asked.is_none_or(|last| last < aside.until) {
                asked.push((id.clone(), aside.known));
                aside.asked = Some(now);
            }
            aside.until = aside.until.min(now);
        }
        asked
    }

    /// It is there now: nothing is known against it any more.
    pub fn appeared(&mut self, id: &IdentityId) {
        self.ids.remove(id);
    }

    /// It was missing, and now may not be looked at: a write has to tell.
    pub fn hide(&mut self, id: &IdentityId) {
        if let Some(aside) = self.ids.get_mut(id) {
            aside.known = Known::Hidden;
        }
    }

    /// Whether it is there could not be told: one that was missing counts as such a while longer.
    pub fn postpone(&mut self, id: &IdentityId, now: Moment) {
        if let Some(aside) = self.ids.get_mut(id).filter(|aside| aside.known == Known::Missing) {
            aside.until = now.after(HELD_UP);
        }
    }

    /// The ids that are not tried now.
    pub fn not_now(&self, now: Moment) -> BTreeSet<IdentityId> {
        let mut all: BTreeSet<IdentityId> = self.ids.keys().cloned().collect();
        if self.affordable(now) {
            self.due(now).for_each(|(id, _)| _ = all.remove(id));
        }
        all
    }

    /// What goes in requests of its own now.
    pub fn trials(&self, now: Moment) -> Trials {
        let of = |alone: bool| {
            let kind = self.due(now).filter(|(_, aside)| (aside.known == Known::Alone) == alone);
            kind.map(|(id, _)| id.clone()).collect()
        };
        let again = Again { together: of(false), alone: of(true) };
        Trials { halving: self.halving.clone(), again, affordable: self.affordable(now) }
    }

    /// How long until one of those that wait may go on.
    pub fn next_try(&self, now: Moment) -> Option<Duration> {
        let budget = self.allowance.wait(now);
        let wait = |left: Duration| if left.is_zero() && budget.is_zero() { HELD_UP } else { left.max(budget) };
        let search = self.halving.is_under_way().then_some(Duration::ZERO);
        let ids = self.ids.values().map(|aside| aside.until.since(now));
        ids.chain(search).map(wait).min()
    }

    /// People changed what they ask for: nobody waits for the end of a backoff.
    pub fn hurry(&mut self, now: Moment) {
        self.ids.values_mut().for_each(|aside| aside.until = now);
    }

    /// Remembers those alone that are still due. Of those that wait for a person's word nobody goes on searching:
    /// when they may go, they are as new.
    pub fn keep_up_with(&mut self, plan: Option<&Plan>) {
        let held = |id: &IdentityId| match plan.map(|plan| plan.step(id)) {
            Some(Step::Held { why, .. }) => Some(*why),
            _ => None,
        };
        self.ids.retain(|id, _| held(id).is_some());
        self.halving.forget(|id| held(id).is_some_and(|why| why != Hold::DefaultIdentity));
        if !self.halving.is_under_way() {
            self.suspicion = None;
        }
    }

    pub fn any_for(&self, lacks: impl Fn(Reason) -> bool) -> bool {
        self.ids.values().map(|aside| aside.reason).chain(self.suspicion.as_ref().map(|it| it.reason)).any(lacks)
    }

    /// What to tell people about them.
    pub fn troubles(&self, now: Moment) -> BTreeMap<IdentityId, Trouble> {
        let trouble = |reason, message: &str, since| {
            let lasting = now.since(since);
            Trouble { reason, message: message.to_owned(), lasting, unwell: lasting }
        };
        let of_suspects = self.suspicion.iter().flat_map(|why| {
            let told = trouble(why.reason, &why.message, why.since);
            self.halving.suspects().map(move |id| (id.clone(), told.clone()))
        });
        let of_ids = self.ids.iter().map(|(id, aside)| {
            let since = aside.since.get(&aside.reason).copied().unwrap_or(now);
            (id.clone(), trouble(aside.reason, &aside.message, since))
        });
        of_suspects.chain(of_ids).collect()
    }
}

#[cfg(test)]
mod tests;
