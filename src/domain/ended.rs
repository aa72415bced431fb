//! What a read of the machine says of the operation that our PATCH began.
//!
//! A read costs what a poll costs, and where it shows the end nothing has to be read again: that is made use of where
//! requests are scarce. It is believed only where
//! it shows what nothing but success explains: the `ETag` that our PATCH was answered with, no operation, and for each id
//! that was blank in that answer the principal that ARM fills in at the end. Everything else is asked of the operation.
use crate::evidence::Fresh;
use crate::live::{ETag, Live, Principal, Provisioning, UniqueId};
use crate::patch::Patch;
use std::collections::BTreeSet;

/// How the end of our write will show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    unique_id: UniqueId,
    etag: ETag,
    added: BTreeSet<crate::IdentityId>,
}

/// What a read shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The operation has succeeded, and this is what it left.
    Ended(Fresh<Live>),
    /// It goes on, or the read is older than our write.
    Running,
    /// Ask the operation.
    Unclear,
}

impl Sign {
    /// From the patch and ARM's answer to it. None: only the operation can tell.
    ///
    /// A removal leaves nothing behind to know its success by, and neither does what the answer showed whole already.
    #[must_use]
    pub fn of(patch: &Patch, answer: Option<&Live>) -> Option<Self> {
        let answer = answer?;
        let added: BTreeSet<_> = patch.added().cloned().collect();
        let only_adds = patch.removals() == 0 && patch.system.is_none() && !added.is_empty();
        let blank = added.iter().all(|id| answer.user.get(id).is_some_and(is_blank));
        if !only_adds || !blank || answer.provisioning != Provisioning::Running {
            return None;
        }
        Some(Self { unique_id: answer.unique_id.clone()?, etag: answer.etag.clone()?, added })
    }

    /// Judges a read that was begun after the answer. `before`: the state that the patch was planned from.
    #[must_use]
    pub fn seen(&self, live: Live, before: Option<&ETag>) -> Look {
        if live.unique_id.as_ref() != Some(&self.unique_id) {
            return Look::Unclear;
        }
        let same = live.etag.as_ref() == Some(&self.etag);
        let older = live.etag.is_some() && live.etag.as_ref() == before;
        let filled = self.added.iter().all(|id| live.user.get(id).is_some_and(|principal| !is_blank(principal)));
        match live.provisioning {
            Provisioning::Succeeded if same && filled => Look::Ended(Fresh::ended(live)),
            Provisioning::Running if same => Look::Running,
            Provisioning::Succeeded | Provisioning::Running if older => Look::Running,
            Provisioning::Succeeded | Provisioning::Running | Provisioning::Failed | Provisioning::Deleting => {
                Look::Unclear
            }
        }
    }
}

fn is_blank(principal: &Principal) -> bool {
    principal.principal_id.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::{Edit, IdentityType};
    use crate::record::Switch;
    use crate::{IdentityId, SystemIdentity};
    use std::collections::BTreeMap;

    fn id(name: &str) -> IdentityId {
        let place = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/ids";
        let id = format!("{place}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}");
        id.parse().expect("an id")
    }

    fn patch(edits: &[(&str, Edit)], system: Option<Switch>) -> Patch {
        let edits: BTreeMap<_, _> = edits.iter().map(|(name, edit)| (id(name), *edit)).collect();
        Patch { if_match: Some(ETag("\"1\"".into())), identity_type: IdentityType::User, edits, system }
    }

    fn live(etag: u32, provisioning: Provisioning, user: &[(&str, Option<&str>)]) -> Live {
        let principal = |it: Option<&str>| Principal { principal_id: it.map(Into::into), client_id: None };
        Live {
            unique_id: Some(UniqueId("m1".into())),
            etag: Some(ETag(format!("\"{etag}\""))),
            user: user.iter().map(|(name, it)| (id(name), principal(*it))).collect(),
            provisioning,
            ..Live::default()
        }
    }

    fn sign() -> Sign {
        let answer = live(2, Provisioning::Running, &[("old", Some("p0")), ("blob", None)]);
        Sign::of(&patch(&[("blob", Edit::Attach)], None), Some(&answer)).expect("a sign")
    }

    fn seen(live: Live) -> Look {
        sign().seen(live, Some(&ETag("\"1\"".into())))
    }

    #[test]
    fn an_end_that_only_success_explains_is_believed() {
        let end = live(2, Provisioning::Succeeded, &[("old", Some("p0")), ("blob", Some("p1"))]);
        assert!(matches!(seen(end.clone()), Look::Ended(fresh) if *fresh == end));
    }

    #[test]
    fn what_goes_on_or_is_older_is_looked_at_again() {
        assert_eq!(seen(live(2, Provisioning::Running, &[("blob", None)])), Look::Running);
        assert_eq!(seen(live(1, Provisioning::Succeeded, &[("old", Some("p0"))])), Look::Running);
    }

    #[test]
    fn all_else_is_asked_of_the_operation() {
        let whole = [("old", Some("p0")), ("blob", Some("p1"))];
        let other = Live { unique_id: Some(UniqueId("m2".into())), ..live(2, Provisioning::Succeeded, &whole) };
        let nameless = Live { unique_id: None, ..live(2, Provisioning::Succeeded, &whole) };
        let unguarded = Live { etag: None, ..live(2, Provisioning::Succeeded, &whole) };
        let cases = [
            live(2, Provisioning::Failed, &whole),
            live(2, Provisioning::Deleting, &whole),
            live(3, Provisioning::Succeeded, &whole),
            live(3, Provisioning::Running, &whole),
            live(2, Provisioning::Succeeded, &[("old", Some("p0")), ("blob", None)]),
            live(2, Provisioning::Succeeded, &[("old", Some("p0"))]),
            other,
            nameless,
            unguarded,
        ];
        for case in cases {
            assert_eq!(seen(case.clone()), Look::Unclear, "{case:?}");
        }
    }

    #[test]
    fn a_removal_a_switch_and_an_answer_that_is_whole_show_no_sign() {
        let blank = live(2, Provisioning::Running, &[("blob", None)]);
        let adds = [("blob", Edit::Attach)];
        let sign = |patch: &Patch, answer: &Live| Sign::of(patch, Some(answer));
        assert!(sign(&patch(&adds, None), &blank).is_some());
        assert_eq!(sign(&patch(&[("blob", Edit::Attach), ("old", Edit::Detach)], None), &blank), None);
        assert_eq!(sign(&patch(&adds, Some(Switch::On)), &blank), None);
        assert_eq!(sign(&patch(&[], None), &blank), None);
        assert_eq!(sign(&patch(&adds, None), &live(2, Provisioning::Running, &[("blob", Some("p1"))])), None);
        assert_eq!(sign(&patch(&adds, None), &live(2, Provisioning::Succeeded, &[("blob", None)])), None);
        assert_eq!(sign(&patch(&adds, None), &Live { etag: None, ..blank.clone() }), None);
        assert_eq!(sign(&patch(&adds, None), &Live { unique_id: None, ..blank.clone() }), None);
        let with_system = Live { system: Some(SystemIdentity::default()), ..blank };
        assert!(sign(&patch(&adds, None), &with_system).is_some());
        assert_eq!(Sign::of(&patch(&adds, None), None), None);
    }
}
