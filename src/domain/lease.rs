//! Who leads: what a candidate makes of the Lease that it sees, by its own clock alone.
//!
//! ```text
//!   leader     began ──── renewed ──────────────── fenced (10 s after `began`)
//!   candidate             seen ───────────────────────────── expired (15 s after `seen`) ── taken
//! ```
//!
//! A candidate sees a renewal after it was written, and it was written after it began. So whoever leads has fenced
//! itself before anybody else can find its lease expired, as long as the two clocks' rates differ by less than a third.
//! The times in the Lease are for people: nobody compares clocks.
use crate::time::Moment;
use std::time::Duration;

/// A lease that nobody has changed for so long has expired.
pub const LEASE_FOR: Duration = Duration::from_secs(15);

/// From the beginning of one renewal to that of the next.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);

/// So long after the beginning of the last renewal that succeeded, its holder writes nothing more.
pub const FENCED_AFTER: Duration = Duration::from_secs(10);

/// The longest that somebody's lease is waited for, whatever is written in it.
const LONGEST: Duration = Duration::from_secs(60);

/// The Lease as it stands at the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Every write changes it: the same version is the very same lease.
    pub version: String,
    /// Nobody: it was released.
    pub holder: Option<String>,
    /// How long it says that it lasts.
    pub lasts: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    There {
        lease: Lease,
        since: Moment,
    },
    /// There is none. Its holder may not know yet, if it had one.
    Absent {
        since: Moment,
        was_held: bool,
    },
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing was seen yet.
    Look,
    Create,
    /// Write it under this version: it is free, expired, or bears our own name.
    Take {
        version: String,
    },
    /// Somebody else holds it, until then at least.
    Wait {
        until: Moment,
    },
}

/// One process that would lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    seen: Option<Sight>,
    held_until: Option<Moment>,
}

impl Candidate {
    /// `me` must be this process's alone: who finds it in the lease knows that nobody else wrote it.
    #[must_use]
    pub fn new(me: String) -> Self {
        Self { me, seen: None, held_until: None }
    }

    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Takes in what a read told, begun after our last write had ended. The clock of a lease that was seen already goes on.
    pub fn see(&mut self, lease: Option<Lease>, now: Moment) {
        if lease.as_ref().and_then(|lease| lease.holder.as_deref()) != Some(&self.me) {
            self.held_until = None;
        }
        let was_held = self.is_anothers();
        self.seen = match (lease, self.seen.take()) {
            (Some(lease), Some(Sight::There { lease: known, since })) if known == lease => {
                Some(Sight::There { lease, since })
            }
            (Some(lease), _) => Some(Sight::There { lease, since: now }),
            (None, Some(known @ Sight::Absent { .. })) => Some(known),
            (None, _) => Some(Sight::Absent { since: now, was_held }),
        };
    }

    fn is_anothers(&self) -> bool {
        match &self.seen {
            Some(Sight::There { lease, .. }) => lease.holder.as_ref().is_some_and(|holder| *holder != self.me),
            Some(Sight::Absent { was_held, .. }) => *was_held,
            None => false,
        }
    }

    /// Our write was taken, which began then. Whoever was stopped in between for too long does not lead by it.
    pub fn wrote(&mut self, lease: Lease, began: Moment, now: Moment) {
        let lapsed = self.held_until.is_some_and(|until| now >= until);
        let until = began.after(FENCED_AFTER);
        self.held_until = (!lapsed && now < until).then_some(until);
        self.seen = Some(Sight::There { lease, since: now });
    }

    /// The term is over, whatever the lease says.
    pub fn step_down(&mut self) {
        self.held_until = None;
    }

    /// Until when this process leads, unless it renews; none if it does not.
    #[must_use]
    pub fn leads_until(&self, now: Moment) -> Option<Moment> {
        self.held_until.filter(|until| now < *until)
    }

    /// What to do in order to lead.
    #[must_use]
    pub fn step(&self, now: Moment) -> Step {
        match &self.seen {
            None => Step::Look,
            Some(Sight::Absent { was_held: false, .. }) => Step::Create,
            Some(Sight::Absent { since, was_held: true }) => {
                wait_until(since.after(LEASE_FOR), now).unwrap_or(Step::Create)
            }
            Some(Sight::There { lease, since }) => {
                let take = Step::Take { version: lease.version.clone() };
                match &lease.holder {
                    None => take,
                    Some(holder) if *holder == self.me => take,
                    Some(_) => wait_until(since.after(lease.lasts.clamp(LEASE_FOR, LONGEST)), now).unwrap_or(take),
                }
            }
        }
    }

    /// Who holds the lease, as last seen.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        match &self.seen {
            Some(Sight::There { lease, .. }) => lease.holder.as_deref(),
            Some(Sight::Absent { .. }) | None => None,
        }
    }
}

fn wait_until(until: Moment, now: Moment) -> Option<Step> {
    (now < until).then_some(Step::Wait { until })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn lease(version: &str, holder: &str) -> Lease {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        Lease { version: version.into(), holder, lasts: LEASE_FOR }
    }

    fn take(version: &str) -> Step {
        Step::Take { version: version.into() }
    }

    #[test]
    fn a_lease_expires_when_it_was_seen_unchanged_for_its_duration() {
        let mut b = Candidate::new("b".into());
        assert_eq!(b.step(at(0)), Step::Look);
        b.see(Some(lease("1", "a")), at(100));
        b.see(Some(lease("1", "a")), at(114));
        assert_eq!(b.step(at(114)), Step::Wait { until: at(115) });
        assert_eq!(b.step(at(115)), take("1"));
        b.see(Some(lease("2", "a")), at(115));
        assert_eq!(b.step(at(129)), Step::Wait { until: at(130) });
    }

    #[test]
    fn what_is_free_or_bears_our_name_is_taken_at_once() {
        let mut b = Candidate::new("b".into());
        b.see(Some(lease("1", "")), at(0));
        assert_eq!(b.step(at(0)), take("1"));
        b.see(Some(lease("2", "b")), at(1));
        assert_eq!((b.step(at(1)), b.leads_until(at(1))), (take("2"), None));
    }

    #[test]
    fn a_lease_deleted_under_its_holder_is_waited_for() {
        let mut b = Candidate::new("b".into());
        b.see(None, at(0));
        assert_eq!(b.step(at(0)), Step::Create);
        b.see(Some(lease("1", "a")), at(1));
        b.see(None, at(5));
        b.see(None, at(6));
        assert_eq!(b.step(at(6)), Step::Wait { until: at(20) });
        assert_eq!(b.step(at(20)), Step::Create);

        let mut a = Candidate::new("a".into());
        a.wrote(lease("1", "a"), at(0), at(0));
        a.see(None, at(1));
        assert_eq!((a.leads_until(at(1)), a.step(at(1))), (None, Step::Create));
    }

    #[test]
    fn a_term_lasts_ten_seconds_from_where_its_last_renewal_began_and_is_never_revived() {
        let mut a = Candidate::new("a".into());
        a.wrote(lease("1", "a"), at(0), at(3));
        assert_eq!(a.leads_until(at(9)), Some(at(10)));
        assert_eq!(a.leads_until(at(10)), None);
        a.wrote(lease("2", "a"), at(9), at(11));
        assert_eq!(a.leads_until(at(11)), None, "its answer came after the fence");

        let mut slept = Candidate::new("a".into());
        slept.wrote(lease("1", "a"), at(0), at(12));
        assert_eq!(slept.leads_until(at(12)), None);
    }

    #[test]
    fn whoever_sees_another_in_the_lease_leads_no_more() {
        let mut a = Candidate::new("a".into());
        a.wrote(lease("1", "a"), at(0), at(0));
        a.see(Some(lease("2", "a")), at(1));
        assert_eq!(a.leads_until(at(1)), Some(at(10)), "somebody annotated it");
        a.see(Some(lease("3", "b")), at(2));
        assert_eq!(a.leads_until(at(2)), None);
    }

    #[test]
    fn what_the_lease_says_of_its_duration_counts_within_bounds() {
        let mut b = Candidate::new("b".into());
        for (lasts, expected) in [(1, 15), (30, 30), (86_400, 60)] {
            let version = lasts.to_string();
            b.see(Some(Lease { lasts: Duration::from_secs(lasts), ..lease(&version, "a") }), at(0));
            assert_eq!(b.step(at(0)), Step::Wait { until: at(expected) });
        }
    }
}
