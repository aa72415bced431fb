//! The API server: assignments, the `IdentityTarget` under its `resourceVersion`, and watches that may lag.
use crate::arm::Owner;
use crate::config::{Assignment, Config, Spec};
use crate::world::{World, id};
use lanyard_domain::claims::{DefaultIdentityChange, Holding};
use lanyard_domain::evidence::{Census, shows_the_past};
use lanyard_domain::{Claim, ClaimKey, Ensure, Leaving, Mode, Record, Stance, SystemWish};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An assignment as the API server keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub spec: usize,
    pub leaving: bool,
    /// Grows with every change.
    pub generation: u8,
}

/// The `IdentityTarget`. Its finalizer is ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub record: Arc<Record>,
    pub finalizer: bool,
    /// Deleted by a person, and there as long as its finalizer is.
    pub deleting: bool,
}

/// What a process's watches told last, if they tell nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub target: Option<Target>,
    /// This is still the version that the API server has.
    pub version_holds: bool,
    pub objects: Vec<Option<Object>>,
}

impl World {
    /// What a process sees of the API server.
    pub fn view(&self, p: usize) -> View {
        let now = || View { target: self.target.clone(), version_holds: true, objects: self.objects.clone() };
        self.processes.get(p).and_then(|process| process.lag.as_deref().cloned()).unwrap_or_else(now)
    }

    /// Every version that anybody read of the `IdentityTarget` is an old one from now on.
    pub fn outdate(&mut self) {
        for process in &mut self.processes {
            process.visit.iter_mut().for_each(|visit| visit.version_holds = false);
            process.lag.iter_mut().for_each(|view| view.version_holds = false);
        }
    }

    /// A person's hand on the `IdentityTarget`.
    pub fn replace_target(&mut self, target: Option<Target>) {
        self.target = target;
        self.outdate();
    }

    pub fn record(&self) -> Option<&Record> {
        self.target.as_ref().map(|target| target.record.as_ref())
    }

    /// The assignments that exist and stay, with what they say.
    pub fn staying<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a Spec> {
        staying(&self.objects, config.assignments)
    }

    /// An assignment that only observes asks for no removal: what it declared when it last enforced stays.
    pub fn kept_by_holding(&self, config: &Config, name: &str) -> bool {
        let objects = self.objects.iter().zip(config.assignments).enumerate();
        objects.filter_map(|(n, (object, assignment))| Some((n, object.as_ref()?, assignment))).any(
            |(n, object, assignment)| {
                let holds = assignment.specs.get(object.spec).is_some_and(|spec| spec.mode != Mode::Enforce);
                let recorded = self.record().and_then(|record| record.recorded_claim(&n.to_string()));
                holds && recorded.is_some_and(|claim| claim.present.contains(&id(name)))
            },
        )
    }

    /// The record is lost, or an older one is in its place: what it does not tell is nobody's from now on.
    pub fn disown(&mut self, known: Option<&Record>) {
        let attached = |name: &str| known.is_some_and(|record| record.attached.contains_key(&id(name)));
        let named = |name: &str| {
            known.and_then(|record| record.intent.as_ref()).is_some_and(|i| i.ids().any(|n| *n == id(name)))
        };
        // What a failed operation gives back is nobody's either.
        let undone = self.arm.running.iter_mut().flat_map(|running| &mut running.before.user);
        for (name, owner) in self.arm.now.user.iter_mut().chain(undone) {
            match owner {
                Owner::Us if !attached(name) => *owner = Owner::Either,
                Owner::Foreign if attached(name) || named(name) => *owner = Owner::Either,
                Owner::Us | Owner::Foreign | Owner::Either => {}
            }
        }
        // What the record in its place has on the machine, and is not there, looks as if somebody had just taken it away.
        let believed = known.into_iter().flat_map(|record| {
            record.attached.keys().chain(record.intent.iter().flat_map(lanyard_domain::Intent::ids))
        });
        let missing = believed.map(|id| id.folded().to_owned()).filter(|id| !self.arm.now.user.contains_key(id));
        self.taken_away.extend(missing);
        self.flight.iter_mut().for_each(|request| request.orphaned = true);
        self.processes.iter_mut().filter_map(|process| process.phase.sending()).for_each(|sending| {
            sending.request.orphaned = true;
        });
    }
}

pub fn staying<'a>(objects: &'a [Option<Object>], assignments: &'a [Assignment]) -> impl Iterator<Item = &'a Spec> {
    objects.iter().zip(assignments).filter_map(|(object, assignment)| {
        object.as_ref().filter(|o| !o.leaving).and_then(|o| assignment.specs.get(o.spec))
    })
}

/// What a process learns of the assignments: those that its watch knows, and for the others whether they are gone by now.
pub fn census(seen: &[Option<Object>], now: &[Option<Object>], assignments: &[Assignment]) -> Census {
    let read = seen.iter().zip(assignments).enumerate().filter_map(|(n, (object, assignment))| {
        let object = object.as_ref()?;
        claim(n, object, assignment)
    });
    let unseen = seen.iter().zip(now).enumerate().filter(|(_, (seen, _))| seen.is_none());
    let gone = unseen.filter(|(_, (_, now))| now.is_none()).map(|(n, _)| n.to_string());
    Census { listed: true, read: read.collect(), gone: gone.collect(), ..Census::default() }
}

/// Reads those objects anew of which a lagging watch shows an older version than the record knows.
pub fn confirm(
    world: &mut World,
    config: &Config,
    p: usize,
    record: &Record,
) -> (Vec<Option<Object>>, BTreeSet<String>) {
    let mut seen = world.view(p).objects;
    let mut confirmed = BTreeSet::new();
    for (n, (object, assignment)) in seen.iter_mut().zip(config.assignments).enumerate() {
        let claim = object.as_ref().and_then(|object| claim(n, object, assignment));
        if claim.is_some_and(|claim| shows_the_past(&claim, record)) {
            *object = world.objects.get(n).cloned().flatten();
            confirmed.insert(n.to_string());
        }
    }
    if let Some(view) = world.processes.get_mut(p).and_then(|process| process.lag.as_mut()) {
        view.objects.clone_from(&seen);
    }
    (seen, confirmed)
}

fn claim(n: usize, object: &Object, assignment: &Assignment) -> Option<Claim> {
    let spec = assignment.specs.get(object.spec)?;
    let present = spec.present.iter().map(|name| (id(name), Ensure::Present));
    let absent = spec.absent.iter().map(|name| (id(name), Ensure::Absent));
    Some(Claim {
        generation: object.generation.into(),
        key: ClaimKey { namespace: "n".into(), name: n.to_string(), uid: n.to_string() },
        user: present.chain(absent).collect(),
        refs: std::collections::BTreeMap::new(),
        repair: BTreeSet::new(),
        system: spec.system,
        mode: spec.mode,
        stance: match spec.mode {
            Mode::Enforce => Stance::Enforce,
            Mode::Observe => Stance::Hold(Holding::Observe),
            Mode::Suspended => Stance::Hold(Holding::Suspended),
        },
        deletion_policy: assignment.policy,
        default_identity_change: DefaultIdentityChange::Warn,
        leaving: object.leaving.then(|| Leaving::of(assignment.policy, spec.mode, false)),
    })
}

/// What assignments together want: there, gone, and the system-assigned identity; what is disputed is left out.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Enforced.
    pub present: BTreeSet<&'static str>,
    /// Enforced.
    pub absent: BTreeSet<&'static str>,
    /// Declared present by anybody.
    pub declared: BTreeSet<&'static str>,
    pub system: Option<bool>,
    /// Declared `Disabled` in force, and `Enabled` by nobody.
    pub system_off: bool,
}

pub fn wanted<'a>(specs: impl Iterator<Item = &'a Spec>) -> Wanted {
    let mut all = Wanted::default();
    let (mut on, mut off, mut held_on) = (false, false, false);
    for spec in specs {
        let enforces = spec.mode == Mode::Enforce;
        all.declared.extend(spec.present);
        if enforces {
            all.present.extend(spec.present);
            all.absent.extend(spec.absent);
        }
        on |= enforces && spec.system == SystemWish::Enabled;
        off |= enforces && spec.system == SystemWish::Disabled;
        held_on |= !enforces && spec.system == SystemWish::Enabled;
    }
    let absent = all.absent.clone();
    all.present.retain(|id| !absent.contains(id));
    let declared = all.declared.clone();
    all.absent.retain(|id| !declared.contains(id));
    all.system_off = off && !on && !held_on;
    all.system = match (on, off) {
        (true, false) => Some(true),
        (false, true) if !held_on => Some(false),
        (true | false, true) | (false, false) => None,
    };
    all
}
