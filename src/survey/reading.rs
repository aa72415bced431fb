//! Reads what many machines have with the fewest calls: by lists where one shows several, else one by one.
use super::identities::Seen;
use super::live::{Found, Lookup, Missing, group_key};
use crate::arm::{Arm, ArmError, Asked, Listed, Missing as Lacking, chain};
use crate::domain::pace::Class;
use crate::domain::sweep::{Demand, Kind, Known, Scope};
use crate::domain::{IdentityId, Live, MachineKind, Own, TargetId};
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Reads under way at once.
const TOGETHER: usize = 16;

/// What time may mend is tried so often.
const TRIES: u32 = 4;

/// What may be waited for a budget, in all, before a read is given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// No subscription has so many pages: a list that goes on for ever is broken.
const MOST_PAGES: usize = 10_000;

/// Is told what goes on.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// Reads, and never writes.
#[derive(Clone)]
pub struct Reader {
    arm: Arm,
    tell: Tell,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("arm", &self.arm).finish_non_exhaustive()
    }
}

impl Reader {
    #[must_use]
    pub fn new(arm: Arm, tell: Tell) -> Self {
        Self { arm, tell }
    }

    #[must_use]
    pub fn arm(&self) -> &Arm {
        &self.arm
    }

    /// What is known of these machines.
    ///
    /// # Errors
    /// What all reads would end with: no token, no connection. Whatever concerns one machine is in its place.
    pub async fn look(&self, targets: &BTreeSet<TargetId>) -> Result<Lookup, ArmError> {
        let mut demand = Demand::default();
        for target in targets {
            demand.at_rest(target, Duration::from_secs(1));
        }
        let scopes: Vec<Scope> = demand.lists(|_| Known::Unasked).into_keys().collect();
        let mut listed = BTreeMap::new();
        let mut lists = stream::iter(scopes).map(|scope| self.list(scope)).buffer_unordered(TOGETHER);
        while let Some(list) = lists.next().await {
            match list {
                Ok(machines) => listed.extend(machines),
                Err(error) if is_everybodys(&error) => return Err(error),
                // Each machine is read by itself.
                Err(error) => tracing::info!(error = chain(&error), "a list cannot be had"),
            }
        }
        let (known, missing): (Vec<&TargetId>, Vec<&TargetId>) =
            targets.iter().partition(|target| listed.contains_key(*target));
        let mut machines: BTreeMap<TargetId, Found> = BTreeMap::new();
        for target in known {
            machines.extend(listed.remove(target).map(|live| (target.clone(), Ok(live))));
        }
        machines.extend(self.one_by_one(missing).await?);
        Ok(Lookup { machines, ..Lookup::default() })
    }

    async fn one_by_one(&self, targets: Vec<&TargetId>) -> Result<BTreeMap<TargetId, Found>, ArmError> {
        let (mut read, all) = (BTreeMap::new(), targets.len());
        let mut reads = stream::iter(targets)
            .map(async |target| (target.clone(), patiently(|| self.arm.machine(target)).await))
            .buffer_unordered(TOGETHER);
        while let Some((target, answer)) = reads.next().await {
            let found = match answer {
                Ok(live) => Ok(live),
                Err(ArmError::NotFound { .. }) => Err(Missing::NotThere),
                Err(error) if is_everybodys(&error) => return Err(error),
                Err(error) => Err(Missing::Unread(chain(&error))),
            };
            read.insert(target, found);
            (self.tell)(format!("read {} of {all} machines", read.len()));
        }
        Ok(read)
    }

    /// All machines of a list.
    ///
    /// # Errors
    /// Whatever ARM says instead, and a list without an end.
    pub async fn list(&self, scope: Scope) -> Result<BTreeMap<TargetId, Live>, ArmError> {
        let machines = self.entries(scope).await?.into_iter().filter_map(|entry| match entry {
            Listed::Machine(target, live) => Some((target, *live)),
            Listed::Identity(..) => None,
        });
        Ok(machines.collect())
    }

    async fn entries(&self, scope: Scope) -> Result<Vec<Listed>, ArmError> {
        let mut entries = Vec::new();
        let (mut next, mut seen) = (None, HashSet::new());
        loop {
            let page = patiently(|| self.arm.list(&scope, next.as_ref())).await?;
            entries.extend(page.entries);
            (self.tell)(format!("listed {} {scope}", entries.len()));
            match page.next.transpose()? {
                None => return Ok(entries),
                Some(page) if seen.len() < MOST_PAGES && seen.insert(page.clone()) => next = Some(page),
                Some(_) => {
                    let why = "the list names a page twice, or has no end".to_owned();
                    return Err(ArmError::AnswerUnreadable { asked: scope.to_string(), why });
                }
            }
        }
    }

    /// All machines of both kinds in a subscription, or in one of its groups.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn all(&self, subscription: &str, group: Option<&str>) -> Result<BTreeMap<TargetId, Live>, ArmError> {
        let mut machines = BTreeMap::new();
        for kind in [MachineKind::VirtualMachine, MachineKind::ScaleSet] {
            let group = group.map(|group| group.to_lowercase().into());
            let scope = Scope { subscription: subscription.to_lowercase().into(), group, kind: Kind::Machines(kind) };
            machines.extend(self.list(scope).await?);
        }
        Ok(machines)
    }

    /// All user-assigned identities in a subscription, or in one of its groups.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn all_identities(
        &self,
        subscription: &str,
        group: Option<&str>,
    ) -> Result<BTreeSet<IdentityId>, ArmError> {
        let group = group.map(|group| group.to_lowercase().into());
        let scope = Scope { subscription: subscription.to_lowercase().into(), group, kind: Kind::Identities };
        let identities = self.entries(scope).await?.into_iter().filter_map(|entry| match entry {
            Listed::Identity(id, _) => Some(id),
            Listed::Machine(..) => None,
        });
        Ok(identities.collect())
    }

    /// What ARM says of identities that are objects.
    ///
    /// # Errors
    /// What all reads would end with.
    pub async fn objects(&self, ids: BTreeSet<IdentityId>) -> Result<BTreeMap<IdentityId, Seen>, ArmError> {
        let mut asked = stream::iter(ids)
            .map(async |id| (patiently(|| self.arm.user_identity(&id)).await, id))
            .buffer_unordered(TOGETHER);
        let mut seen = BTreeMap::new();
        while let Some((answer, id)) = asked.next().await {
            let said = match answer {
                Ok(known) => Seen::There(known),
                Err(ArmError::NotFound { missing: Lacking::Group, .. }) => Seen::NoGroup,
                Err(ArmError::NotFound { .. }) => Seen::Missing,
                Err(error) if is_everybodys(&error) => return Err(error),
                Err(error) => Seen::Unread(chain(&error)),
            };
            seen.insert(id, said);
            (self.tell)(format!("read {} identities", seen.len()));
        }
        Ok(seen)
    }

    /// Who manages the resource groups of these machines; of a group that may not be read nothing is known.
    pub async fn groups(&self, targets: impl Iterator<Item = &TargetId>) -> BTreeMap<String, Option<String>> {
        let one_each: BTreeMap<String, &TargetId> = targets.map(|target| (group_key(target), target)).collect();
        let asked = stream::iter(one_each)
            .map(async |(key, target)| (key, patiently(|| self.arm.group_managed_by(target)).await))
            .buffer_unordered(TOGETHER);
        asked.filter_map(async |(key, answer)| Some((key, answer.ok()?))).collect().await
    }

    /// What identities say of themselves.
    pub async fn identities(&self, ids: BTreeSet<IdentityId>) -> BTreeMap<IdentityId, Own> {
        let all = ids.len();
        let asked = stream::iter(ids)
            .map(async |id| {
                let own = match patiently(|| self.arm.identity(&id)).await {
                    Ok(Asked::There(principal)) => principal.principal_id.map_or(Own::Untold, Own::There),
                    Ok(Asked::Missing) => Own::Missing,
                    Ok(Asked::Hidden) | Err(_) => Own::Untold,
                };
                (id, own)
            })
            .buffer_unordered(TOGETHER);
        (self.tell)(format!("asking {all} identities"));
        asked.collect().await
    }
}

/// What concerns no machine in particular: everything else would end alike.
fn is_everybodys(error: &ArmError) -> bool {
    matches!(
        error,
        ArmError::CredentialUnavailable(_)
            | ArmError::CredentialRejected(_)
            | ArmError::WrongTenant(_)
            | ArmError::Unreachable(_)
    )
}

/// Asks again where time may help. For reads alone.
///
/// # Errors
/// What was said last.
pub async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, ArmError>
where
    F: Future<Output = Result<T, ArmError>>,
{
    let (mut failed, mut waited) = (0, Duration::ZERO);
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let wait = match error.class() {
            Class::Throttled(pause) if waited + pause <= LONGEST_PAUSE => pause.max(Duration::from_millis(100)),
            Class::Transient if failed + 1 < TRIES => {
                failed += 1;
                Duration::from_millis(250 << failed)
            }
            Class::Throttled(_)
            | Class::Transient
            | Class::Replan
            | Class::Refused
            | Class::Waiting
            | Class::Defect => return Err(error),
        };
        waited += wait;
        tokio::time::sleep(wait).await;
    }
}
