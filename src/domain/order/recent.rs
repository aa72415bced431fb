//! How much each namespace has had of late: who has had little is new, and need not wait for its turn. Turns that nobody
//! else waited for cost nobody anything, and do not count.
use super::fair::Name;
use std::collections::HashMap;

/// So many turns a namespace has before it is new no more.
pub(super) const AT_FIRST: u8 = 8;

/// After so many turns of all, what one had before is forgotten.
const FORGOTTEN_AFTER: u64 = 512;

/// The turns of a class, by namespace, whatever subscription they were in.
#[derive(Debug, Default)]
pub(super) struct Recent {
    turns: u64,
    had: HashMap<Name, Had>,
    /// How many targets of each wait.
    waiting: HashMap<Name, usize>,
}

#[derive(Debug)]
struct Had {
    since: u64,
    turns: u8,
}

impl Recent {
    /// Turns that it had of late; none: it is new no more.
    pub fn rank(&self, namespace: &str) -> Option<u8> {
        let had = self.had.get(namespace).filter(|had| !had.is_old(self.turns)).map_or(0, |had| had.turns);
        (had < AT_FIRST).then_some(had)
    }

    /// One more of its targets waits.
    pub fn waits(&mut self, namespace: &Name) {
        *self.waiting.entry(namespace.clone()).or_default() += 1;
    }

    /// One of them waits no more.
    pub fn waits_no_more(&mut self, namespace: &Name) {
        if let Some(waiting) = self.waiting.get_mut(namespace) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(namespace);
            }
        }
    }

    /// One of them has a turn.
    pub fn has_turn(&mut self, namespace: &Name) {
        self.waits_no_more(namespace);
        if self.waiting.keys().all(|other| other == namespace) {
            return;
        }
        self.turns += 1;
        let now = self.turns;
        if now.is_multiple_of(FORGOTTEN_AFTER) {
            self.had.retain(|_, had| !had.is_old(now));
        }
        let had = self.had.entry(namespace.clone()).or_insert(Had { since: now, turns: 0 });
        if had.is_old(now) {
            *had = Had { since: now, turns: 0 };
        }
        had.turns = had.turns.saturating_add(1);
    }
}

impl Had {
    fn is_old(&self, now: u64) -> bool {
        now - self.since >= FORGOTTEN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_new_until_it_had_its_turns_and_again_when_they_are_forgotten() {
        let mut recent = Recent::default();
        let (mine, theirs): (Name, Name) = ("mine".into(), "theirs".into());
        let turn = |recent: &mut Recent, whose: &Name| {
            recent.waits(whose);
            recent.has_turn(whose);
        };
        turn(&mut recent, &mine);
        assert_eq!(recent.rank(&mine), Some(0), "nobody else waited");
        recent.waits(&mine);
        recent.waits(&theirs);
        for had in 0..AT_FIRST {
            assert_eq!(recent.rank(&mine), Some(had));
            turn(&mut recent, &mine);
        }
        assert_eq!((recent.rank(&mine), recent.rank(&theirs)), (None, Some(0)));
        for _ in 0..2 * FORGOTTEN_AFTER {
            turn(&mut recent, &theirs);
        }
        assert_eq!((recent.rank(&mine), recent.rank(&theirs)), (Some(0), None));
        assert_eq!(recent.had.len(), 1, "what is old is not kept");
    }
}
