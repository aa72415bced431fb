//! What must be there: a function of what people and strangers did, written from the settled cases alone.
//!
//! It goes through everything in the order of time. Of each identity it knows from the simulator whether it is on the
//! machine, and by the ownership protocol whose it may be. Each change that the controller made is held against what was
//! declared when it was made; once all is settled, what is there against what must be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lanyard::api::assignment::SystemAssigned;

use super::claims::{Claims, Wish, wish};
use super::log::{By, Change, Entry, Life, Log, Span, Switched};
use super::story::{DECLARED, Kind, STRANGE, Spec, Who};

/// Whose an identity may be: where the protocol allows either, both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    pub yes: bool,
    pub no: bool,
}

impl Ours {
    pub const YES: Self = Self { yes: true, no: false };
    pub const NO: Self = Self { yes: false, no: true };
    pub const EITHER: Self = Self { yes: true, no: true };
}

#[derive(Clone, Copy, Debug)]
pub struct User {
    pub on: bool,
    /// What the record may say.
    pub ours: Ours,
    /// What it said before we took it off, since all was settled.
    taken: Option<Ours>,
}

/// Everything that the reference can say of one machine now.
#[derive(Debug)]
pub struct Judged<'a> {
    pub kind: Kind,
    pub exists: bool,
    pub users: BTreeMap<String, User>,
    pub system: bool,
    pub claims: Vec<(&'a Who, &'a Spec)>,
    /// Who observes, and said of these that they be there, once.
    pub observed: Vec<(&'a Who, &'a Spec)>,
    /// What must never happen, and did.
    pub violations: Vec<String>,
}

pub fn judge<'a>(log: &'a Log, lives: &'a [Life], exists: bool, now: Timestamp) -> Judged<'a> {
    let mut pass = Pass::new(log, lives);
    for (at, event) in in_order(log, lives) {
        pass.take(at, event, lives);
    }
    if pass.adopts {
        pass.may_adopt(now);
    }
    pass.judged(exists, now)
}

#[derive(Clone, Copy)]
enum Event<'a> {
    ForgetBegins,
    Done(&'a Entry),
    Change(&'a Change),
}

fn in_order<'a>(log: &'a Log, lives: &'a [Life]) -> Vec<(Timestamp, Event<'a>)> {
    let mut events: Vec<(Timestamp, Event<'a>)> = Vec::new();
    for entry in &log.entries {
        if let Entry::Forgotten { at, .. } = entry {
            events.push((at.began, Event::ForgetBegins));
        }
        events.push((entry.at(), Event::Done(entry)));
    }
    for change in lives.iter().flat_map(|life| &life.history) {
        events.push((change.at, Event::Change(change)));
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

struct Pass<'a> {
    kind: Kind,
    claims: Claims<'a>,
    settled: Timestamp,
    users: BTreeMap<String, User>,
    system: bool,
    life: usize,
    settlings: Vec<Timestamp>,
    /// A person deleted the record since all was settled.
    forgets: bool,
    /// An administrator adopts what is declared, and it is open when that is done.
    adopts: bool,
    violations: Vec<String>,
}

impl<'a> Pass<'a> {
    fn new(log: &'a Log, lives: &[Life]) -> Self {
        let mut pass = Self {
            kind: log.kind,
            claims: Claims::of(&log.entries),
            settled: Timestamp::UNIX_EPOCH,
            users: BTreeMap::new(),
            system: false,
            life: 0,
            settlings: log.entries.iter().filter(|it| matches!(it, Entry::Settled { .. })).map(Entry::at).collect(),
            forgets: false,
            adopts: false,
            violations: Vec::new(),
        };
        pass.begin(lives.first().filter(|_| log.starts));
        pass
    }

    /// "The machine behind the name changed: the record is emptied first".
    fn begin(&mut self, life: Option<&Life>) {
        let (on, system) = life.map(Life::start).unwrap_or_default();
        let all = DECLARED.iter().chain(&STRANGE);
        let user = |name: &&str| User { on: on.contains(*name), ours: Ours::NO, taken: None };
        self.users = all.map(|name| ((*name).to_owned(), user(name))).collect();
        self.system = system;
    }

    fn take(&mut self, at: Timestamp, event: Event<'a>, lives: &[Life]) {
        if self.adopts {
            self.may_adopt(at);
        }
        match event {
            Event::Change(change) => self.change(change),
            Event::ForgetBegins => self.forget_begins(),
            Event::Done(Entry::Said { .. }) => {}
            Event::Done(Entry::Left { who, release, stripped, at }) => self.left(who, (*release, *stripped), *at),
            Event::Done(Entry::Forgotten { alone, .. }) => self.forgotten(*alone),
            Event::Done(Entry::Adopted { alone, honoured: true, at }) => self.adopted(*alone, at.done),
            Event::Done(Entry::Adopted { honoured: false, .. }) => {
                self.adopts = true;
            }
            Event::Done(Entry::Gone { .. }) => {
                self.life += 1;
                self.users.values_mut().for_each(|user| user.on = false);
                self.system = false;
            }
            Event::Done(Entry::Made { .. }) => self.begin(lives.get(self.life)),
            Event::Done(Entry::Settled { at, attached }) => self.settle(*at, attached),
        }
    }

    fn change(&mut self, change: &Change) {
        let ours = matches!(change.by, By::Request(_));
        if ours {
            self.may_write(change);
        }
        for id in &change.removed {
            match change.by {
                By::Request(_) => self.we_remove(id, change.at),
                By::Foreign(_) | By::Rollback(_) => self.user(id).on = false,
            }
        }
        for id in &change.added {
            match change.by {
                By::Request(_) => self.we_add(id, change.at),
                By::Foreign(_) => self.stranger_adds(id, change.at),
                By::Rollback(_) => self.comes_back(id),
            }
        }
        for switched in &change.system {
            self.system = matches!(switched, Switched::Enabled(_));
            if ours {
                self.may_switch(self.system, change.at);
            }
        }
    }

    fn user(&mut self, id: &str) -> &mut User {
        let unknown = User { on: false, ours: Ours::NO, taken: None };
        self.users.entry(id.to_owned()).or_insert(unknown)
    }

    fn violated(&mut self, at: Timestamp, what: &str) {
        self.violations.push(format!("{at}: {what}"));
    }

    fn believed(&self, at: Timestamp, what: impl Fn(&Spec) -> bool) -> bool {
        self.claims.believed(self.settled, at).any(|version| what(version.spec))
    }

    fn known(&self, at: Timestamp, what: impl Fn(&Spec) -> bool) -> bool {
        self.claims.known(self.settled, at).any(|version| what(version.spec))
    }

    /// "mode: Observe writes nothing to ARM, ever"; an AKS machine is "refused unless `Manage`".
    fn may_write(&mut self, change: &Change) {
        let at = change.at;
        let (mut acts, mut manages) = (false, false);
        for version in self.claims.believed(self.settled, at) {
            acts |= version.spec.enforces() || version.ended.is_some_and(|end| end.left);
            manages |= version.spec.manage;
        }
        if !acts {
            self.violated(at, "we write though everybody only observes");
        }
        if self.kind == Kind::Aks && !manages {
            self.violated(at, "we write to a machine of AKS");
        }
        if change.added.is_empty() && change.removed.is_empty() && change.system.is_empty() {
            self.violated(at, "we write without changing anything");
        }
    }

    fn we_add(&mut self, id: &str, at: Timestamp) {
        if !self.believed(at, |spec| spec.enforces() && spec.present(id)) {
            self.violated(at, &format!("we attach {id}, which nobody in force declares"));
        }
        if self.known(at, |spec| spec.enforces() && spec.absent(id)) {
            self.violated(at, &format!("we attach {id}, though somebody declares it Absent"));
        }
        // Attached in the moment in which its claim left: "ids that nobody else claims leave the record", with this one
        // where the leaving is heard of afterwards.
        let let_go = self.claims.believed(self.settled, at).any(|it| it.spec.present(id) && it.let_go());
        // "all that is present is Preexisting", with what arrives after the record is gone.
        let ours = if self.forgets || let_go { Ours::EITHER } else { Ours::YES };
        *self.user(id) = User { on: true, ours, taken: None };
    }

    fn we_remove(&mut self, id: &str, at: Timestamp) {
        let ours = self.user(id).ours;
        if self.known(at, |spec| spec.present(id)) {
            self.violated(at, &format!("we remove {id}, which somebody declares"));
        }
        if !ours.yes && !self.believed(at, |spec| spec.enforces() && spec.absent(id)) {
            self.violated(at, &format!("DROP: we remove {id}, which is not ours and which nobody declares Absent"));
        }
        *self.user(id) = User { on: false, ours: Ours::NO, taken: Some(ours) };
    }

    /// "Somebody else adds an id while an intent of ours about that very id is unresolved: counts as ours"; and what the
    /// record still calls Attached since no GET has shown that it was gone for a while.
    fn stranger_adds(&mut self, id: &str, at: Timestamp) {
        let meant_to_add = self.believed(at, |spec| spec.enforces() && spec.present(id));
        let user = self.user(id);
        let may_be_ours = meant_to_add || user.ours.yes || user.taken.is_some_and(|ours| ours.yes);
        user.on = true;
        user.ours = Ours { yes: may_be_ours, no: true };
    }

    /// "A removal of ours succeeded (its operation too)": this one did not.
    fn comes_back(&mut self, id: &str) {
        let user = self.user(id);
        user.on = true;
        user.ours = user.taken.unwrap_or(Ours { yes: user.ours.yes, no: true });
    }

    fn may_switch(&mut self, on: bool, at: Timestamp) {
        let (wanted, against) = if on {
            (SystemAssigned::Enabled, SystemAssigned::Disabled)
        } else {
            (SystemAssigned::Disabled, SystemAssigned::Enabled)
        };
        let what = if on { "enable" } else { "DROP: disable" };
        if !self.believed(at, |spec| spec.enforces() && spec.system == wanted) {
            self.violated(at, &format!("we {what} the system identity, which nobody in force declares"));
        }
        // An observer's Enabled is a conflict too; its Disabled binds nobody.
        if self.known(at, |spec| spec.system == against && (spec.enforces() || against == SystemAssigned::Enabled)) {
            self.violated(at, &format!("we {what} the system identity, though somebody declares the opposite"));
        }
    }

    /// `Retain`, release, `Observe`: "Ids that nobody else claims leave the record; ids that another object claims stay
    /// as they are". Where the object changed a moment ago, the record's older claim may decide.
    fn left(&mut self, who: &Who, (release, stripped): (bool, bool), at: Span) {
        let settled = self.settled;
        let lately = |it: &&super::claims::Version<'_>| it.ended.is_none_or(|end| end.at.done > settled);
        let mine: Vec<&Spec> = self.claims.of_one(who, at.done).filter(lately).map(|it| it.spec).collect();
        let lets_go = |spec: &&Spec| release || spec.lets_go();
        if !mine.iter().any(lets_go) {
            return;
        }
        // "A finalizer stripped by hand: a deletion under the policy in the record": that the annotation came before the
        // object went, nobody need have seen.
        let surely = mine.iter().all(|spec| spec.lets_go() || (release && !stripped));
        let changed = mine.len() > 1;
        let until = self.next_settled(at.done);
        for (id, user) in &mut self.users {
            if !self.claims.of_one(who, at.done).any(|it| it.spec.present(id)) {
                continue;
            }
            let others = |spec: &Spec, theirs: &Who| theirs != who && spec.present(id);
            let stays = self.claims.known(settled, until).any(|it| others(it.spec, it.who));
            // Who comes right after may be seen first.
            let perhaps = self.claims.believed(settled, until).any(|it| others(it.spec, it.who));
            if stays || !user.ours.yes {
                continue;
            }
            let named = mine.iter().all(|spec| spec.present(id));
            user.ours = if surely && named && !perhaps && !changed { Ours::NO } else { Ours::EITHER };
        }
    }

    fn next_settled(&self, at: Timestamp) -> Timestamp {
        self.settlings.iter().copied().find(|settled| *settled > at).unwrap_or(Timestamp::MAX)
    }

    fn forget_begins(&mut self) {
        self.forgets = true;
        for user in self.users.values_mut() {
            user.ours.no = true;
        }
    }

    /// "forget: all that is present is Preexisting".
    fn forgotten(&mut self, alone: bool) {
        for user in self.users.values_mut() {
            user.ours = if alone { Ours::NO } else { Ours { no: true, ..user.ours } };
        }
    }

    /// "makes what is present and declared at that moment Attached".
    fn adopted(&mut self, alone: bool, at: Timestamp) {
        if !alone {
            return self.may_adopt(at);
        }
        for (id, user) in &mut self.users {
            let specs = self.claims.held(at).map(|it| it.spec);
            user.ours = match wish(specs, |spec| spec.present(id), |spec| spec.absent(id)) {
                Wish::On if user.on => Ours::YES,
                Wish::On | Wish::Disputed | Wish::Protected => Ours { yes: true, ..user.ours },
                Wish::Off | Wish::Nobodys => user.ours,
            };
        }
    }

    /// "that moment" is when the controller does it, by what it knows then.
    fn may_adopt(&mut self, at: Timestamp) {
        for (id, user) in &mut self.users {
            user.ours.yes |= self.claims.believed(self.settled, at).any(|it| it.spec.present(id));
        }
    }

    /// Where the protocol allows either, the record's word holds from now on.
    fn settle(&mut self, at: Timestamp, attached: &std::collections::BTreeSet<String>) {
        self.settled = at;
        (self.forgets, self.adopts) = (false, false);
        for (id, user) in &mut self.users {
            user.taken = None;
            user.ours = if attached.contains(id) { Ours::YES } else { Ours::NO };
        }
    }

    fn judged(self, exists: bool, now: Timestamp) -> Judged<'a> {
        let claims: Vec<_> = self.claims.held(now).map(|it| (it.who, it.spec)).collect();
        let observing = |it: &&(&'a Who, &'a Spec)| !it.1.enforces();
        let said = |it: &(&'a Who, &'a Spec)| {
            let who = it.0;
            self.claims.of_one(who, now).map(move |version| (who, version.spec)).collect::<Vec<_>>()
        };
        let observed = claims.iter().filter(observing).flat_map(said).collect();
        Judged {
            kind: self.kind,
            exists,
            users: self.users,
            system: self.system,
            claims,
            observed,
            violations: self.violations,
        }
    }
}
