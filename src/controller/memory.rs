//! What this process remembers of a target between visits. Losing it costs time, never an identity.
use super::aside::Asides;
use super::identities::Watch;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::Moment;
use lanyard_domain::contest::Contest;
use lanyard_domain::judge::Memory;
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// An object, its generation, and when it was asked to be looked at.
pub type Asked = (String, Option<i64>, Option<String>);

/// One target's memory.
#[derive(Clone, Debug, Default)]
pub struct TargetMemory {
    pub protocol: Memory,
    /// Ids that ARM refused, each with a backoff of its own.
    pub asides: Asides,
    pub failures: Failures,
    /// Entries that look dead.
    pub watch: Watch,
    /// What somebody keeps undoing.
    pub contest: Contest,
    /// The first of the 404s in a row that say the target is gone.
    pub gone_since: Option<Moment>,
    /// Races lost in a row: somebody else's write came between our read and our write.
    pub races: u32,
    /// Additions and removals were refused together: they go apart.
    pub split: bool,
    /// That a write may start a rollout was said.
    pub rollout_told: bool,
    /// What people asked for when it was last acted on.
    wishes: Vec<Asked>,
    said: Said,
    /// Since when GETs have been showing a state that our last write replaced.
    pub superseded_since: Option<Moment>,
    /// Of its assignments, the versions that we made ourselves.
    pub versions: Versions,
}

/// Versions of objects that our own writes made of those that the watch has shown, by uid: until it shows them too, the
/// next write rests on them.
#[derive(Clone, Debug, Default)]
pub struct Versions(Vec<Made>);

#[derive(Clone, Debug)]
struct Made {
    uid: String,
    of: String,
    now: String,
}

impl Versions {
    /// The version to write on: that of the object as it was shown, or what we made of that one since.
    pub fn latest(&self, shown: &ObjectMeta) -> Option<String> {
        let version = shown.resource_version.as_ref()?;
        let made = self.0.iter().find(|made| Some(&made.uid) == shown.uid.as_ref() && made.of == *version);
        Some(made.map_or(version, |made| &made.now).clone())
    }

    /// A write of ours on the latest version made this of the object as it was shown.
    pub fn made(&mut self, shown: &ObjectMeta, now: Option<String>) {
        if let (Some(uid), Some(of), Some(now)) = (&shown.uid, &shown.resource_version, now) {
            self.0.retain(|made| made.uid != *uid);
            self.0.push(Made { uid: uid.clone(), of: of.clone(), now });
        }
    }

    /// Forgets those objects that are none of the target's any more.
    pub fn keep(&mut self, uids: &BTreeSet<&str>) {
        self.0.retain(|made| uids.contains(made.uid.as_str()));
        self.0.shrink_to_fit();
    }
}

/// Failures since all was well.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    last: Option<(Class, Reason)>,
    in_a_row: u32,
    first_seen: BTreeMap<Reason, Moment>,
}

/// A failure's place among those before it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How many of its class there were in a row, from 1.
    pub times: u32,
    /// When its reason was first seen, since all was well.
    pub reason_since: Moment,
    /// Since when not all has been well.
    pub unwell_since: Moment,
}

impl Failures {
    pub fn count(&mut self, class: Class, reason: Reason, now: Moment) -> Row {
        let same_class = |known: Class| std::mem::discriminant(&known) == std::mem::discriminant(&class);
        self.in_a_row = match self.last {
            Some((known, _)) if same_class(known) => self.in_a_row.saturating_add(1),
            Some(_) | None => 1,
        };
        self.last = Some((class, reason));
        let reason_since = *self.first_seen.entry(reason).or_insert(now);
        let unwell_since = self.first_seen.values().min().copied().unwrap_or(now);
        Row { times: self.in_a_row, reason_since, unwell_since }
    }
}

impl TargetMemory {
    /// ARM refused something for want of a role.
    pub fn waits_for_a_grant(&self) -> bool {
        let lacks = |reason| matches!(reason, Reason::AuthorizationFailed | Reason::AssignRefused);
        self.asides.any_for(lacks) || self.failures.last.is_some_and(|(_, reason)| lacks(reason))
    }

    /// What people ask for, as this visit finds it. If it changed, nobody waits for the end of a backoff.
    pub fn heard(&mut self, wishes: Vec<Asked>, now: Moment) {
        if self.wishes != wishes {
            self.wishes = wishes;
            self.asides.hurry(now);
        }
    }

    /// The objects (by uid) whose spec is another one than when it was last acted on; none at first sight.
    pub fn edited(&self, wishes: &[Asked]) -> BTreeSet<String> {
        let as_it_was = |(uid, generation, _): &&Asked| {
            generation.is_none() || self.wishes.iter().any(|(known, acted, _)| known == uid && acted == generation)
        };
        wishes
            .iter()
            .filter(|asked| !self.wishes.is_empty() && !as_it_was(asked))
            .map(|(uid, ..)| uid.clone())
            .collect()
    }

    /// Somebody asked for a look since.
    pub fn hurried(&self, wishes: &[Asked]) -> bool {
        let known = |asked: &Asked| self.wishes.iter().any(|(uid, _, at)| *uid == asked.0 && *at == asked.2);
        wishes.iter().any(|asked| asked.2.is_some() && !known(asked))
    }

    /// True the first time this is said. The same words again are no news, whatever their ids and numbers,
    /// as long as they are said at every visit.
    pub fn is_news(&mut self, about: &str, note: &str) -> bool {
        self.said.is_news(about, note)
    }

    /// It could not be said: it is news again the next time.
    pub fn unsay(&mut self, about: &str) {
        self.said.unsay(about);
    }

    /// A visit has said all that it has to. If it ended well, what it did not say is over, and would be news again:
    /// while there is trouble, kinds of it that come in turn are each told once.
    pub fn has_spoken(&mut self, ended_well: bool) {
        self.said.has_spoken(ended_well);
    }

    /// Trouble is over: the next one counts anew. What a single id suffers from goes on.
    pub fn all_is_well(&mut self) {
        self.failures = Failures::default();
        self.gone_since = None;
        self.races = 0;
    }
}

/// What was last said in Events about each matter, so that a retry storm is no Event storm.
///
/// As digests: every machine of a fleet has some, and nobody reads them.
#[derive(Clone, Debug, Default)]
pub struct Said(Vec<Saying>);

#[derive(Clone, Copy, Debug)]
struct Saying {
    about: u64,
    essence: u64,
    /// Said since the last visit ended.
    now: bool,
}

impl Said {
    /// Notes it; true if the last words about it were others, or there were none.
    pub fn is_news(&mut self, about: &str, note: &str) -> bool {
        let saying = Saying { about: digest(about), essence: digest(&essence(note)), now: true };
        if let Some(known) = self.0.iter_mut().find(|known| known.about == saying.about) {
            return std::mem::replace(known, saying).essence != saying.essence;
        }
        self.0.reserve_exact(1);
        self.0.push(saying);
        true
    }

    fn unsay(&mut self, about: &str) {
        let about = digest(about);
        self.0.retain(|known| known.about != about);
    }

    fn has_spoken(&mut self, ended_well: bool) {
        self.0.retain_mut(|known| std::mem::take(&mut known.now) || !ended_well);
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A text without the words that hold a digit: correlation ids, times and counts differ from try to try.
pub fn essence(text: &str) -> String {
    let lasting = |word: &&str| !word.bytes().any(|byte| byte.is_ascii_digit()) || word.contains('/');
    text.split_whitespace().filter(lasting).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_same_refusal_under_another_correlation_id_is_no_news() {
        let mut memory = TargetMemory::default();
        let refusal = |id: &str| format!("Lanyard may not write: ARM said 403 (correlation id {id})");
        assert!(memory.is_news("AuthorizationFailed a", &refusal("4f1c")));
        memory.has_spoken(true);
        assert!(!memory.is_news("AuthorizationFailed a", &refusal("77aa")));
        memory.has_spoken(true);
        memory.has_spoken(true);
        assert!(memory.is_news("AuthorizationFailed a", &refusal("77aa")), "it was over, and is back");
    }

    #[test]
    fn kinds_of_trouble_that_come_in_turn_are_each_told_once() {
        let mut memory = TargetMemory::default();
        let mut tell = |about, note, well| {
            let news = memory.is_news(about, note);
            memory.has_spoken(well);
            news
        };
        let first: Vec<bool> = ["ArmFailed", "ArmUnreachable"].map(|about| tell(about, "no answer", false)).into();
        assert_eq!(first, [true, true]);
        for _ in 0..50 {
            assert!(!tell("ArmFailed", "no answer", false) && !tell("ArmUnreachable", "no answer", false));
        }
        assert!(tell("AsDeclared", "all is well", true));
        assert!(tell("ArmFailed", "no answer", false), "it was over, and is back");
    }

    #[test]
    fn a_write_rests_on_what_our_last_one_made_until_the_watch_shows_another_version() {
        let shown = |version: &str| ObjectMeta {
            uid: Some("u1".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        let mut versions = Versions::default();
        assert_eq!(versions.latest(&shown("10")).as_deref(), Some("10"));
        versions.made(&shown("10"), Some("11".into()));
        versions.made(&shown("10"), Some("12".into()));
        versions.made(&shown("10"), None);
        assert_eq!(versions.latest(&shown("10")).as_deref(), Some("12"));
        assert_eq!(versions.latest(&shown("13")).as_deref(), Some("13"), "somebody else wrote");
        versions.keep(&BTreeSet::new());
        assert_eq!(versions.latest(&shown("10")).as_deref(), Some("10"));
    }

    #[test]
    fn reasons_in_turn_are_one_time_of_trouble() {
        let mut failures = Failures::default();
        let at = |seconds| Moment(Duration::from_secs(seconds));
        failures.count(Class::Transient, Reason::ArmFailed, at(1));
        failures.count(Class::Transient, Reason::ArmUnreachable, at(5));
        let row = failures.count(Class::Transient, Reason::ArmFailed, at(9));
        assert_eq!((row.times, row.reason_since, row.unwell_since), (3, at(1), at(1)));
    }
}
