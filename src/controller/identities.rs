//! What identities say of themselves: asked seldom and for all targets together, at once where an entry looks dead.
//!
//! A machine may go on showing the principal of an identity that was deleted and made again, so that only the identity
//! can tell. What it says is a hint while it is young, and evidence only if it was asked after the machine was read.
use super::context::Context;
use super::queue::Urgency;
use super::visit::Visit;
use crate::api::RECONCILE_AT;
use crate::arm::{Arm, Asked, chain};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::dangling::{Suspects, fingerprint, is_dead, renewed};
use lanyard_domain::judge::Outcome;
use lanyard_domain::{Claim, Claims, Complete, Identities, IdentityId, Live, Moment, Own};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long an identity's answer is a hint. Roles of the old principal are void the moment it goes: hours would be long.
pub const GOOD_FOR: Duration = Duration::from_secs(60 * 60);

/// Questions that nothing calls for, over all targets: so many at once, then two a second, of the 25 that ARM refills.
const ROUTINE_AT_ONCE: f64 = 20.0;
const ROUTINE_A_SECOND: f64 = 2.0;

/// On behalf of one visit.
const TOGETHER: usize = 8;
const NO_LONGER_THAN: Duration = Duration::from_secs(10);

/// What one target remembers of the dead.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub suspects: Suspects,
    /// What people asked to be looked at when it was last done; none before the first look.
    looked_at: Option<Vec<String>>,
    /// When the first of those that look dead may be believed.
    pub confirmed_in: Option<Duration>,
}

/// The answers, shared by all targets.
#[derive(Debug)]
pub struct Answers {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    known: HashMap<IdentityId, Known>,
    routine: f64,
    filled: Moment,
}

#[derive(Clone, Debug)]
struct Known {
    asked: Moment,
    /// None: somebody is asking, or asked in vain.
    own: Option<Own>,
}

impl Default for Answers {
    fn default() -> Self {
        let inner = Inner { known: HashMap::new(), routine: ROUTINE_AT_ONCE, filled: Moment::default() };
        Self { inner: Mutex::new(inner) }
    }
}

impl Answers {
    fn with<T>(&self, then: impl FnOnce(&mut Inner) -> T) -> T {
        then(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn young(&self, id: &IdentityId, now: Moment) -> Option<Known> {
        self.with(|inner| inner.known.get(id).filter(|known| now.since(known.asked) < GOOD_FOR).cloned())
    }

    /// Whether nobody has asked for an hour, and it is our turn. Whoever is told so asks.
    fn is_due(&self, id: &IdentityId, now: Moment) -> bool {
        self.with(|inner| {
            if inner.known.get(id).is_some_and(|known| now.since(known.asked) < GOOD_FOR) {
                return false;
            }
            let gained = now.since(inner.filled).as_secs_f64() * ROUTINE_A_SECOND;
            (inner.routine, inner.filled) = ((inner.routine + gained).min(ROUTINE_AT_ONCE), now);
            let turn = inner.routine >= 1.0;
            if turn {
                inner.routine -= 1.0;
                inner.known.retain(|_, known| now.since(known.asked) < GOOD_FOR);
                inner.known.insert(id.clone(), Known { asked: now, own: None });
            }
            turn
        })
    }

    /// What a list shows of an identity. It may lag: it confirms what is known, and where it says otherwise the identity
    /// itself has to tell.
    pub fn learn_from_list(&self, id: &IdentityId, principal: String, asked: Moment) {
        let shown = Own::There(principal);
        self.with(|inner| match inner.known.get(id) {
            Some(known) if known.asked >= asked => {}
            Some(Known { own: Some(own), .. }) if *own != shown => {
                inner.known.remove(id);
            }
            Some(_) | None => {
                inner.known.insert(id.clone(), Known { asked, own: Some(shown) });
            }
        });
    }

    /// What an identity said of itself to somebody who asked.
    pub fn learn(&self, id: &IdentityId, own: &Own, asked: Moment) {
        let own = match own {
            Own::There(_) | Own::Missing => Some(own.clone()),
            Own::Untold => None,
        };
        self.with(|inner| inner.known.insert(id.clone(), Known { asked, own }));
    }
}

/// After a read of the machine: what was known of the identities is a hint now, and the record's counts are brought up to date.
pub fn begin(visit: &mut Visit) {
    visit.identities = Identities::default();
    let asked = wishes(visit);
    if let Some(live) = &visit.live {
        visit.record = renewed(&visit.record, live, &asked);
        visit.memory.watch.suspects.forget_absent(live);
    }
}

/// Asks the declared identities that are on the machine, where there is reason to. Errors tell nothing and are no trouble.
pub async fn look(context: &Context, visit: &mut Visit, claims: &Complete<Claims>) {
    let Some(live) = visit.live.as_deref() else { return };
    let declared: BTreeSet<&IdentityId> = claims.present().into_iter().filter(|id| live.has(id)).collect();
    let (looked_at, now) = (looked_at(visit), context.now());
    let told_to = visit.memory.watch.looked_at.as_ref().is_some_and(|known| *known != looked_at);
    let to_ask: Vec<IdentityId> =
        declared.iter().filter(|id| is_to_ask(context, live, id, told_to)).map(|id| (*id).clone()).collect();
    let fresh = ask(context, to_ask, visit.urgency()).await;
    let (own, hints) = sorted(context, &declared, live, fresh);
    let dead = declared.iter().filter(|id| is_dead(id, live, own.get(**id))).map(|id| (*id).clone()).collect();
    let protocol = &visit.memory.protocol;
    let failed = protocol.sent.as_ref().filter(|sent| sent.outcome == Outcome::Failed);
    let failed = failed.and(protocol.last_write_ended);
    let watch = &mut visit.memory.watch;
    watch.suspects.see(&dead, now);
    watch.looked_at = Some(looked_at);
    let settling = watch.suspects.settling(&visit.record, failed, now);
    watch.confirmed_in = settling.values().min().copied();
    visit.identities = Identities::new(own, settling.into_keys().chain(hints).collect());
}

/// Whether a declared identity on the machine looks dead, by what is remembered of it: a hint.
pub fn looks_dead(context: &Context, live: &Live, claims: &Complete<Claims>) -> bool {
    let now = context.now();
    claims.present().into_iter().filter(|id| live.has(id)).any(|id| {
        let known = context.identities.young(id, now).and_then(|known| known.own);
        is_dead(id, live, known.as_ref())
    })
}

/// Blank, or another than it last said of itself; else once an hour, or when a person wants it looked at.
fn is_to_ask(context: &Context, live: &Live, id: &IdentityId, told_to: bool) -> bool {
    let now = context.now();
    let known = context.identities.young(id, now).and_then(|known| known.own);
    let blank = live.user.get(id).is_some_and(|principal| principal.principal_id.is_none());
    told_to || blank || is_dead(id, live, known.as_ref()) || context.identities.is_due(id, now)
}

/// Asks those of whom nothing was heard for an hour, as many as are their turn.
pub async fn routine(context: &Context, ids: Vec<IdentityId>) {
    let due = ids.into_iter().filter(|id| context.identities.is_due(id, context.now())).collect();
    ask(context, due, Urgency::Drift).await;
}

/// All answers within a short while; the rest is asked another time.
async fn ask(context: &Context, ids: Vec<IdentityId>, urgency: Urgency) -> BTreeMap<IdentityId, Own> {
    let until = Instant::now() + NO_LONGER_THAN;
    let arm = &context.arm.at(urgency);
    let mut own: BTreeMap<IdentityId, Own> = ids.iter().map(|id| (id.clone(), Own::Untold)).collect();
    let mut answers = futures::stream::iter(ids)
        .map(|id| async move {
            let asked = context.now();
            let own = own_word(arm, &id).await;
            context.identities.learn(&id, &own, asked);
            (id, own)
        })
        .buffer_unordered(TOGETHER);
    while let Ok(Some((id, answer))) = timeout_at(until, answers.next()).await {
        own.insert(id, answer);
    }
    own
}

async fn own_word(arm: &Arm, id: &IdentityId) -> Own {
    match arm.identity(id).await {
        Ok(Asked::There(principal)) => principal.principal_id.map_or(Own::Untold, Own::There),
        Ok(Asked::Missing) => Own::Missing,
        Ok(Asked::Hidden) => Own::Untold,
        Err(error) => {
            tracing::debug!(identity = %id, error = chain(&error), "the identity itself could not be asked");
            Own::Untold
        }
    }
}

/// What this visit heard, and, of what it could not hear, what was said before: that is no evidence, but keeps a dead
/// entry from looking alive for the time of an error.
fn sorted(
    context: &Context,
    declared: &BTreeSet<&IdentityId>,
    live: &Live,
    mut own: BTreeMap<IdentityId, Own>,
) -> (BTreeMap<IdentityId, Own>, BTreeSet<IdentityId>) {
    let mut hints = BTreeSet::new();
    for id in declared.iter().copied() {
        let heard = own.get(id).is_some_and(|own| *own != Own::Untold);
        let hint = context.identities.young(id, context.now()).and_then(|known| known.own);
        if let (false, Some(hint)) = (heard, hint)
            && is_dead(id, live, Some(&hint))
        {
            hints.insert(id.clone());
            own.insert(id.clone(), hint);
        }
    }
    (own, hints)
}

/// For each id that is declared present, a fingerprint of what people ask about it: it changes when they ask anew.
pub fn wishes(visit: &Visit) -> BTreeMap<IdentityId, String> {
    let target = visit.stored.iter().map(|stored| reconcile_at(&stored.metadata)).collect::<String>();
    let staying = visit.read.iter().filter(|read| read.claim.leaving.is_none());
    let each = staying.map(|read| (&read.claim, reconcile_at(&read.object.metadata)));
    fingerprints(each.collect(), &target)
}

/// Of the entry itself and of what is asked for by annotation: what else the same object declares is another matter.
fn fingerprints(mut said_by: Vec<(&Claim, String)>, target: &str) -> BTreeMap<IdentityId, String> {
    let mut said: BTreeMap<IdentityId, String> = BTreeMap::new();
    said_by.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    for (claim, at) in said_by {
        for id in claim.present() {
            let entry = format!("{} {} {at}\n", claim.key.uid, claim.repair.contains(id));
            said.entry(id.clone()).or_default().push_str(&entry);
        }
    }
    said.into_iter().map(|(id, said)| (id, fingerprint(&(said + target)))).collect()
}

fn looked_at(visit: &Visit) -> Vec<String> {
    let assignments = visit.read.iter().map(|read| &read.object.metadata);
    let mut all: Vec<String> =
        assignments.chain(visit.stored.iter().map(|stored| &stored.metadata)).map(reconcile_at).collect();
    all.retain(|at| !at.is_empty());
    all.sort();
    all
}

fn reconcile_at(metadata: &ObjectMeta) -> String {
    metadata.annotations.as_ref().and_then(|all| all.get(RECONCILE_AT)).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> IdentityId {
        IdentityId::told_by_arm(name)
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn an_identity_is_asked_once_an_hour_for_all_targets() {
        let answers = Answers::default();
        assert!(answers.is_due(&id("a"), at(1)));
        assert!(!answers.is_due(&id("A"), at(1)), "somebody is asking");
        answers.learn(&id("a"), &Own::There("p".into()), at(1));
        assert_eq!(answers.young(&id("a"), at(3600)).and_then(|known| known.own), Some(Own::There("p".into())));
        assert!(!answers.is_due(&id("a"), at(3600)));
        assert!(answers.is_due(&id("a"), at(3601)));
    }

    #[test]
    fn only_what_is_said_of_the_very_identity_renews_its_repairs() {
        use serde_json::json;
        let name = |name: &str| {
            format!(
                "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
            )
        };
        let print = |generation: i64, spec: serde_json::Value, at: &str| {
            let mut object = json!({
                "metadata": {"namespace": "shop", "name": "web", "uid": "u1", "generation": generation},
                "spec": {"target": {"resourceId": "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web"}},
            });
            for (field, value) in spec.as_object().expect("fields") {
                object["spec"][field] = value.clone();
            }
            let object = serde_json::from_value(object).expect("an assignment");
            let (_, claim) = crate::api::claim::claim(&object).expect("a claim");
            fingerprints(vec![(&claim, at.to_owned())], "").remove(&name("shop-db").parse().expect("an id"))
        };
        let db = json!({"resourceId": name("shop-db")});
        let first = print(1, json!({"userAssigned": [db]}), "");
        assert!(first.is_some());
        let beside = json!({"userAssigned": [db, {"resourceId": name("other")}], "driftInterval": "1m", "deletionPolicy": "Retain"});
        assert_eq!(print(2, beside, ""), first, "an edit of something else");
        let asked = json!({"userAssigned": [{"resourceId": name("shop-db"), "repair": true}]});
        assert_ne!(print(2, asked, ""), first, "the entry itself");
        assert_ne!(print(1, json!({"userAssigned": [db]}), "now"), first, "asked for by annotation");
    }

    #[test]
    fn routine_is_paced_over_all_identities() {
        let answers = Answers::default();
        let due = |from: usize, to: usize, seconds| {
            (from..to).filter(|n| answers.is_due(&id(&format!("id-{n}")), at(seconds))).count()
        };
        assert_eq!(due(0, 100, 1), 20);
        assert_eq!(due(100, 200, 4), 6);
    }

    #[test]
    fn an_error_is_no_answer_and_is_not_asked_again_and_again() {
        let answers = Answers::default();
        assert!(answers.is_due(&id("a"), at(1)));
        answers.learn(&id("a"), &Own::Untold, at(1));
        assert!(answers.young(&id("a"), at(2)).is_some_and(|known| known.own.is_none()));
        assert!(!answers.is_due(&id("a"), at(2)));
    }

    #[test]
    fn a_list_that_lags_never_overrules_what_an_identity_said_of_itself() {
        let answers = Answers::default();
        answers.learn_from_list(&id("a"), "old".into(), at(1));
        assert_eq!(answers.young(&id("a"), at(2)).and_then(|known| known.own), Some(Own::There("old".into())));
        answers.learn(&id("a"), &Own::There("new".into()), at(10));
        answers.learn_from_list(&id("a"), "old".into(), at(9));
        assert_eq!(answers.young(&id("a"), at(11)).and_then(|known| known.own), Some(Own::There("new".into())));
        answers.learn_from_list(&id("a"), "old".into(), at(20));
        assert!(answers.young(&id("a"), at(21)).is_none(), "it is asked itself");
    }
}
