//! Who declared what, when: from certain knowledge to what some process may still believe.

use jiff::{SignedDuration, Timestamp};

use super::log::{Entry, Span};
use super::story::{Spec, Who};

/// Between Kubernetes' answer to us and the simulator's clock there may lie so much.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// What one assignment said, until it said something else or left.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    pub who: &'a Who,
    pub spec: &'a Spec,
    pub said: Span,
    pub ended: Option<End>,
}

#[derive(Clone, Copy, Debug)]
pub struct End {
    pub at: Span,
    pub left: bool,
    /// It left by the annotation that asks for no write.
    pub released: bool,
}

impl Version<'_> {
    /// It has left, and what it declared alone leaves the record with it.
    pub fn let_go(&self) -> bool {
        self.ended.is_some_and(|end| end.left && (end.released || self.spec.lets_go()))
    }
}

#[derive(Clone, Debug)]
pub struct Claims<'a>(Vec<Version<'a>>);

impl<'a> Claims<'a> {
    pub fn of(entries: &'a [Entry]) -> Self {
        let mut versions: Vec<Version<'a>> = Vec::new();
        let end = |versions: &mut Vec<Version<'a>>, who: &Who, at: Span, how: (bool, bool)| {
            let open = versions.iter_mut().find(|version| version.who == who && version.ended.is_none());
            if let Some(version) = open {
                version.ended = Some(End { at, left: how.0, released: how.1 });
            }
        };
        for entry in entries {
            match entry {
                Entry::Said { who, spec, at } => {
                    end(&mut versions, who, *at, (false, false));
                    versions.push(Version { who, spec, said: *at, ended: None });
                }
                Entry::Left { who, release, at, .. } => end(&mut versions, who, *at, (true, *release)),
                Entry::Forgotten { .. }
                | Entry::Adopted { .. }
                | Entry::Gone { .. }
                | Entry::Made { .. }
                | Entry::Settled { .. } => {}
            }
        }
        Self(versions)
    }

    /// What Kubernetes holds at this time.
    pub fn held(&self, at: Timestamp) -> impl Iterator<Item = &Version<'a>> {
        self.0.iter().filter(move |it| it.said.done <= at && it.ended.is_none_or(|end| end.at.done > at))
    }

    /// What some process may act on at this time, when all of them knew everything at `settled`.
    pub fn believed(&self, settled: Timestamp, at: Timestamp) -> impl Iterator<Item = &Version<'a>> {
        let since = settled - SLACK;
        self.0.iter().filter(move |it| it.said.began <= at && it.ended.is_none_or(|end| end.at.done >= since))
    }

    /// What every process knows at this time: it was there at `settled`, and nobody has touched it since.
    pub fn known(&self, settled: Timestamp, at: Timestamp) -> impl Iterator<Item = &Version<'a>> {
        self.0.iter().filter(move |it| it.said.done <= settled && it.ended.is_none_or(|end| end.at.began > at))
    }

    /// All that this one has said until now.
    pub fn of_one(&self, who: &Who, until: Timestamp) -> impl Iterator<Item = &Version<'a>> {
        self.0.iter().filter(move |it| it.who == who && it.said.done <= until)
    }
}

/// What the claims on a machine want of one thing, by the rows of "Claims".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    On,
    Off,
    /// "neither is applied".
    Disputed,
    /// "the claim protects and asks for nothing".
    Protected,
    Nobodys,
}

/// `for_it`, `against`: what of the claims speak for and against.
pub fn wish<'a>(
    claims: impl Iterator<Item = &'a Spec>,
    for_it: impl Fn(&Spec) -> bool,
    against: impl Fn(&Spec) -> bool,
) -> Wish {
    let (mut asks, mut protects, mut refuses) = (false, false, false);
    for spec in claims {
        asks |= spec.enforces() && for_it(spec);
        protects |= for_it(spec);
        refuses |= spec.enforces() && against(spec);
    }
    match (refuses, protects, asks) {
        (true, true, _) => Wish::Disputed,
        (true, false, _) => Wish::Off,
        (false, _, true) => Wish::On,
        (false, true, false) => Wish::Protected,
        (false, false, false) => Wish::Nobodys,
    }
}
