//! Dead entries: an id on a machine whose identity was deleted, or deleted and made again.
//!
//! Such an entry gives no tokens, and stays dead until it is taken off and put on again. The machine alone does not
//! always tell: it may go on showing the old principal. So the identity itself is asked, after the machine was read.
//!
//! A repair is two requests: the entry goes by a step of its own, and comes back by the plain rule, since it is declared
//! and absent. Whatever happens in between, that rule is all that is needed to go on.
use crate::evidence::Fresh;
use crate::ids::IdentityId;
use crate::live::{Live, Provisioning};
use crate::plan::{Facts, Plan, Step, Why};
use crate::record::{Origin, Record, Repair};
use crate::time::Moment;
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// So often an entry is taken off and put on again for one principal: what does not help then is a person's.
pub const ROUNDS: u32 = 3;

/// How long an entry must look dead before the first repair: a principal may reach the machine a moment after its
/// operation ended. Each round waits three times as long as the one before: 5, 15 and 45 s.
const CONFIRMED_AFTER: Duration = Duration::from_secs(5);

/// After an operation of ours that failed, blank entries mean little for so long.
const AFTER_A_FAILURE: Duration = Duration::from_secs(10 * 60);

/// What an identity's own GET said. Made from answers that were asked for after the machine was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Own {
    /// It exists, with this principal.
    There(String),
    Missing,
    /// It could not be asked, or may not be looked at: nothing follows from that.
    Untold,
}

/// What is known of the identities themselves. Of one that is not in here nothing is said, and nothing suspected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    own: BTreeMap<IdentityId, Own>,
    /// Suspected too short a while ago, or on an answer that is not of this visit.
    settling: BTreeSet<IdentityId>,
}

impl Identities {
    #[must_use]
    pub fn new(own: BTreeMap<IdentityId, Own>, settling: BTreeSet<IdentityId>) -> Self {
        Self { own, settling }
    }

    #[must_use]
    pub fn own(&self, id: &IdentityId) -> Option<&Own> {
        self.own.get(id)
    }

    #[must_use]
    pub fn is_settling(&self, id: &IdentityId) -> bool {
        self.settling.contains(id)
    }
}

/// A dead entry that is left as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The principal that the machine shows, if it shows any.
    pub shown: Option<String>,
    /// The identity's own, if it has one.
    pub own: Option<String>,
    pub stays: Stays,
}

/// Why a dead entry is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// Seen too short a while ago: looked at again first.
    Confirming,
    /// There is no identity to put on again.
    Deleted,
    /// The machine shows no principal, and the identity itself cannot be looked at.
    Hidden,
    /// Not put there by us, and nobody asks for its repair.
    NotAsked,
    /// Taken off and put on again, and still dead.
    TriedInVain,
}

/// Whether an entry is dead: blank, or of a principal that its identity has no longer, while the last operation succeeded.
#[must_use]
pub fn is_dead(id: &IdentityId, live: &Live, own: Option<&Own>) -> bool {
    match live.provisioning {
        Provisioning::Succeeded => {}
        Provisioning::Failed | Provisioning::Running | Provisioning::Deleting => return false,
    }
    let Some(shown) = live.user.get(id).map(|principal| &principal.principal_id) else { return false };
    match (shown, own) {
        (_, None) | (Some(_), Some(Own::Untold)) => false,
        (None, Some(Own::There(_) | Own::Missing | Own::Untold)) | (Some(_), Some(Own::Missing)) => true,
        (Some(shown), Some(Own::There(own))) => !shown.eq_ignore_ascii_case(own),
    }
}

/// What is done about an identity that is there and declared to be: kept, repaired, or told of.
pub(crate) fn step(id: &IdentityId, origin: Origin, facts: Facts<'_>) -> Step {
    let own = facts.identities.own(id);
    if !is_dead(id, facts.live, own) {
        return Step::Keep(origin);
    }
    let asked = origin == Origin::Attached || facts.claims.asks_for_repair(id);
    let stays = match own {
        _ if facts.identities.is_settling(id) => Stays::Confirming,
        Some(Own::Missing) => Stays::Deleted,
        Some(Own::Untold) | None => Stays::Hidden,
        Some(Own::There(_)) if !asked => Stays::NotAsked,
        Some(Own::There(principal)) if facts.record.rounds_of_repair(id, principal) >= ROUNDS => Stays::TriedInVain,
        Some(Own::There(_)) => return Step::Detach(Why::Dangling),
    };
    let shown = facts.live.user.get(id).and_then(|principal| principal.principal_id.clone());
    let own = match own {
        Some(Own::There(principal)) => Some(principal.clone()),
        Some(Own::Missing | Own::Untold) | None => None,
    };
    Step::Dangling(Dead { shown, own, stays })
}

/// Ids whose absence is ours and short: to whoever asks which identity is the machine's default, they are there.
pub(crate) fn under_repair(steps: &BTreeMap<IdentityId, Step>, record: &Record) -> BTreeSet<IdentityId> {
    let awaited = |id: &IdentityId| record.repairs.get(id).is_some_and(|repair| repair.awaited);
    let is_it = |(id, step): &(&IdentityId, &Step)| match step {
        Step::Detach(Why::Dangling) => true,
        Step::Attach { .. } => awaited(id),
        Step::Detach(Why::DeclaredAbsent | Why::ClaimWithdrawn)
        | Step::Keep(_)
        | Step::Spare
        | Step::Protect
        | Step::Dangling(_)
        | Step::Disputed { .. }
        | Step::Held { .. }
        | Step::Nothing => false,
    };
    steps.iter().filter(is_it).map(|(id, _)| id.clone()).collect()
}

/// Counts what this plan repairs. Written with the intent, so that no restart forgets it: a round that was begun counts.
#[must_use]
pub fn begun(record: Record, plan: &Plan, identities: &Identities, asked: &BTreeMap<IdentityId, String>) -> Record {
    let mut record = record;
    for id in plan.repairs() {
        let Some(Own::There(principal_id)) = identities.own(id) else { continue };
        let known = record.rounds_of_repair(id, principal_id);
        // Sent once more, since no answer came: the same round.
        let again = known > 0 && record.intent.as_ref().is_some_and(|intent| !intent.unanswered.is_empty());
        let rounds = if again { known } else { known.saturating_add(1) };
        let asked = asked.get(id).cloned().unwrap_or_default();
        let repair = Repair { principal_id: principal_id.clone(), rounds, asked, awaited: true };
        record.repairs.insert(id.clone(), repair);
    }
    record
}

/// The count begins anew when people ask anew; what is on the machine is no longer awaited there.
#[must_use]
pub fn renewed(record: &Record, live: &Fresh<Live>, asked: &BTreeMap<IdentityId, String>) -> Record {
    let record_is_open = record.intent.is_some();
    let mut record = record.clone();
    for (id, repair) in &mut record.repairs {
        if let Some(asked) = asked.get(id).filter(|asked| **asked != repair.asked) {
            repair.rounds = 0;
            repair.asked.clone_from(asked);
        }
        // While a request may still arrive, it may yet be taken off by it.
        repair.awaited &= record_is_open || !live.has(id);
    }
    record
}

/// A short text that changes with what is said.
#[must_use]
pub fn fingerprint(said: &str) -> String {
    BASE32_NOPAD.encode(&Sha256::digest(said.as_bytes())[..10]).to_ascii_lowercase()
}

/// Since when this process has been seeing which entries dead, without a break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    since: BTreeMap<IdentityId, Moment>,
}

impl Suspects {
    /// What was taken off is forgotten: put on again, it is suspected anew.
    pub fn forget_absent(&mut self, live: &Live) {
        self.since.retain(|id, _| live.has(id));
    }

    /// These entries, and no others, are dead now.
    pub fn see(&mut self, dead: &BTreeSet<IdentityId>, now: Moment) {
        self.since.retain(|id, _| dead.contains(id));
        for id in dead {
            self.since.entry(id.clone()).or_insert(now);
        }
    }

    /// What has to look dead for longer, and how much longer. `failed`: when an operation of ours ended badly.
    #[must_use]
    pub fn settling(&self, record: &Record, failed: Option<Moment>, now: Moment) -> BTreeMap<IdentityId, Duration> {
        let after_failure = failed.map(|failed| AFTER_A_FAILURE.saturating_sub(now.since(failed))).unwrap_or_default();
        let left = |(id, since): (&IdentityId, &Moment)| {
            // After the last round there is only something to tell.
            let rounds = record.repairs.get(id).map_or(0, |repair| repair.rounds % ROUNDS);
            let whole = CONFIRMED_AFTER.saturating_mul(3u32.saturating_pow(rounds));
            (id.clone(), whole.saturating_sub(now.since(*since)).max(after_failure))
        };
        self.since.iter().map(left).filter(|(_, left)| !left.is_zero()).collect()
    }
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown.as_deref().unwrap_or("none");
        let own = self.own.as_deref().unwrap_or("none");
        match self.stays {
            Stays::Confirming => f.write_str("its entry on the machine looks dead; it is looked at again in a moment"),
            Stays::Deleted => f.write_str(
                "the identity was deleted, and its entry on the machine is dead; create the identity again, or undeclare it",
            ),
            Stays::Hidden => f.write_str(
                "the machine shows no principal for it: its entry there is dead, and whether the identity exists cannot be \
                 read; see that it exists, and grant Managed Identity Operator on its group",
            ),
            Stays::NotAsked => write!(
                f,
                "the identity was deleted and created again (its principal is {own}, the machine shows {shown}): its entry \
                 there is dead, and not Lanyard's; set repair to true on this entry to have it removed and attached again"
            ),
            Stays::TriedInVain => write!(
                f,
                "its entry on the machine was removed and attached again {ROUNDS} times and is still dead (its principal is \
                 {own}, the machine shows {shown}); annotate the assignment with lanyard.dev/reconcile-at to have it tried \
                 again"
            ),
        }
    }
}
