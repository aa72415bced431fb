//! How often what was done and what went wrong, for whoever reads what a story came to.

use std::collections::BTreeMap;
use std::fmt;

use arm_simulator::{Exchange, Listener};

use super::log::{By, lives};
use crate::harness::Stage;

/// Counts by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, usize>);

impl Tally {
    pub fn count(&mut self, kind: &str) {
        self.count_more(kind, 1);
    }

    pub fn count_more(&mut self, kind: &str, times: usize) {
        *self.0.entry(kind.to_owned()).or_default() += times;
    }

    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(kind, times)| self.count_more(kind, *times));
    }

    pub fn sum(&self) -> usize {
        self.0.values().sum()
    }

    pub fn of(&self, kind: &str) -> usize {
        self.0.get(kind).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sum())?;
        let kinds: Vec<String> = self.0.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
        if kinds.is_empty() { Ok(()) } else { write!(f, " ({})", kinds.join(", ")) }
    }
}

/// What came to ARM, what befell it there, and what became of the machines.
pub fn of_arm(stage: &Stage<'_>) -> String {
    let (mut faults, mut answers, mut changes) = (Tally::default(), Tally::default(), Tally::default());
    for call in stage.arm.journal().iter().filter(|call| call.listener != Listener::Stranger) {
        call.faults.iter().for_each(|fault| faults.count(fault));
        if call.method == "PATCH" {
            answers.count(&answer(call));
        }
    }
    let lives = lives(&stage.arm.truth(&stage.subscription)).map_or_else(|_| Vec::new(), |(lives, _)| lives);
    for change in lives.iter().flat_map(|life| &life.history) {
        changes.count(match change.by {
            By::Request(_) => "by the controller",
            By::Foreign(_) => "by strangers",
            By::Rollback(_) => "taken back",
        });
    }
    format!("faults of ARM: {faults}\nPATCHes by answer: {answers}\nchanges of machines: {changes}")
}

fn answer(call: &Exchange) -> String {
    call.status.map_or_else(|| "none".to_owned(), |status| status.to_string())
}
