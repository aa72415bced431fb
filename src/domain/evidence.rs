//! Evidence: what a decision may rest on, as types that only a check can make.
use crate::claims::{Claim, Claims, Ensure, Holding, Leaving, Stance, SystemWish};
use crate::live::Live;
use crate::record::{Record, RecordedClaim};
use crate::reference::keeping;
use crate::time::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::time::Duration;

/// How long reads may keep showing an ETag that we know to be replaced before we believe them.
///
/// A read from another region lags by seconds; but whether a failed operation gives back the old ETag
/// is not documented, and a target must not wait for ever on a guess.
pub const STALE_FOR: Duration = Duration::from_secs(60);

/// ARM says "gone" twice, this far apart, before it is believed.
pub const GONE_AFTER: Duration = Duration::from_secs(60);

/// An intent that was written longer ago than this is written anew before its PATCH may leave.
pub const INTENT_GOOD_FOR: Duration = Duration::from_secs(10);

/// Something that was read in this visit, after our last write to the target ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh<T>(T);

impl<T> Deref for Fresh<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// When a GET of a target was made, against which its freshness is judged.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The request left.
    pub begun: Moment,
    /// The visit began.
    pub visit: Moment,
    /// Our last write to the target ended, its operation included.
    pub last_write_ended: Option<Moment>,
    /// Since when reads have been showing an ETag that we replaced.
    pub stale_since: Option<Moment>,
}

/// Why a read is no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFresh {
    #[error("the state was read before this visit or before our last write ended")]
    TooEarly,
    #[error("ARM answers with the state from before our last write")]
    Superseded,
}

impl Fresh<Live> {
    /// A GET is fresh if it began in this visit, after our last write ended, and does not show what we replaced.
    ///
    /// # Errors
    /// [`NotFresh`]: read again.
    pub fn read(live: Live, reading: Reading, record: &Record) -> Result<Self, NotFresh> {
        let after_write = reading.last_write_ended.is_none_or(|ended| reading.begun >= ended);
        if reading.begun < reading.visit || !after_write {
            return Err(NotFresh::TooEarly);
        }
        let patient = reading.stale_since.is_none_or(|since| reading.begun.since(since) < STALE_FOR);
        if patient && shows_superseded(&live, record) {
            return Err(NotFresh::Superseded);
        }
        Ok(Self(live))
    }

    /// An entry of a list, for a look that plans and writes nothing of what it plans.
    #[must_use]
    pub fn glimpsed(live: Live) -> Self {
        Self(live)
    }

    /// What our own write left, as a read showed it that only its success explains.
    pub(crate) fn ended(live: Live) -> Self {
        Self(live)
    }

    /// The answer to our own PATCH, where no operation follows it.
    #[must_use]
    pub fn answered(live: Live) -> Self {
        Self(live)
    }
}

/// The read shows what one of our last writes, or another machine, replaced.
#[must_use]
pub fn shows_superseded(live: &Live, record: &Record) -> bool {
    record.superseded.iter().any(|old| {
        let same_state = old.etag.is_some() && old.etag == live.etag;
        let other_machine = old.unique_id != record.unique_id;
        old.unique_id.is_some() && old.unique_id == live.unique_id && (same_state || other_machine)
    })
}

/// A 404 in ARM's own words, heard now: whether it is the second of two far enough apart to be believed.
///
/// `since` is when the first of a row was heard; an answer that shows the machine ends the row.
#[must_use]
pub fn said_gone(since: &mut Option<Moment>, now: Moment) -> bool {
    now.since(*since.get_or_insert(now)) >= GONE_AFTER
}

/// An intent that is too old must be recorded anew: a process that slept may not act on what it once wrote.
#[must_use]
pub fn intent_still_good(written: Moment, now: Moment) -> bool {
    now.since(written) < INTENT_GOOD_FOR
}

/// All claims on a target, with every absence proven.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Complete<T> {
    claims: T,
    gone: BTreeMap<String, Leaving>,
}

impl<T> Deref for Complete<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.claims
    }
}

/// What the watch and, where it says nothing, direct reads tell about a target's assignments.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Every watch has finished its list.
    pub listed: bool,
    /// The claims of all objects that parse.
    pub read: Vec<Claim>,
    /// What is legible of objects that do not parse: they protect and ask for nothing.
    pub unread: Vec<Claim>,
    /// Objects (by uid) whose deletion was seen, or that a consistent read did not find.
    pub gone: BTreeSet<String>,
    /// Of those, the ones whose owners let go of what they declared before they went.
    pub let_go: BTreeSet<String>,
    /// Objects (by uid) that a consistent read shows so: their version counts, whatever the record says of a later one.
    pub confirmed: BTreeSet<String>,
}

/// The lists are not in yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of assignments is not complete yet")]
pub struct NotListed;

impl Complete<Claims> {
    /// Accounts for every claim that the record knows: read, unread, or proven gone. One that is none of these stands as
    /// recorded, and so does one of which an older version is shown than was acted on: what it lacks looks withdrawn.
    ///
    /// # Errors
    /// [`NotListed`] while a watch has not finished its list: nobody may be missed.
    pub fn account(census: Census, record: &Record) -> Result<Self, NotListed> {
        if !census.listed {
            return Err(NotListed);
        }
        let present = |claim: &Claim| census.confirmed.contains(&claim.key.uid) || !shows_the_past(claim, record);
        let read: Vec<Claim> = census.read.into_iter().filter(present).collect();
        let known: BTreeSet<String> = read.iter().map(|claim| claim.key.uid.clone()).collect();
        let absent = || record.claims.iter().filter(|recorded| !known.contains(&recorded.key.uid));
        let gone = absent()
            .filter(|recorded| census.gone.contains(&recorded.key.uid))
            .map(|recorded| {
                let let_go = census.let_go.contains(&recorded.key.uid);
                (recorded.key.uid.clone(), Leaving::of(recorded.deletion_policy, recorded.mode, let_go))
            })
            .collect();
        let standing: Vec<Claim> =
            absent().filter(|recorded| !census.gone.contains(&recorded.key.uid)).map(stands_as_recorded).collect();
        let mut claims = read;
        claims.extend(merge_unread(standing, census.unread));
        let claims = claims.into_iter().map(|claim| keeping(with_recorded(claim, record), record)).collect();
        Ok(Self { claims: Claims::new(claims), gone })
    }

    /// How each claim leaves whose object is being deleted or proven gone, by uid.
    #[must_use]
    pub fn leaving(&self) -> BTreeMap<&str, Leaving> {
        let deleted = self.claims.iter().filter_map(|claim| Some((claim.key.uid.as_str(), claim.leaving?)));
        self.gone.iter().map(|(uid, how)| (uid.as_str(), *how)).chain(deleted).collect()
    }

    /// The same evidence as if one object were switched to `Enforce`.
    #[must_use]
    pub fn with_enforced(&self, claim: &Claim, record: &Record) -> Self {
        Self { claims: self.claims.with(keeping(claim.enforced(), record)), gone: self.gone.clone() }
    }

    /// The same evidence, with some claims held back: stances are only ever tightened by it.
    #[must_use]
    pub fn holding(&self, record: &Record, hold: impl Fn(&Claim) -> Option<Holding>) -> Self {
        let tightened = self.claims.iter().map(|claim| match (claim.stance, hold(claim)) {
            (Stance::Enforce, Some(why)) => with_recorded(Claim { stance: Stance::Hold(why), ..claim.clone() }, record),
            (Stance::Enforce | Stance::Hold(_), _) => claim.clone(),
        });
        Self { claims: Claims::new(tightened.collect()), gone: self.gone.clone() }
    }
}

/// The record was written by somebody who had seen a later version of this object.
#[must_use]
pub fn shows_the_past(claim: &Claim, record: &Record) -> bool {
    record.recorded_claim(&claim.key.uid).is_some_and(|recorded| claim.generation < recorded.generation)
}

fn stands_as_recorded(recorded: &RecordedClaim) -> Claim {
    Claim {
        key: recorded.key.clone(),
        generation: recorded.generation,
        user: recorded.present.iter().map(|id| (id.clone(), Ensure::Present)).collect(),
        refs: BTreeMap::new(),
        repair: BTreeSet::new(),
        system: if recorded.system_enabled { SystemWish::Enabled } else { SystemWish::Unmanaged },
        mode: recorded.mode,
        stance: Stance::Hold(Holding::Unread),
        deletion_policy: recorded.deletion_policy,
        default_identity_change: crate::claims::DefaultIdentityChange::Warn,
        leaving: None,
    }
}

/// An unreadable object protects both what it was recorded with and what is legible of it.
fn merge_unread(standing: Vec<Claim>, unread: Vec<Claim>) -> Vec<Claim> {
    let mut merged: BTreeMap<String, Claim> =
        standing.into_iter().map(|claim| (claim.key.uid.clone(), claim)).collect();
    for claim in unread {
        let hold = Claim { stance: Stance::Hold(Holding::Unread), leaving: None, ..claim };
        merged.entry(hold.key.uid.clone()).and_modify(|known| protect_too(known, &hold)).or_insert(hold);
    }
    merged.into_values().collect()
}

/// An absence binds nobody here, and takes nothing from what was recorded.
fn protect_too(known: &mut Claim, legible: &Claim) {
    known.user.extend(legible.present().map(|id| (id.clone(), Ensure::Present)));
    if legible.system == SystemWish::Enabled {
        known.system = SystemWish::Enabled;
    }
}

/// A claim that only holds was last acted on when it enforced: what it declared then stays protected until it enforces again.
fn with_recorded(mut claim: Claim, record: &Record) -> Claim {
    let holds = claim.leaving.is_none() && matches!(claim.stance, Stance::Hold(_));
    if let (true, Some(recorded)) = (holds, record.recorded_claim(&claim.key.uid)) {
        for id in recorded.present.iter().filter(|id| record.attached.contains_key(*id)) {
            claim.user.insert(id.clone(), Ensure::Present);
        }
    }
    claim
}
