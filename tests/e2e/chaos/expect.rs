//! What must be there once all is settled, held against what is there: on the machine, in the record, in the statuses.

use std::collections::{BTreeMap, BTreeSet};

use lanyard::api::assignment::{Ensure, SystemAssigned};
use lanyard::api::status::{Origin, UserState};
use lanyard::api::{IdentityAssignment, IdentityAssignmentStatus, IdentityTarget};

use super::claims::{Wish, wish};
use super::reference::{Judged, User};
use super::story::{Kind, Spec, Who};
use crate::harness::names_of;

/// What Kubernetes holds about one machine.
pub struct Seen {
    /// Those that the story knows to be there, and those that must be gone.
    pub assignments: BTreeMap<Who, Option<IdentityAssignment>>,
    pub target: Option<IdentityTarget>,
}

impl Seen {
    /// Names of what the record says we attached.
    pub fn attached(&self) -> BTreeSet<String> {
        let attached = self.target.iter().flat_map(|target| &target.record.attached);
        attached.map(|it| names_of([&it.resource_id]).concat().to_lowercase()).collect()
    }
}

impl Judged<'_> {
    /// Nothing is written to an AKS machine that nobody wants managed.
    fn is_refused(&self) -> bool {
        self.kind == Kind::Aks && !self.claims.iter().any(|(_, spec)| spec.manage)
    }

    fn wish(&self, id: &str) -> Wish {
        wish(self.claims.iter().map(|it| it.1), |spec| spec.present(id), |spec| spec.absent(id))
    }

    /// An observer "protects and asks for nothing", and undeclaring "detaches it": which holds for what it undeclared
    /// itself is not settled, so it may stay and go.
    fn may_linger(&self, id: &str) -> bool {
        self.observed.iter().any(|(_, spec)| spec.present(id))
    }

    fn system_wish(&self) -> Wish {
        let is = |what| move |spec: &Spec| spec.system == what;
        wish(self.claims.iter().map(|it| it.1), is(SystemAssigned::Enabled), is(SystemAssigned::Disabled))
    }

    /// What is not on the machine as it must be.
    pub fn wrong_on_machine(&self) -> Vec<String> {
        if !self.exists || self.is_refused() {
            return Vec::new();
        }
        let users = self.users.iter().filter_map(|(id, user)| self.wrong_user(id, *user));
        let system = match self.system_wish() {
            Wish::On if !self.system && self.kind != Kind::Flexible => {
                Some("the system identity must be on".to_owned())
            }
            Wish::Off if self.system => Some("the system identity must be off".to_owned()),
            Wish::On | Wish::Off | Wish::Disputed | Wish::Protected | Wish::Nobodys => None,
        };
        users.chain(system).collect()
    }

    fn wrong_user(&self, id: &str, user: User) -> Option<String> {
        let surely_ours = user.ours.yes && !user.ours.no;
        match self.wish(id) {
            Wish::On if !user.on => Some(format!("{id} must be there")),
            Wish::Off if user.on => Some(format!("{id} must be gone: it is declared Absent")),
            Wish::Nobodys if user.on && surely_ours && !self.may_linger(id) => {
                Some(format!("LEAK: {id} must be gone: we attached it and nobody declares it"))
            }
            Wish::On | Wish::Off | Wish::Disputed | Wish::Protected | Wish::Nobodys => None,
        }
    }

    /// What Kubernetes does not show as it must.
    pub fn wrong_in_kubernetes(&self, seen: &Seen) -> Vec<String> {
        let mut wrong = Vec::new();
        for (who, object) in &seen.assignments {
            let declared = self.claims.iter().find(|it| it.0 == who).map(|it| it.1);
            match (declared, object) {
                (None, Some(_)) => wrong.push(format!("{who} must be gone")),
                (Some(_), None) => wrong.push(format!("{who} must be there")),
                (Some(spec), Some(object)) => wrong.extend(self.wrong_status(who, spec, object, seen)),
                (None, None) => {}
            }
        }
        if self.claims.is_empty() && seen.target.is_some() && self.exists {
            wrong.push("the IdentityTarget must be gone with the last claim".to_owned());
        }
        if self.exists && !self.is_refused() {
            wrong.extend(self.wrong_record(seen));
        }
        wrong
    }

    fn wrong_record(&self, seen: &Seen) -> Vec<String> {
        let attached = seen.attached();
        let mut wrong = Vec::new();
        for (id, user) in &self.users {
            match (user.on, attached.contains(id)) {
                (true, true) if !user.ours.yes => wrong.push(format!("{id} is not ours, and the record says so")),
                (true, false) if !user.ours.no => wrong.push(format!("{id} is ours, and the record does not know")),
                (false, true) => wrong.push(format!("{id} is not on the machine, and the record says so")),
                (true, true) if self.wish(id) == Wish::Nobodys && !self.may_linger(id) => {
                    wrong.push(format!("LEAK: {id} is nobody's, and the record says that it is ours"));
                }
                (true | false, true | false) => {}
            }
        }
        if seen.target.as_ref().is_some_and(|target| target.record.intent.is_some()) {
            wrong.push("a write is unresolved".to_owned());
        }
        wrong
    }

    fn wrong_status(&self, who: &Who, spec: &Spec, object: &IdentityAssignment, seen: &Seen) -> Vec<String> {
        let Some(status) = &object.status else { return vec![format!("{who} has no status")] };
        if status.observed_generation != object.metadata.generation {
            return vec![format!("the status of {who} is about an older generation")];
        }
        let ready = status.conditions.iter().find(|it| it.type_ == "Ready");
        let Some(ready) = ready else { return vec![format!("{who} has no condition Ready")] };
        let mut wrong = Vec::new();
        if let Some(allowed) = self.allowed(who, spec)
            && !allowed.contains(&(ready.status.as_str(), ready.reason.as_str()))
        {
            wrong
                .push(format!("{who} is Ready={} {} ({}), not {allowed:?}", ready.status, ready.reason, ready.message));
        }
        let suspended = status.conditions.iter().any(|it| it.type_ == "Suspended" && it.status == "True");
        if suspended != (spec.stance == super::story::Stance::Suspend) {
            wrong.push(format!("{who} says Suspended={suspended}"));
        }
        if self.exists && !self.is_refused() {
            wrong.extend(self.wrong_entries(who, spec, status, seen));
        }
        if ready.reason == "Conflict" {
            wrong.extend(self.unnamed_opponents(who, spec, &ready.message));
        }
        wrong
    }

    /// What `Ready` may say; None: the settled cases leave it open.
    fn allowed(&self, who: &Who, spec: &Spec) -> Option<Vec<(&'static str, &'static str)>> {
        const READY: (&str, &str) = ("True", "AsDeclared");
        const PENDING: (&str, &str) = ("False", "ChangesPending");
        const CONFLICT: (&str, &str) = ("False", "Conflict");
        if !self.exists {
            // "Gone: twice, 60 s apart": one that was ready may say so until then.
            return Some(vec![("False", "TargetNotFound"), READY, CONFLICT, PENDING]);
        }
        if self.is_refused() {
            return Some(vec![("False", "ManagedByAKS")]);
        }
        let unsupported = self.kind == Kind::Flexible && spec.system == SystemAssigned::Enabled;
        let disputes = self.opponents(who, spec);
        if spec.enforces() {
            return Some(match (disputes.is_empty(), unsupported) {
                (true, false) => vec![READY],
                (true, true) => vec![("False", "SystemIdentityUnsupported")],
                (false, false) => vec![CONFLICT],
                (false, true) => vec![CONFLICT, ("False", "SystemIdentityUnsupported")],
            });
        }
        let lingers = self.users.iter().any(|(id, user)| user.on && user.ours.yes && self.may_linger(id));
        if unsupported || !disputes.is_empty() || self.would_dispute(who, spec) || lingers {
            return None;
        }
        Some(vec![if self.would_change(spec) { PENDING } else { READY }])
    }

    fn others<'b>(&'b self, who: &'b Who) -> impl Iterator<Item = &'b (&'b Who, &'b Spec)> {
        self.claims.iter().filter(move |it| it.0 != who)
    }

    /// Who contradicts it, and about what.
    fn opponents<'b>(&'b self, who: &'b Who, spec: &Spec) -> Vec<(&'b Who, String)> {
        let mut all = Vec::new();
        for (other, theirs) in self.others(who) {
            for (id, ensure) in &spec.users {
                let contradicts = match ensure {
                    Ensure::Present => theirs.enforces() && theirs.absent(id),
                    Ensure::Absent => spec.enforces() && theirs.present(id),
                };
                all.extend(contradicts.then(|| (*other, (*id).to_owned())));
            }
            let (wants, denies) = (SystemAssigned::Enabled, SystemAssigned::Disabled);
            let system = (spec.system == wants && theirs.system == denies && theirs.enforces())
                || (spec.system == denies && spec.enforces() && theirs.system == wants);
            all.extend(system.then(|| (*other, "system".to_owned())));
        }
        all
    }

    /// Whether there would be a conflict if it enforced.
    fn would_dispute(&self, who: &Who, spec: &Spec) -> bool {
        let enforcing = Spec { stance: super::story::Stance::Enforce, ..spec.clone() };
        !self.opponents(who, &enforcing).is_empty()
    }

    fn would_change(&self, spec: &Spec) -> bool {
        let user = |(id, ensure): (&&str, &Ensure)| {
            let on = self.users.get(*id).is_some_and(|user| user.on);
            on != (*ensure == Ensure::Present)
        };
        let system = match spec.system {
            SystemAssigned::Enabled => !self.system,
            SystemAssigned::Disabled => self.system,
            SystemAssigned::Unmanaged => false,
        };
        system || spec.users.iter().any(user)
    }

    /// "each message names the other object and the id". A message may say "and 12 more": one is asked for.
    fn unnamed_opponents(&self, who: &Who, spec: &Spec, message: &str) -> Option<String> {
        let opponents = self.opponents(who, spec);
        let named =
            opponents.iter().any(|(other, id)| message.contains(&other.name) && message.to_lowercase().contains(id));
        (!named && !opponents.is_empty()).then(|| format!("{who} names none of {opponents:?}: {message}"))
    }

    fn wrong_entries(&self, who: &Who, spec: &Spec, status: &IdentityAssignmentStatus, seen: &Seen) -> Vec<String> {
        let attached = seen.attached();
        let mut wrong = Vec::new();
        for id in spec.users.keys() {
            let entry =
                status.user_assigned.iter().find(|it| names_of([&it.resource_id]).concat().eq_ignore_ascii_case(id));
            let Some(entry) = entry else {
                wrong.push(format!("the status of {who} does not tell of {id}"));
                continue;
            };
            let on = self.users.get(*id).is_some_and(|user| user.on);
            let origin = on.then_some(if attached.contains(*id) { Origin::Attached } else { Origin::Preexisting });
            if entry.origin != origin {
                wrong.push(format!("{who} says of {id}: {:?}, and it is {origin:?}", entry.origin));
            }
            let state = match self.wish(id) {
                Wish::On => Some(UserState::Present),
                Wish::Off => Some(UserState::Absent),
                Wish::Disputed => Some(UserState::Conflict),
                Wish::Protected | Wish::Nobodys => None,
            };
            if state.is_some_and(|state| state != entry.state) && spec.enforces() {
                wrong.push(format!("{who} says of {id}: {:?}, and it is {state:?}", entry.state));
            }
        }
        wrong
    }
}
