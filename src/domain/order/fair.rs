//! Start-time fair queueing among flows whose every turn costs the same.
//!
//! Each flow has a start: the virtual time of its next turn. Whoever starts first is served; that moves virtual time
//! there and the flow's own start on by one. A flow that had nothing begins at the present virtual time, so it waits
//! for one turn of each other flow at most, however much those have piled up.
//!
//! Who comes anew has its first few turns in one round, before those that had theirs: a few wishes pass a crowd of flows
//! that each have much to do. A flow is remembered for one more round, so that nobody passes the same ones for ever.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(super) type Name = Arc<str>;

/// So many turns a flow has in its first round, and so many may it be given before their time.
const AT_FIRST: u8 = 4;

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
    /// Without content, and remembered until then, or who comes back at once would jump the queue.
    ahead: BTreeSet<(u64, Name)>,
}

/// Start, how many turns of its first round it has had, then the order in which flows began to wait: ties go round.
type Place = (u64, u8, u64);

#[derive(Debug)]
struct Flow<T> {
    start: u64,
    /// Turns of its first round that it has had.
    had: u8,
    /// Its next turn comes before its time, and is paid for by a later one.
    hurried: bool,
    /// Not to be forgotten before.
    until: u64,
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
        let new = || Flow { start, had: 0, hurried: false, until: start, place: None, content: T::default() };
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
                self.ahead.remove(&(flow.until, name.clone()));
                flow.start = flow.start.max(self.time);
                self.turns += 1;
                let place = (flow.start, flow.had, self.turns);
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

    /// It has come anew: turns of its first round are left.
    pub fn is_new(&self, name: &str) -> bool {
        self.flows.get(name).is_some_and(|flow| flow.had < AT_FIRST)
    }

    /// Whoever is new in it need not wait for its turn, unless it has been given too many already.
    pub fn hurry(&mut self, name: &Name) {
        let Some(flow) = self.flows.get_mut(name) else { return };
        let Some(place) = flow.place.filter(|_| !flow.hurried && flow.start < self.time + u64::from(AT_FIRST)) else {
            return;
        };
        self.waiting.remove(&(place, name.clone()));
        self.turns += 1;
        let first = (0, 0, self.turns);
        (flow.hurried, flow.place) = (true, Some(first));
        self.waiting.insert((first, name.clone()));
    }

    /// It has its turn, and waits no more until it is told to.
    pub fn serve(&mut self, name: &Name) {
        let Some(flow) = self.flows.get_mut(name) else { return };
        if let Some(place) = flow.place.take() {
            self.waiting.remove(&(place, name.clone()));
        }
        if std::mem::take(&mut flow.hurried) {
            flow.start = flow.start.max(self.time) + 1;
        } else {
            self.time = self.time.max(flow.start);
            flow.had = AT_FIRST.min(flow.had + 1);
            flow.start = self.time + u64::from(flow.had == AT_FIRST);
        }
        flow.until = flow.start.max(self.time + 1);
        self.catch_up();
    }

    /// Without content it is forgotten, a round after it was served: nobody waits then who could be passed again.
    fn put_away(&mut self, name: &Name) {
        if let Some(flow) = self.flows.get(name).filter(|flow| flow.content.is_empty()) {
            self.ahead.insert((flow.until, name.clone()));
        }
        if let (true, Some((last, _))) = (self.waiting.is_empty(), self.ahead.last()) {
            // Nobody waits, so nobody is overtaken: all begin anew.
            self.time = self.time.max(*last + 1);
        }
        self.catch_up();
    }

    fn catch_up(&mut self) {
        while let Some((_, name)) = self.ahead.first().filter(|(until, _)| *until < self.time).cloned() {
            self.ahead.pop_first();
            if self.flows.get(&name).is_some_and(|flow| flow.place.is_none() && flow.content.is_empty()) {
                self.flows.remove(&name);
            }
        }
    }
}
