//! What may happen in a run, how often, and which guard is broken on purpose.
use lanyard_domain::{DeletionPolicy, Mode, SystemWish};

/// A guard that the driver leaves out. The decisions themselves stay the real ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Broken {
    #[default]
    Nothing,
    /// Sends no If-Match.
    IfMatch,
    /// Writes no intent before the PATCH.
    IntentFirst,
    /// Takes all that an intent would add for arrived.
    FatePerId,
    /// Believes every read.
    FreshRead,
    /// Takes a list that has not finished for the whole.
    CompleteClaims,
    /// Does not look which machine answers.
    UniqueId,
    /// Sends on an intent however old.
    Age,
    /// Writes the record whatever became of it meanwhile.
    ResourceVersion,
    /// Lets a deleted record go while a write of ours may still arrive.
    Forgetting,
    /// Believes the first 404.
    GoneTwice,
}

/// What an assignment may say.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub present: &'static [&'static str],
    pub absent: &'static [&'static str],
    pub system: SystemWish,
    pub mode: Mode,
}

pub const fn present(present: &'static [&'static str]) -> Spec {
    Spec { present, absent: &[], system: SystemWish::Unmanaged, mode: Mode::Enforce }
}

pub const fn absent(absent: &'static [&'static str]) -> Spec {
    Spec { absent, ..present(&[]) }
}

/// One assignment: what it says first, if it exists at first, and what it may be changed to.
#[derive(Clone, Copy, Debug)]
pub struct Assignment {
    pub exists: bool,
    pub policy: DeletionPolicy,
    pub specs: &'static [Spec],
}

/// How often each thing may happen, and how many of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub total: u8,
    pub change: u8,
    pub foreign: u8,
    pub crash: u8,
    pub lost_answer: u8,
    /// An operation fails.
    pub failure: u8,
    /// A GET shows the state before the last write.
    pub stale: u8,
    /// The machine is deleted, or made anew under its name.
    pub recreate: u8,
    /// A list of assignments that has not finished.
    pub incomplete: u8,
    /// A process's watches stop telling, until they go on.
    pub lag: u8,
    /// The answer to a write of the record is lost.
    pub lost_put: u8,
    /// A GET answers 404 although the machine is there.
    pub blink: u8,
    /// A person deletes the `IdentityTarget`, strips it, or puts it back from a backup.
    pub meddle: u8,
    /// How often time passes over a process that is about to send. Not part of the total.
    pub pause: u8,
}

#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    pub processes: usize,
    pub system: bool,
    /// On the machine from the beginning.
    pub foreign: &'static [&'static str],
    /// What a stranger may add or remove, `system` among it.
    pub strange: &'static [&'static str],
    /// What the machine carries that takes the place of the first.
    pub recreated_with: &'static [&'static str],
    /// A namesake may share the `ETag` even while a PATCH is under way: the known gap.
    pub gap: bool,
    pub assignments: &'static [Assignment],
    pub budget: Budget,
    pub broken: Broken,
    /// Runs are followed for so many steps, where there are too many to follow to their end.
    pub steps: Option<usize>,
}

impl Config {
    pub const fn broken(self, broken: Broken) -> Self {
        Self { broken, ..self }
    }

    pub fn leaves_out(&self, guard: Broken) -> bool {
        self.broken == guard
    }
}
