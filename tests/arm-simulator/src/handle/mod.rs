//! What tests hold in their hands: builders, machines, identities, journal, faults.
mod builders;
mod machine;

use serde_json::Value;

pub use builders::{Identity, IdentityBuilder, MachineBuilder};
pub use machine::{Machine, RecordedPatch};

use crate::faults::Fault;
use crate::id::{Kind, ResourceId, fold};
use crate::journal::{Count, Exchange};
use crate::settings::Settings;
use crate::simulator::ArmSimulator;
use crate::state::restrictions::{Barrier, Restriction};
use crate::state::seed::{MachineSeed, Seeds};
use crate::state::sightings::Sightings;
use crate::throttle::Verb;
use crate::wire::arm::arrive;
use crate::wire::routes::Route;

impl ArmSimulator {
    /// Declares a subscription of the default tenant. Builders declare theirs by themselves.
    pub fn subscription(&self, id: &str) {
        let tenant = self.tenant_id().to_owned();
        self.shared.world().declare_subscription(id, &tenant);
    }

    /// A wrong cloud or tenant: what lies in the subscription stays and cannot be reached.
    pub fn forget_subscription(&self, id: &str) {
        self.shared.world().subscriptions.remove(&fold(id));
    }

    /// The group goes, and all that lies in it, at once.
    pub fn delete_group(&self, subscription: &str, group: &str) {
        self.shared.world().remove_group(subscription, group);
    }

    /// # Errors
    /// An id among them is none that the simulator keeps.
    pub fn sow(&self, seeds: Seeds) -> anyhow::Result<()> {
        self.shared.world().sow(seeds)
    }

    /// All that is there now, to be sown elsewhere; operations that run have ended.
    #[must_use]
    pub fn harvest(&self) -> Seeds {
        self.finish_operations();
        self.shared.world().harvest()
    }

    pub fn vm(&self, subscription: &str, group: &str, name: &str) -> MachineBuilder {
        self.machine(subscription, group, Kind::VirtualMachine, name)
    }

    pub fn scale_set(&self, subscription: &str, group: &str, name: &str) -> MachineBuilder {
        self.machine(subscription, group, Kind::VirtualMachineScaleSet, name)
    }

    fn machine(&self, subscription: &str, group: &str, kind: Kind, name: &str) -> MachineBuilder {
        let id = ResourceId::new(subscription, group, kind, name);
        let seed = MachineSeed { id: id.to_string(), ..MachineSeed::default() };
        MachineBuilder { shared: self.shared.clone(), id, seed }
    }

    pub fn identity(&self, subscription: &str, group: &str, name: &str) -> IdentityBuilder {
        let id = ResourceId::new(subscription, group, Kind::UserAssignedIdentity, name);
        IdentityBuilder { shared: self.shared.clone(), id }
    }

    /// A handle to a machine by its id, whether it is there or not; None: no machine's id.
    #[must_use]
    pub fn find_machine(&self, id: &str) -> Option<Machine> {
        let id = ResourceId::parse(id).filter(|id| id.kind != Kind::UserAssignedIdentity)?;
        Some(Machine { shared: self.shared.clone(), id })
    }

    /// Arms a fault; gives the number to disarm it by.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.shared.world().faults.arm(fault)
    }

    pub fn disarm(&self, number: u64) {
        self.shared.world().faults.disarm(number);
    }

    pub fn clear_faults(&self) {
        self.shared.world().faults.clear("");
    }

    /// Clears the faults whose path holds the text: a test's own, by its subscription.
    pub fn clear_faults_of(&self, path: &str) {
        self.shared.world().faults.clear(path);
    }

    /// Puts a barrier before everything at or under a scope.
    pub fn restrict(&self, scope: &str, kind: Barrier) {
        let restriction = Restriction { scope: scope.to_owned(), kind };
        self.shared.world().restrictions.push(restriction);
    }

    /// Lifts the barriers that were put at exactly this scope.
    pub fn lift(&self, scope: &str) {
        let scope = fold(scope);
        self.shared.world().restrictions.retain(|restriction| fold(&restriction.scope) != scope);
    }

    /// Every exchange so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.shared.world().journal.since(0).cloned().collect()
    }

    /// The exchanges with ARM about one subscription.
    #[must_use]
    pub fn journal_of(&self, subscription: &str) -> Vec<Exchange> {
        let about = |exchange: &&Exchange| {
            Route::parse(&exchange.path).is_some_and(|route| fold(&route.subscription) == fold(subscription))
        };
        self.shared.world().journal.since(0).filter(about).cloned().collect()
    }

    /// The exchanges after a mark.
    #[must_use]
    pub fn journal_since(&self, mark: u64) -> Vec<Exchange> {
        self.shared.world().journal.since(mark).cloned().collect()
    }

    /// The number of the latest request; a mark for "since then".
    #[must_use]
    pub fn journal_mark(&self) -> u64 {
        self.shared.world().journal.latest()
    }

    /// Exchanges by sort, since the start.
    #[must_use]
    pub fn tally(&self) -> Vec<Count> {
        self.shared.world().journal.tally()
    }

    /// From now on it is noted which machines a GET or a LIST shows, and when each was shown first.
    pub fn watch_for_sightings(&self) {
        self.shared.world().watch += 1;
    }

    /// What reads have shown since.
    #[must_use]
    pub fn sightings(&self) -> Sightings {
        self.shared.world().sightings()
    }

    /// Changes settings while it runs; addresses and the folder stay what they were.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.world().settings);
    }

    /// Somebody else who is the same principal asks ARM this often; gives how many it let through.
    pub fn others_ask(&self, method: &str, subscription: &str, times: usize) -> usize {
        let verb = hyper::Method::from_bytes(method.as_bytes()).map_or(Verb::Read, |method| Verb::of(&method));
        let client = self.client_id().to_owned();
        let mut world = self.shared.world();
        let throttling = world.settings.throttling;
        let mut ask = || world.throttle.arm(throttling, &fold(subscription), &client, verb).refusal.is_none();
        (0..times).filter(|_| ask()).count()
    }

    pub fn revoke_tokens(&self) {
        self.shared.world().tokens.revoke_all();
    }

    pub fn expire_tokens(&self) {
        self.shared.world().tokens.expire_all();
    }

    /// Lets every request that is on its way arrive, in the order sent. Gives how many.
    pub fn release(&self) -> usize {
        let parked: Vec<u64> = self.shared.world().parked.iter().map(|(number, _)| *number).collect();
        for number in &parked {
            arrive(&self.shared, *number);
        }
        parked.len()
    }

    /// How many requests are on their way, to arrive late.
    #[must_use]
    pub fn late_requests(&self) -> usize {
        self.shared.world().parked.len()
    }

    /// Drops the requests that are on their way: they never arrive. Gives how many.
    pub fn lose_late_requests(&self) -> usize {
        std::mem::take(&mut self.shared.world().parked).len()
    }

    /// Ends every running operation, now.
    pub fn finish_operations(&self) {
        let mut world = self.shared.world();
        for id in world.operations.running() {
            world.end_operation(&id);
        }
    }

    /// Everything about the machines whose id holds the text.
    #[must_use]
    pub fn truth(&self, part: &str) -> Value {
        let mut world = self.shared.world();
        world.settle();
        world.truth(part)
    }
}
