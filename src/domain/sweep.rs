//! Which lists are asked for, and how often, so that every machine is looked at in time with the fewest calls.
//!
//! A list shows many machines in one call. What it shows is a hint: it says whom to look at, never what to write.
use crate::ids::{IdentityId, MachineKind, TargetId};
use crate::time::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Machines(MachineKind),
    /// User-assigned identities.
    Identities,
}

/// What one list is of: the resources of a kind in a resource group, or in a whole subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// In lower case.
    pub subscription: Box<str>,
    /// In lower case; none: all of the subscription.
    pub group: Option<Box<str>>,
    pub kind: Kind,
}

impl Scope {
    #[must_use]
    pub fn group_of(target: &TargetId) -> Self {
        let group = target.group().to_lowercase().into();
        Self { group: Some(group), ..Self::subscription_of(target) }
    }

    #[must_use]
    pub fn subscription_of(target: &TargetId) -> Self {
        Self { subscription: target.subscription().into(), group: None, kind: Kind::Machines(target.kind()) }
    }

    /// The group of an identity; `None` for an id of an unknown form, which no list can be known to show.
    #[must_use]
    pub fn group_of_identity(id: &IdentityId) -> Option<Self> {
        let id: IdentityId = id.as_str().parse().ok()?;
        let mut parts = id.folded().split('/').skip(2);
        let (subscription, group) = (parts.next()?.into(), parts.nth(1)?.into());
        Some(Self { subscription, group: Some(group), kind: Kind::Identities })
    }

    fn whole_subscription(&self) -> Self {
        Self { group: None, ..self.clone() }
    }

    /// A complete list of it would show this machine.
    #[must_use]
    pub fn holds(&self, target: &TargetId) -> bool {
        let in_group = |group: &str| *group == *target.group().to_lowercase();
        self.kind == Kind::Machines(target.kind())
            && *self.subscription == *target.subscription()
            && self.group.as_deref().is_none_or(in_group)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Machines(kind) => kind.arm_type(),
            Kind::Identities => "userAssignedIdentities",
        };
        write!(f, "{kind} in /subscriptions/{}", self.subscription)?;
        self.group.iter().try_for_each(|group| write!(f, "/resourceGroups/{group}"))
    }
}

/// What is known of a scope's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// So many calls, the last time.
    Pages(u32),
    /// Never asked for.
    Unasked,
    /// It could not be had a while ago: each machine is read by itself.
    Barred,
}

/// Resources on one page, as far as nothing is known: an estimate, corrected by the first sweep.
const ON_A_PAGE: usize = 200;

/// So many machines of one group that are waited for are looked for by its list.
const MANY_WAITING: usize = 3;

/// How often each machine is to be looked at: those at rest, and those that are not there yet.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    at_rest: BTreeMap<Scope, BTreeMap<Scope, Vec<Duration>>>,
    awaited: BTreeMap<Scope, Vec<Duration>>,
}

impl Demand {
    pub fn at_rest(&mut self, target: &TargetId, every: Duration) {
        self.look_at(Scope::group_of(target), every);
    }

    /// Something of this group is to be looked at so often.
    pub fn look_at(&mut self, group: Scope, every: Duration) {
        let groups = self.at_rest.entry(group.whole_subscription()).or_default();
        groups.entry(group).or_default().push(every);
    }

    /// A subscription's list may lag by a quarter of an hour (reported): who waits is looked for in the group's.
    pub fn awaited(&mut self, target: &TargetId, every: Duration) {
        self.awaited.entry(Scope::group_of(target)).or_default().push(every);
    }

    /// The lists to ask for, each with its pace. What none of them covers is read machine by machine.
    #[must_use]
    pub fn lists(mut self, known: impl Fn(&Scope) -> Known) -> BTreeMap<Scope, Duration> {
        let mut lists = BTreeMap::new();
        for (subscription, groups) in &mut self.at_rest {
            lists.extend(cheapest(subscription, groups, &known));
        }
        for (group, every) in self.awaited {
            if every.len() >= MANY_WAITING && known(&group) != Known::Barred {
                let pace = every.into_iter().min().unwrap_or_default();
                lists.entry(group).and_modify(|known| *known = pace.min(*known)).or_insert(pace);
            }
        }
        lists
    }
}

/// The whole subscription's list, or that of each group for which it is cheaper than reading its machines.
fn cheapest(
    subscription: &Scope,
    groups: &mut BTreeMap<Scope, Vec<Duration>>,
    known: impl Fn(&Scope) -> Known,
) -> BTreeMap<Scope, Duration> {
    let best = |scope: &Scope, every: &mut Vec<Duration>| {
        every.sort_unstable();
        let pages = match known(scope) {
            Known::Pages(pages) => Some(f64::from(pages.max(1))),
            Known::Unasked => Some(f64::from(u32::try_from(every.len().div_ceil(ON_A_PAGE)).unwrap_or(u32::MAX))),
            Known::Barred => None,
        };
        Choice::best(pages, every)
    };
    let mut all: Vec<Duration> = groups.values().flatten().copied().collect();
    let whole = best(subscription, &mut all);
    let apart: Vec<(&Scope, Choice)> = groups.iter_mut().map(|(group, every)| (group, best(group, every))).collect();
    let rate_apart: f64 = apart.iter().map(|(_, choice)| choice.rate).sum();
    // A group's list lags less, so that it wins where both cost the same.
    if let Some(pace) = whole.pace.filter(|_| whole.rate < rate_apart) {
        return [(subscription.clone(), pace)].into();
    }
    apart.into_iter().filter_map(|(group, choice)| Some((group.clone(), choice.pace?))).collect()
}

/// How the machines of one scope are looked at.
struct Choice {
    /// Calls a second.
    rate: f64,
    /// How often the list is asked for; whoever is to be looked at more often is read by itself. None: all are.
    pace: Option<Duration>,
}

impl Choice {
    /// `every` is sorted; `pages` is what a list costs, if it can be had.
    fn best(pages: Option<f64>, every: &[Duration]) -> Self {
        let by_itself = |every: &Duration| 1.0 / every.as_secs_f64().max(1.0);
        let mut best = Self { rate: every.iter().map(by_itself).sum(), pace: None };
        let Some(pages) = pages else { return best };
        let mut faster = 0.0;
        for same in every.chunk_by(PartialEq::eq) {
            let Some(pace) = same.first() else { continue };
            let rate = faster + pages * by_itself(pace);
            if rate < best.rate {
                best = Self { rate, pace: Some(*pace) };
            }
            faster += same.iter().map(by_itself).sum::<f64>();
        }
        best
    }
}

/// How one sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After so many pages.
    Whole { pages: u32 },
    /// It broke off: tried again, and slower each time.
    Broken,
    /// It cannot be had: no right to it, or there is no such scope.
    Barred,
}

/// How long a list that could not be had is not asked for.
const BARRED_FOR: Duration = Duration::from_secs(60 * 60);

/// How long a list that is not asked for any more is taken to have as many pages as it had.
const PAGES_GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

const BROKEN_FIRST: Duration = Duration::from_secs(5);

/// The sweeps' calendar: which list is asked for when. One list a subscription is under way at a time.
#[derive(Debug, Default)]
pub struct Rounds {
    calendar: BTreeMap<Scope, Round>,
    known: BTreeMap<Scope, (Known, Moment)>,
    busy: BTreeSet<Box<str>>,
}

#[derive(Debug)]
struct Round {
    every: Duration,
    due: Moment,
    broken: u32,
    /// Swept before: from then on the sweeps are spread over their interval.
    settled: bool,
}

impl Rounds {
    /// What is known of a scope's list now.
    #[must_use]
    pub fn known(&self, scope: &Scope, now: Moment) -> Known {
        match self.known.get(scope) {
            Some((Known::Barred, since)) if now.since(*since) < BARRED_FOR => Known::Barred,
            Some((known @ Known::Pages(_), since)) if now.since(*since) < PAGES_GOOD_FOR => *known,
            Some(_) | None => Known::Unasked,
        }
    }

    /// Takes up the lists that are wanted now. A new one is due at once; one that is wanted more often, sooner.
    pub fn choose(&mut self, lists: BTreeMap<Scope, Duration>, now: Moment) {
        self.calendar.retain(|scope, _| lists.contains_key(scope));
        for (scope, every) in lists {
            let round = self.calendar.entry(scope).or_insert(Round { every, due: now, broken: 0, settled: false });
            round.every = every;
            round.due = round.due.min(now.after(every));
        }
    }

    /// The list that covers a machine which is to be looked at so often.
    #[must_use]
    pub fn covering(&self, target: &TargetId, every: Duration) -> Option<Duration> {
        let scopes = [Scope::group_of(target), Scope::subscription_of(target)];
        let paces = scopes.iter().filter_map(|scope| Some(self.calendar.get(scope)?.every));
        paces.filter(|pace| *pace <= every).min()
    }

    /// The same for a machine that is waited for: a subscription's list may lag by a quarter of an hour (reported).
    #[must_use]
    pub fn covering_by_group(&self, target: &TargetId, every: Duration) -> Option<Duration> {
        Some(self.calendar.get(&Scope::group_of(target))?.every).filter(|pace| *pace <= every)
    }

    /// The next list that is due, if its subscription has none under way.
    pub fn begin(&mut self, now: Moment) -> Option<Scope> {
        let due = self.calendar.iter().filter(|(scope, round)| round.due <= now && !self.is_busy(scope));
        let (scope, _) = due.min_by_key(|(_, round)| round.due)?;
        let scope = scope.clone();
        self.busy.insert(scope.subscription.clone());
        Some(scope)
    }

    fn is_busy(&self, scope: &Scope) -> bool {
        self.busy.contains(&scope.subscription)
    }

    /// A sweep has ended. `jitter` lies in 0 to 1 and spreads the sweeps over time. True: something was learnt by which
    /// other lists may be chosen.
    pub fn end(&mut self, scope: &Scope, ended: Ended, now: Moment, jitter: f64) -> bool {
        self.busy.remove(&scope.subscription);
        let known = match ended {
            Ended::Whole { pages } => Some(Known::Pages(pages)),
            Ended::Barred => Some(Known::Barred),
            Ended::Broken => None,
        };
        let learnt = known.is_some_and(|known| {
            let before = self.known.insert(scope.clone(), (known, now));
            before.is_none_or(|(before, _)| before != known)
        });
        let Some(round) = self.calendar.get_mut(scope) else { return learnt };
        match ended {
            Ended::Whole { .. } => {
                // The first sweeps were all begun at the start: the second are spread over half an interval.
                let shorter = if round.settled { 0.1 } else { 0.5 };
                round.due = now.after(round.every.mul_f64(1.0 - shorter * jitter.clamp(0.0, 1.0)));
                (round.broken, round.settled) = (0, true);
            }
            Ended::Broken => {
                let wait = BROKEN_FIRST.saturating_mul(2u32.saturating_pow(round.broken.min(8)));
                round.due = now.after(wait.min(round.every));
                round.broken = round.broken.saturating_add(1);
            }
            // Until it is chosen again it covers nobody.
            Ended::Barred => return self.calendar.remove(scope).is_some(),
        }
        learnt
    }

    /// When the next list is due; none while each that is due waits for one of its subscription.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.calendar.iter().filter(|(scope, _)| !self.is_busy(scope)).map(|(_, round)| round.due).min()
    }
}

#[cfg(test)]
mod tests;
