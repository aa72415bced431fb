//! Start-time fair queueing among flows whose every turn costs the same.
//!
//! Each flow has a start: the virtual time of its next turn. Whoever starts first is served; that moves virtual time
//! there and the flow's own start on by one. A flow that had nothing begins at the present virtual time, so it waits
//! for one turn of each other flow at most, however much those have piled up, and saves up nothing while it is away.
//!
//! Of those that start together, who was not served in this round or the one before goes first. A flow is remembered
//! until then, so nobody passes the same one twice.
//!
//! A flow may be hurried: its next turn comes before its time, and is paid for by a later one.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(super) type Name = Arc<str>;

/// So many turns a flow may be given before their time.
const MOST_OWED: u64 = 8;

/// What a flow holds.
pub(super) trait Content: Default {
    fn is_empty(&self) -> bool;
}

#[derive(Debug)]
pub(super) struct Fair<T> {
    /// The start of what was served last.
    time: u64,
    turns: u64,
    flows: HashMap<Name, Flow<T>>,
    waiting: BTreeSet<(Place, Name)>,
    /// Without content, but with a start that lies ahead: remembered, or who comes back at once would jump the queue.
    ahead: BTreeSet<(u64, Name)>,
}

/// Where it stands, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Its rank among those that are hurried, then the order in which they came.
    Hurried(u8, u64),
    /// Start, whether it was served lately, then the order in which flows began to wait: ties go round.
    InTurn(u64, bool, u64),
}

#[derive(Debug)]
struct Flow<T> {
    start: u64,
    served: bool,
    /// While it waits for its turn.
    place: Option<Place>,
    content: T,
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self { time: 0, turns: 0, flows: HashMap::new(), waiting: BTreeSet::new(), ahead: BTreeSet::new() }
    }
}

impl<T: Content> Fair<T> {
    pub fn contents(&self) -> impl Iterator<Item = &T> {
        self.flows.values().map(|flow| &flow.content)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.flows.get_mut(name).map(|flow| &mut flow.content)
    }

    /// The flow of that name, made if there is none, and the name as all share it.
    pub fn enter(&mut self, name: &str) -> (Name, &mut T) {
        let known = self.flows.get_key_value(name).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| Name::from(name));
        let start = self.time;
        let new = || Flow { start, served: false, place: None, content: T::default() };
        let flow = self.flows.entry(name.clone()).or_insert_with(new);
        (name, &mut flow.content)
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<&Name> {
        self.waiting.first().map(|(_, name)| name)
    }

    /// It waits for its turn from now on, or does so no more.
    pub fn set_waiting(&mut self, name: &Name, waits: bool) {
        let Some(flow) = self.flows.get_mut(name) else { return };
        match (flow.place, waits) {
            (None, true) => {
                self.ahead.remove(&(flow.start, name.clone()));
                flow.start = flow.start.max(self.time);
                self.turns += 1;
                let place = Place::InTurn(flow.start, flow.served, self.turns);
                flow.place = Some(place);
                self.waiting.insert((place, name.clone()));
            }
            (Some(place), false) => {
                flow.place = None;
                self.waiting.remove(&(place, name.clone()));
                self.put_away(name);
            }
            (None, false) => self.put_away(name),
            (Some(_), true) => {}
        }
    }

    /// It need not wait for its turn, unless it owes too many already. Of those that are hurried, the lowest rank goes
    /// first.
    pub fn hurry(&mut self, name: &Name, rank: u8) {
        let Some(flow) = self.flows.get_mut(name) else { return };
        let Some(place) = flow.place else { return };
        let may = match place {
            Place::Hurried(known, _) => rank < known,
            Place::InTurn(..) => flow.start < self.time + MOST_OWED,
        };
        if may {
            self.turns += 1;
            let first = Place::Hurried(rank, self.turns);
            flow.place = Some(first);
            self.waiting.remove(&(place, name.clone()));
            self.waiting.insert((first, name.clone()));
        }
    }

    /// The rank of who is hurried most.
    pub fn hurried(&self) -> Option<u8> {
        match self.waiting.first() {
            Some((Place::Hurried(rank, _), _)) => Some(*rank),
            Some((Place::InTurn(..), _)) | None => None,
        }
    }

    /// It has its turn, and waits no more until it is told to.
    pub fn serve(&mut self, name: &Name) {
        let Some(flow) = self.flows.get_mut(name) else { return };
        let place = flow.place.take();
        if let Some(place) = place {
            self.waiting.remove(&(place, name.clone()));
        }
        if !matches!(place, Some(Place::Hurried(..))) {
            self.time = self.time.max(flow.start);
        }
        flow.start = flow.start.max(self.time) + 1;
        flow.served = true;
        self.catch_up();
    }

    /// Without content it is forgotten, as soon as time has passed its start: nobody waits then who could be passed again.
    fn put_away(&mut self, name: &Name) {
        if let Some(flow) = self.flows.get(name).filter(|flow| flow.content.is_empty()) {
            self.ahead.insert((flow.start, name.clone()));
        }
        if let (true, Some((last, _))) = (self.waiting.is_empty(), self.ahead.last()) {
            // Nobody waits, so nobody is overtaken: all begin anew.
            self.time = self.time.max(*last + 1);
        }
        self.catch_up();
    }

    fn catch_up(&mut self) {
        while let Some((_, name)) = self.ahead.first().filter(|(start, _)| *start < self.time).cloned() {
            self.ahead.pop_first();
            if self.flows.get(&name).is_some_and(|flow| flow.place.is_none() && flow.content.is_empty()) {
                self.flows.remove(&name);
            }
        }
    }
}
