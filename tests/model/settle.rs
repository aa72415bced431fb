//! Whether a run settles, and how: from every state that is reached, what follows if nothing more goes wrong.
//!
//! Stateright's `eventually` follows no cycle and joins paths, so that it may overlook a run that never ends. Here every
//! state is followed to its end instead: each process and each message in turn, time only when nothing else is to be
//! done. That is done in several orders, and for two controllers also as if the other had died where it stands: a
//! process that pauses for ever holds nobody up. A state that comes back on the way never settles. What holds of a
//! state's end holds of all that lead to it, so that each is followed one step only.
use crate::api::wanted;
use crate::arm::Owner;
use crate::config::Budget;
use crate::explore::{Action, Lanyard, own_actions};
use crate::world::{Phase, Process, World};
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    Good,
    /// It settles, and something of ours is left, or a wish is not fulfilled.
    Bad,
    /// It does not settle.
    Restless,
}

/// Who goes first, and who goes on at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Order {
    /// The first process first, and requests arrive.
    Forward,
    /// The last first, and what nobody waits for never arrives.
    Backward,
    /// Only this one; all others have died.
    Only(usize),
}

/// The states that are known to come to a good end, in this order of events.
#[derive(Debug, Default)]
pub struct Outlooks(Mutex<HashSet<u64>>);

impl Outlooks {
    fn knows(&self, state: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&state)
    }

    fn learn(&self, states: &[u64]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(states);
    }
}

fn name(world: &World, order: Order) -> u64 {
    let mut hasher = DefaultHasher::new();
    (order, world).hash(&mut hasher);
    hasher.finish()
}

/// Nothing more comes from outside.
fn undisturbed(world: &World, order: Order) -> World {
    let mut world = world.clone();
    world.left = Budget::default();
    world.puts = 0;
    world.sends = 0;
    if let Order::Only(survivor) = order {
        for (p, process) in world.processes.iter_mut().enumerate() {
            if p != survivor {
                *process = Process::new(process.incarnation);
            }
        }
    }
    world
}

fn orders(world: &World) -> impl Iterator<Item = Order> {
    let alone = if world.processes.len() > 1 { world.processes.len() } else { 0 };
    [Order::Forward, Order::Backward].into_iter().chain((0..alone).map(Order::Only))
}

fn may_go_on(order: Order, action: &Action) -> bool {
    match (order, action) {
        (
            Order::Only(survivor),
            Action::Gather(p, _) | Action::Put(p) | Action::Send(p) | Action::Finalize(p) | Action::CatchUp(p),
        ) => *p == survivor,
        (Order::Forward | Order::Backward | Order::Only(_), _) => true,
    }
}

impl Lanyard {
    pub fn outlook(&self, world: &World) -> Outlook {
        let mut ends = orders(world).map(|order| self.follow(world, order));
        ends.find(|end| *end != Outlook::Good).unwrap_or(Outlook::Good)
    }

    /// What follows from a state that comes to no good end, for people to read.
    pub fn sequel(&self, world: &World) -> Vec<Action> {
        let Some(order) = orders(world).find(|order| self.follow(world, *order) != Outlook::Good) else {
            return Vec::new();
        };
        let (mut world, mut way, mut actions) = (undisturbed(world, order), Vec::new(), Vec::new());
        while !way.contains(&name(&world, order))
            && let Some((action, next)) = self.next(&world, order)
        {
            way.push(name(&world, order));
            actions.push(action);
            world = undisturbed(&next, Order::Forward);
        }
        actions
    }

    fn follow(&self, world: &World, order: Order) -> Outlook {
        let mut world = undisturbed(world, order);
        let mut way = Vec::new();
        loop {
            let state = name(&world, order);
            if way.contains(&state) {
                return Outlook::Restless;
            }
            if self.outlooks.knows(state) {
                break;
            }
            way.push(state);
            match self.next(&world, order) {
                Some((_, next)) => world = undisturbed(&next, Order::Forward),
                None if self.ends_well(&world, order) => break,
                None => return Outlook::Bad,
            }
        }
        self.outlooks.learn(&way);
        Outlook::Good
    }

    /// One step of the run that nobody disturbs.
    fn next(&self, world: &World, order: Order) -> Option<(Action, World)> {
        let mut actions = Vec::new();
        own_actions(world, &mut actions);
        let time = actions.split_off(actions.len().saturating_sub(3));
        if order == Order::Backward {
            actions.reverse();
        }
        // Who sees an old state for ever may do the same for ever.
        actions.sort_by_key(|action| !matches!(action, Action::CatchUp(_)));
        let mut all = actions.into_iter().chain(time).filter(|action| may_go_on(order, action));
        all.find_map(|action| Some((action.clone(), self.after(world, action)?)))
    }

    /// Nothing is left to do, whatever time passes.
    pub fn is_settled(&self, world: &World) -> bool {
        let quiet = world.flight.is_empty() && world.arm.running.is_none();
        let rest = || world.processes.iter().all(|process| process.rests() && process.lag.is_none());
        quiet && rest() && self.next(world, Order::Forward).is_none()
    }

    fn ends_well(&self, world: &World, order: Order) -> bool {
        let at_rest = |(p, process): (usize, &Process)| match order {
            Order::Only(survivor) if survivor != p => true,
            Order::Forward | Order::Backward | Order::Only(_) => process.phase == Phase::Idle,
        };
        world.processes.iter().enumerate().all(at_rest) && self.wishes_hold(world) && !self.leaks(world)
    }

    fn wishes_hold(&self, world: &World) -> bool {
        let wanted = wanted(world.staying(&self.config));
        let there = |id: &&str| world.arm.now.user.contains_key(*id);
        let as_wanted = wanted.present.iter().all(there)
            && !wanted.absent.iter().any(|id| there(id) && !world.kept_by_holding(&self.config, id))
            && wanted.system.is_none_or(|on| on == world.arm.now.system)
            && world.record().is_none_or(|record| record.intent.is_none());
        let nobody = world.staying(&self.config).next().is_none();
        world.objects.iter().flatten().all(|object| !object.leaving)
            && (as_wanted || !world.arm.exists)
            && world.target.as_ref().is_none_or(|target| !target.deleting && !nobody)
    }

    /// Something that we attached is there, claimed by nobody, and no Event named it.
    fn leaks(&self, world: &World) -> bool {
        world.arm.now.user.iter().any(|(id, owner)| {
            let claimed = world.staying(&self.config).any(|spec| spec.present.contains(&id.as_str()));
            let kept = || world.kept_by_holding(&self.config, id);
            *owner == Owner::Us && !claimed && !world.named.contains(id) && !kept()
        })
    }
}
