//! Assignments by adjectives.

use arm_simulator::Machine;
use lanyard::api::assignment::{
    AksNodePool, DefaultIdentityChange, DeletionPolicy, Ensure, IdentityAssignment, IdentityAssignmentSpec, Mode,
    SystemAssigned, Target, UserAssigned, UserAssignedRef,
};

/// What somebody is about to declare.
#[derive(Clone, Debug)]
pub struct Declared(pub IdentityAssignment);

/// An assignment that declares nothing yet.
pub fn assignment(name: &str) -> Declared {
    let spec = IdentityAssignmentSpec {
        target: Target { resource_id: String::new() },
        system_assigned: SystemAssigned::Unmanaged,
        user_assigned: Vec::new(),
        user_assigned_refs: Vec::new(),
        mode: Mode::Enforce,
        suspend: false,
        drift_interval: "10m".into(),
        deletion_policy: DeletionPolicy::Detach,
        default_identity_change: DefaultIdentityChange::Warn,
        aks_node_pool: AksNodePool::Refuse,
    };
    Declared(IdentityAssignment::new(name, spec))
}

impl Declared {
    pub fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn on(self, machine: &Machine) -> Self {
        self.on_id(machine.id())
    }

    /// The machine's id in any spelling.
    pub fn on_id(mut self, id: impl Into<String>) -> Self {
        self.0.spec.target.resource_id = id.into();
        self
    }

    /// A full id, or the bare name of an identity in the machine's own group, which is made if absent.
    pub fn present(self, id: impl AsRef<str>) -> Self {
        self.ensuring(id, Ensure::Present)
    }

    pub fn absent(self, id: impl AsRef<str>) -> Self {
        self.ensuring(id, Ensure::Absent)
    }

    fn ensuring(self, id: impl AsRef<str>, ensure: Ensure) -> Self {
        let mut it = self.without(&id);
        it.0.spec.user_assigned.push(UserAssigned { resource_id: id.as_ref().into(), ensure, repair: false });
        it
    }

    /// Present, and to be repaired whoever put it there.
    pub fn repairing(self, id: impl AsRef<str>) -> Self {
        let mut it = self.present(id);
        it.0.spec.user_assigned.iter_mut().rev().take(1).for_each(|entry| entry.repair = true);
        it
    }

    /// An identity that is an object of the namespace.
    pub fn refers(mut self, name: &str) -> Self {
        self.0.spec.user_assigned_refs.push(UserAssignedRef {
            name: name.into(),
            ensure: Ensure::Present,
            repair: false,
        });
        self
    }

    /// Refers to it no more.
    pub fn refers_no_more(mut self, name: &str) -> Self {
        self.0.spec.user_assigned_refs.retain(|entry| entry.name != name);
        self
    }

    /// No longer says anything about this identity.
    pub fn without(mut self, id: impl AsRef<str>) -> Self {
        let id = id.as_ref().to_lowercase();
        let is_it = |known: &UserAssigned| {
            let known = known.resource_id.to_lowercase();
            known == id || known.rsplit('/').next() == Some(&id)
        };
        self.0.spec.user_assigned.retain(|known| !is_it(known));
        self
    }

    /// Declares what the other does.
    pub fn declaring(mut self, other: &Self) -> Self {
        self.0.spec = other.0.spec.clone();
        self
    }

    pub fn system(mut self, system: SystemAssigned) -> Self {
        self.0.spec.system_assigned = system;
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.0.spec.mode = mode;
        self
    }

    pub fn suspended(mut self, suspend: bool) -> Self {
        self.0.spec.suspend = suspend;
        self
    }

    pub fn retaining(mut self) -> Self {
        self.0.spec.deletion_policy = DeletionPolicy::Retain;
        self
    }

    pub fn blocking_default_change(mut self) -> Self {
        self.0.spec.default_identity_change = DefaultIdentityChange::Block;
        self
    }

    pub fn managing_aks(mut self) -> Self {
        self.0.spec.aks_node_pool = AksNodePool::Manage;
        self
    }
}
