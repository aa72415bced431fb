//! All machines by their key, each kind apart: a page of one kind is not searched for among the other.
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Instant;

use super::machine::Machine;
use crate::id::Kind;

#[derive(Debug, Default)]
pub struct Machines {
    vms: BTreeMap<String, Machine>,
    scale_sets: BTreeMap<String, Machine>,
}

impl Machines {
    pub fn get(&self, key: &str) -> Option<&Machine> {
        self.of(kind_of(key)).get(key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Machine> {
        self.of_mut(kind_of(key)).get_mut(key)
    }

    pub fn insert(&mut self, key: String, machine: Machine) {
        self.of_mut(kind_of(&key)).insert(key, machine);
    }

    pub fn remove(&mut self, key: &str) -> Option<Machine> {
        self.of_mut(kind_of(key)).remove(key)
    }

    pub fn len(&self) -> usize {
        self.vms.len() + self.scale_sets.len()
    }

    pub fn values(&self) -> impl Iterator<Item = &Machine> {
        self.vms.values().chain(self.scale_sets.values())
    }

    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.vms.keys().chain(self.scale_sets.keys())
    }

    /// Those of one kind after a key (or from the scope's first) whose key begins with the scope, in order.
    pub fn after<'a>(
        &'a self,
        kind: Kind,
        scope: &'a str,
        from: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a Machine)> {
        let start = from.map_or(Bound::Included(scope), Bound::Excluded);
        let all = self.of(kind).range::<str, _>((start, Bound::Unbounded));
        all.take_while(move |(key, _)| key.starts_with(scope)).map(|(key, machine)| (key.as_str(), machine))
    }

    /// Those of one kind up to a key whose key begins with the scope, the last one first.
    pub fn before<'a>(
        &'a self,
        kind: Kind,
        scope: &'a str,
        to: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Machine)> {
        let all = self.of(kind).range::<str, _>((Bound::Included(scope), Bound::Included(to)));
        all.rev().map(|(key, machine)| (key.as_str(), machine))
    }

    fn of(&self, kind: Kind) -> &BTreeMap<String, Machine> {
        if kind.is_scale_set() { &self.scale_sets } else { &self.vms }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Machine> {
        if kind.is_scale_set() { &mut self.scale_sets } else { &mut self.vms }
    }
}

/// The last part but one of a machine's key.
fn kind_of(key: &str) -> Kind {
    let plural = key.rsplit('/').nth(1);
    if plural == Some("virtualmachinescalesets") { Kind::VirtualMachineScaleSet } else { Kind::VirtualMachine }
}

/// The machine of that name as it was then: the one that is there, or one that was.
pub fn as_of<'a>(here: Option<&'a Machine>, buried: &'a [Machine], key: &str, then: Instant) -> Option<&'a Machine> {
    let gone = buried.iter().filter(|machine| machine.id.key() == key);
    here.into_iter().chain(gone).find(|machine| machine.existed_at(then))
}
