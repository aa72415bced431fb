//! Makes a story out of a seed.

use std::collections::BTreeMap;

use fastrand::Rng;
use lanyard::api::assignment::{Ensure, SystemAssigned};

use super::story::{Act, Block, DECLARED, Deed, Kind, Method, Name, STRANGE, Spec, Stance, Story, Track, Trouble, Who};

/// How big a story is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub tracks: usize,
    pub bursts: usize,
    /// Assignments on one machine at most.
    pub claimants: usize,
}

/// Assignments live in so many namespaces.
pub const NAMESPACES: usize = 3;
/// Strangers undo a machine's declared state so often at most: more is a quarrel, which is repaired at a slowing pace.
const UNDONE: usize = 2;

pub fn story(seed: u64, size: Size) -> Story {
    let tracks = (0..size.tracks).map(|number| {
        // Each track draws by itself, so that a smaller story is a part of a bigger one.
        let rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        Author::new(number, size, rng).track()
    });
    Story { tracks: tracks.collect() }
}

/// Knows what it has told so far.
struct Author {
    rng: Rng,
    size: Size,
    name: String,
    kind: Kind,
    /// One act a burst: what must be there afterwards is exact.
    quiet: bool,
    start: Option<Block>,
    exists: bool,
    living: BTreeMap<Who, Spec>,
    born: usize,
    undone: usize,
}

impl Author {
    fn new(number: usize, size: Size, mut rng: Rng) -> Self {
        let kind = match number % 8 {
            3 | 6 => Kind::Uniform,
            5 => Kind::Flexible,
            7 => Kind::Aks,
            _ => Kind::Vm,
        };
        let exists = rng.u8(..4) > 0;
        let start = exists.then(|| block(&mut rng, kind));
        Self {
            size,
            name: format!("m{number:02}x"),
            kind,
            quiet: number.is_multiple_of(2),
            start,
            exists,
            living: BTreeMap::new(),
            born: 0,
            undone: 0,
            rng,
        }
    }

    fn track(mut self) -> Track {
        let mut bursts = vec![self.opening()];
        for _ in 1..self.size.bursts {
            bursts.push(self.burst());
        }
        Track { name: self.name, kind: self.kind, start: self.start, bursts }
    }

    fn opening(&mut self) -> Vec<Act> {
        let claimants = if self.kind == Kind::Aks { 1 } else { self.rng.usize(1..=self.size.claimants) };
        let mut acts: Vec<Act> = (0..claimants).map(|_| self.newcomer()).collect();
        acts.splice(0..0, self.troubles());
        acts
    }

    fn burst(&mut self) -> Vec<Act> {
        let mut acts = self.troubles();
        let count = if self.quiet { 1 } else { self.rng.usize(2..=5) };
        for _ in 0..count {
            acts.push(self.act());
            if !self.quiet && self.rng.bool() {
                acts.push(Act::Pause { millis: self.rng.u64(50..1_500) });
            }
        }
        acts
    }

    fn act(&mut self) -> Act {
        if !self.exists && self.rng.u8(..3) == 0 {
            self.exists = true;
            let made = block(&mut self.rng, self.kind);
            return Act::Make(made);
        }
        match self.rng.u8(..20) {
            0 | 1 if self.kind != Kind::Aks && self.living.len() < self.size.claimants => self.newcomer(),
            2..5 => self.parting(),
            5..9 if self.exists => Act::Foreign(self.deed()),
            9 => self.some(Act::Strip),
            10 => self.some(Act::Lie),
            11 => self.some(Act::Forge),
            12 if self.exists && !self.living.is_empty() => {
                if self.rng.bool() {
                    Act::Forget
                } else {
                    Act::Adopt
                }
            }
            13 if self.exists => Act::Replace(block(&mut self.rng, self.kind)),
            _ => self.change(),
        }
    }

    fn newcomer(&mut self) -> Act {
        let namespace = self.rng.usize(..NAMESPACES);
        let who = Who { namespace, name: format!("{}-{}", self.name, self.born) };
        self.born += 1;
        let spec = self.spec();
        self.living.insert(who.clone(), spec.clone());
        Act::Say { who, spec }
    }

    fn somebody(&mut self) -> Option<Who> {
        let all: Vec<&Who> = self.living.keys().collect();
        self.rng.choice(all).cloned()
    }

    fn some(&mut self, act: impl Fn(Who) -> Act) -> Act {
        match self.somebody() {
            Some(who) => act(who),
            None => self.newcomer(),
        }
    }

    fn change(&mut self) -> Act {
        let Some(who) = self.somebody() else { return self.newcomer() };
        let mut spec = self.living[&who].clone();
        self.vary(&mut spec);
        self.living.insert(who.clone(), spec.clone());
        Act::Say { who, spec }
    }

    fn parting(&mut self) -> Act {
        // A machine that is not there is waited for, for a minute, before what is deleted is let go.
        let Some(who) = self.somebody().filter(|_| self.exists) else { return self.change() };
        let manages = self.kind != Kind::Aks || self.living[&who].manage;
        if !manages {
            return self.change();
        }
        self.living.remove(&who);
        let strip = self.rng.u8(..4) == 0;
        Act::Leave { who, release: !strip && self.rng.u8(..5) == 0, strip }
    }

    fn spec(&mut self) -> Spec {
        let stance = if self.kind == Kind::Aks { Stance::Enforce } else { self.stance() };
        let mut users = BTreeMap::new();
        for name in DECLARED {
            if self.rng.u8(..5) < 2 {
                users.insert(name, self.ensure());
            }
        }
        let system = self.system();
        let manage = self.kind == Kind::Aks && self.rng.u8(..3) > 0;
        Spec { users, system, stance, retain: self.rng.u8(..5) == 0, manage, spelling: self.rng.u64(..) }
    }

    fn vary(&mut self, spec: &mut Spec) {
        spec.spelling = self.rng.u64(..);
        match self.rng.u8(..10) {
            0 => spec.retain = !spec.retain,
            1 | 2 if self.kind != Kind::Aks => spec.stance = self.stance(),
            3 | 4 => spec.system = self.system(),
            // Never back to Refuse: what is attached then cannot leave.
            5 if self.kind == Kind::Aks => spec.manage = true,
            _ => {
                for _ in 0..self.rng.u8(1..=2) {
                    let name = DECLARED[self.rng.usize(..DECLARED.len())];
                    if spec.users.remove(name).is_none() {
                        let ensure = self.ensure();
                        spec.users.insert(name, ensure);
                    }
                }
            }
        }
    }

    fn stance(&mut self) -> Stance {
        match self.rng.u8(..8) {
            0 => Stance::Observe,
            1 => Stance::Suspend,
            _ => Stance::Enforce,
        }
    }

    fn ensure(&mut self) -> Ensure {
        if self.rng.u8(..5) == 0 { Ensure::Absent } else { Ensure::Present }
    }

    fn system(&mut self) -> SystemAssigned {
        match self.rng.u8(..6) {
            0 | 1 => SystemAssigned::Enabled,
            2 => SystemAssigned::Disabled,
            _ => SystemAssigned::Unmanaged,
        }
    }

    fn deed(&mut self) -> Deed {
        let undoes = self.undone < UNDONE;
        let deed = match self.rng.u8(..10) {
            0..3 => Deed::Add(self.rng.choice(STRANGE).unwrap_or(STRANGE[0])),
            3 | 4 => Deed::Add(self.rng.choice(DECLARED).unwrap_or(DECLARED[0])),
            5 | 6 if undoes => Deed::Remove(self.rng.choice(DECLARED).unwrap_or(DECLARED[0])),
            7 if undoes && self.kind != Kind::Flexible => Deed::System(self.rng.bool()),
            8 if undoes => Deed::Rewrite(names(&mut self.rng, &[DECLARED.as_slice(), &STRANGE].concat(), 3)),
            _ => Deed::Touch,
        };
        self.undone += usize::from(!matches!(deed, Deed::Add(_) | Deed::Touch));
        deed
    }

    fn troubles(&mut self) -> Vec<Act> {
        let count = self.rng.usize(..5);
        (0..count).map(|_| Act::Trouble(self.trouble())).collect()
    }

    fn trouble(&mut self) -> Trouble {
        let method = if self.rng.u8(..3) == 0 { Method::Get } else { Method::Patch };
        let reverts = self.rng.bool();
        let name = self.rng.choice(DECLARED).unwrap_or(DECLARED[0]);
        match self.rng.u8(..26) {
            0 => Trouble::LostRequest(method),
            1..4 => Trouble::LostReply(method),
            4..7 => Trouble::Late { millis: self.rng.u64(100..3_000) },
            7 => Trouble::Status(method, self.rng.choice([500, 502, 503, 504]).unwrap_or(500)),
            8 => Trouble::Throttled(method),
            9 => Trouble::Busy,
            10 => Trouble::NoSuchIdentity(name),
            11 => Trouble::Forbidden(name),
            12 => Trouble::Fails { reverts },
            13 => Trouble::Cancelled { reverts },
            14 => Trouble::LostOperation,
            15 => Trouble::HeldUp,
            16 => Trouble::Stale,
            17 => Trouble::Hidden,
            18 => Trouble::Truncated(method),
            19 => Trouble::Garbage(method),
            20 => Trouble::Slow(method, self.rng.u64(100..3_000), reverts),
            21 => Trouble::Elsewhere,
            22 => Trouble::Redirected(method),
            _ => self.race(),
        }
    }

    /// On a quiet machine what a stranger does in between concerns nothing that anybody declares.
    fn race(&mut self) -> Trouble {
        let at = if self.rng.bool() { Method::Get } else { Method::Patch };
        let strange = self.rng.choice(STRANGE).unwrap_or(STRANGE[0]);
        let deed = match self.rng.u8(..3) {
            0 => Deed::Touch,
            1 if !self.quiet => Deed::Add(self.rng.choice(DECLARED).unwrap_or(DECLARED[0])),
            _ => Deed::Add(strange),
        };
        Trouble::Race { at, after: self.rng.bool(), deed }
    }
}

fn block(rng: &mut Rng, kind: Kind) -> Block {
    let users = names(rng, &[DECLARED.as_slice(), &STRANGE].concat(), 4);
    Block { users, system: kind != Kind::Flexible && rng.u8(..3) == 0 }
}

fn names(rng: &mut Rng, all: &[Name], one_in: u8) -> Vec<Name> {
    all.iter().copied().filter(|_| rng.u8(..one_in) == 0).collect()
}
