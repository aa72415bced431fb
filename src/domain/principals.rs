//! Principals as last seen: an identity that was deleted and made again is another one under the old name.
//!
//! What was seen is kept with the view of the machine, so that it outlives the process. A blank principal is no
//! change: it reads so while an operation runs, and when the identity behind the id is gone.
use crate::ids::IdentityId;
use crate::judge::Note;
use crate::live::Live;
use crate::record::Record;
use std::collections::BTreeMap;

/// The principal of one identity, and the one that it had before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    pub principal: Option<String>,
    /// Seen before. Where there is another one now, every role assignment of this one is void.
    pub previous: Option<String>,
}

impl Seen {
    /// Another principal than before.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.principal.is_some() && self.previous.is_some()
    }

    fn last(&self) -> Option<&String> {
        self.principal.as_ref().or(self.previous.as_ref())
    }

    /// After one more look, and the principal that is no more if that is news.
    fn after(&self, told: Option<&String>) -> (Self, Option<String>) {
        let Some(told) = told else {
            return (Self { principal: None, previous: self.last().cloned() }, None);
        };
        if self.principal.as_ref() == Some(told) {
            return (self.clone(), None);
        }
        let old = self.last().filter(|last| *last != told).cloned();
        (Self { principal: Some(told.clone()), previous: old.clone() }, old)
    }
}

/// The principals of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals {
    pub system: Seen,
    pub user: BTreeMap<IdentityId, Seen>,
}

impl Principals {
    /// What the record knows of what we attached, where a view was lost.
    #[must_use]
    pub fn completed(mut self, record: &Record) -> Self {
        let fill = |seen: &mut Seen, principal: &Option<String>| {
            if seen.last().is_none() {
                seen.principal.clone_from(principal);
            }
        };
        for (id, attached) in &record.attached {
            fill(self.user.entry(id.clone()).or_default(), &attached.principal_id);
        }
        if let Some(system) = &record.system {
            fill(&mut self.system, &system.principal_id);
        }
        self
    }

    /// After a look at the machine while no operation runs. What is off the machine keeps what was last seen of it.
    #[must_use]
    pub fn after(&self, live: &Live) -> (Self, Vec<Note>) {
        let mut notes = Vec::new();
        let mut look = |id: Option<&IdentityId>, seen: &Seen, told: Option<&String>| {
            let (seen, old) = seen.after(told);
            let note = |old| Note::PrincipalChanged { id: id.cloned(), old, new: told.cloned().unwrap_or_default() };
            notes.extend(old.map(note));
            seen
        };
        let on = live.system.as_ref().and_then(|system| system.principal_id.as_ref());
        let system = look(None, &self.system, on);
        let mut user = BTreeMap::new();
        for id in live.user.keys().chain(self.user.keys()) {
            let before = self.user.get(id).cloned().unwrap_or_default();
            let told = live.user.get(id).and_then(|principal| principal.principal_id.as_ref());
            user.entry(id.clone()).or_insert_with(|| look(Some(id), &before, told));
        }
        (Self { system, user }, notes)
    }

    /// A person knows: only what is there now is kept.
    #[must_use]
    pub fn acknowledged(self) -> Self {
        let known = |seen: Seen| match seen.principal {
            Some(_) => Seen { previous: None, ..seen },
            None => seen,
        };
        Self { system: known(self.system), user: self.user.into_iter().map(|(id, seen)| (id, known(seen))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Principal, SystemIdentity};
    use rstest::rstest;

    fn seen(text: &str) -> Seen {
        let (principal, previous) = text.split_once('<').unwrap_or((text, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Seen { principal: some(principal), previous: some(previous) }
    }

    #[rstest]
    #[case::first_sight("", "p", "p", None)]
    #[case::as_it_was("p", "p", "p", None)]
    #[case::another("p", "q", "q<p", Some("p"))]
    #[case::told_once("q<p", "q", "q<p", None)]
    #[case::and_another("q<p", "r", "r<q", Some("q"))]
    #[case::blank("p", "", "<p", None)]
    #[case::blank_still("<p", "", "<p", None)]
    #[case::back_from_blank("<p", "p", "p", None)]
    #[case::another_after_blank("<p", "q", "q<p", Some("p"))]
    fn a_change_is_told_once(
        #[case] before: &str,
        #[case] told: &str,
        #[case] after: &str,
        #[case] news: Option<&str>,
    ) {
        let told = (!told.is_empty()).then(|| told.to_owned());
        assert_eq!(seen(before).after(told.as_ref()), (seen(after), news.map(str::to_owned)));
    }

    fn live(system: Option<&str>, user: &[(&str, &str)]) -> Live {
        let principal = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let system = system.map(|text| SystemIdentity { principal_id: principal(text), tenant_id: None });
        let user = user.iter().map(|(id, text)| {
            (IdentityId::told_by_arm(id), Principal { principal_id: principal(text), client_id: None })
        });
        Live { system, user: user.collect(), ..Live::default() }
    }

    #[test]
    fn what_went_off_and_came_back_as_another_is_noticed() {
        let (before, none) = Principals::default().after(&live(Some("s"), &[("a", "p"), ("b", "")]));
        assert!(none.is_empty(), "first sight: {none:?}");
        let (off, none) = before.after(&live(None, &[("b", "x")]));
        assert!(none.is_empty(), "{none:?}");
        let (back, notes) = off.after(&live(Some("t"), &[("a", "q"), ("b", "x")]));
        let changed = |id: Option<&str>, old: &str, new: &str| Note::PrincipalChanged {
            id: id.map(IdentityId::told_by_arm),
            old: old.into(),
            new: new.into(),
        };
        assert_eq!(notes, [changed(None, "s", "t"), changed(Some("a"), "p", "q")]);
        assert_eq!(back.after(&live(Some("t"), &[("a", "q"), ("b", "x")])).1, []);
        assert!(back.system.has_changed());
        let known = back.acknowledged();
        assert!(!known.system.has_changed() && known.user.values().all(|seen| !seen.has_changed()));
    }

    #[test]
    fn the_record_stands_in_where_the_view_was_lost() {
        let target = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web";
        let mut record = Record::empty(target.parse().expect("an id"));
        let attached = crate::record::Attached { principal_id: Some("p".into()), ..Default::default() };
        record.attached.insert(IdentityId::told_by_arm("a"), attached);
        let (_, notes) = Principals::default().completed(&record).after(&live(None, &[("a", "q")]));
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}
