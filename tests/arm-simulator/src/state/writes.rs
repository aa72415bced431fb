//! Accepted writes: how they begin, how they end, and what they leave in the history.
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::World;
use super::history::{Actor, Change};
use super::identity_block::IdentityBlock;
use super::machine::Provisioning;
use super::operations::{Operation, Outcome, Work, duration, signed_query};

/// What a fault has to say about the operation of the write at hand.
#[derive(Clone, Debug, Default)]
pub struct Fateful {
    pub outcome: Outcome,
    pub lost: bool,
    /// Runs until somebody ends it.
    pub held: bool,
}

impl World {
    /// Accepts a write: the `ETag` moves now, the operation ends later. Gives the operation's id.
    pub fn accept(
        &mut self,
        key: &str,
        after: IdentityBlock,
        by: Actor,
        work: Work,
        api_version: &str,
        fate: &Fateful,
    ) -> Option<String> {
        let pace = self.settings.operations;
        let machine = self.machines.get_mut(key)?;
        let created = machine.model.provisioning == Provisioning::Creating;
        if !created {
            machine.advance();
        }
        let change = Change::between(&machine.model.identity, &after, machine.model.etag, by);
        machine.history.push(change);
        machine.model.identity = after;
        match work {
            Work::Delete => machine.model.provisioning = Provisioning::Deleting,
            Work::Write if !created => machine.model.provisioning = Provisioning::Updating,
            Work::Write => {}
        }
        let id = Uuid::new_v4().to_string();
        let preempted = machine.operation.replace(id.clone());
        let (kind, etag, subscription) = (machine.id.kind, machine.model.etag, machine.id.subscription.clone());
        if let Some(preempted) = preempted.and_then(|id| self.operations.get_mut(&id)) {
            preempted.ended = Some(Timestamp::now());
            preempted.outcome = Outcome::preempted();
        }
        let duration = duration(pace, kind, key, etag).filter(|_| !fate.held);
        let operation = Operation {
            id: id.clone(),
            subscription,
            machine: key.to_owned(),
            work,
            started: Timestamp::now(),
            ended: None,
            outcome: fate.outcome.clone(),
            query: signed_query(api_version, self.settings.operation_url_bytes),
            lost: fate.lost,
        };
        self.operations.start(operation, duration.map(|duration| Instant::now() + duration));
        Some(id)
    }

    /// Ends one operation, if it still runs.
    pub fn end_operation(&mut self, id: &str) {
        let Some(operation) = self.operations.get_mut(id) else {
            return;
        };
        if operation.ended.is_some() {
            return;
        }
        operation.ended = Some(Timestamp::now());
        let (key, work, outcome) = (operation.machine.clone(), operation.work, operation.outcome.clone());
        if work == Work::Delete && outcome == Outcome::Succeeded {
            self.bury(&key);
        } else {
            self.settle_machine(&key, id, &outcome);
        }
    }

    fn settle_machine(&mut self, key: &str, operation: &str, outcome: &Outcome) {
        let moves = self.settings.failed_operation_moves_etag && *outcome != Outcome::Succeeded;
        let Some(machine) = self.machines.get_mut(key) else {
            return;
        };
        if machine.operation.as_deref() != Some(operation) {
            return;
        }
        machine.remember();
        machine.operation = None;
        machine.model.provisioning = match outcome {
            Outcome::Succeeded => Provisioning::Succeeded,
            Outcome::Failed { .. } => Provisioning::Failed,
            Outcome::Canceled { .. } => Provisioning::Canceled,
        };
        if outcome.reverts()
            && let Some(before) = &machine.before
        {
            let by = Actor::Rollback(operation.to_owned());
            let old = before.identity.clone();
            machine.history.push(Change::between(&machine.model.identity, &old, machine.model.etag, by));
            machine.model.identity = old;
        }
        if moves {
            machine.model.etag += 1;
        }
        let resolves = *outcome == Outcome::Succeeded || self.settings.failed_operation_resolves;
        for entry in &mut machine.model.identity.users {
            if entry.principal.is_none() && resolves {
                let identity = self.identities.get(&entry.key());
                entry.principal = identity.map(|identity| identity.principal.clone());
            }
        }
    }

    /// Takes a machine away; its history stays. True: there was one.
    pub fn bury(&mut self, key: &str) -> bool {
        match self.machines.remove(key) {
            Some(mut machine) => {
                machine.died = Some(Instant::now());
                self.buried.push(machine);
                true
            }
            None => false,
        }
    }
}
