//! Which machines reads have shown since somebody began to watch: whether a controller has looked at all of them.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::World;

/// What GETs and LIST pages have shown since the watch began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Machines that are there.
    pub machines: usize,
    /// Those of them that were shown.
    pub shown: usize,
    /// When the last of these was shown for the first time.
    pub last_new: Option<Timestamp>,
}

impl World {
    pub fn sightings(&self) -> Sightings {
        let here = self.machines.values().filter_map(|machine| machine.sighted);
        let times = here.filter(|(watch, _)| *watch == self.watch).map(|(_, at)| at);
        let (shown, last_new) = times.fold((0, None), |(count, last), at| (count + 1, last.max(Some(at))));
        Sightings { machines: self.machines.len(), shown, last_new }
    }
}
