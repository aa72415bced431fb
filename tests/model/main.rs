//! Every interleaving of a bounded world, over the very decisions that the controller runs.
//!
//! `MODEL_DEPTH=1` (or more) lets so many more things happen in each run than the form that CI has time for.
#![allow(clippy::expect_used, reason = "a test says what it expected")]
mod arm;
mod broken;
mod config;
mod explore;
#[path = "../scenarios/merge.rs"]
mod merge;
mod process;
mod world;
mod worlds;

use config::{Broken, Config};
use explore::{Action, Lanyard};
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Against a world that grew beyond all measure; what CI takes is far below it, on however busy a machine.
const LONGEST: Duration = Duration::from_secs(15 * 60);

type Found = BTreeMap<&'static str, Vec<Action>>;

const SETTLES: &str = "a run settles";

/// What the checker found: for each property that fails, a short run to it; and whether all was explored.
fn explore(config: Config) -> (Found, bool) {
    let started = Instant::now();
    let options = Lanyard(config).checker().threads(2).timeout(LONGEST);
    let options = options.target_max_depth(config.steps.unwrap_or(usize::MAX));
    let checker = options.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let seconds = started.elapsed();
    let whole = seconds < LONGEST;
    let how = if whole { "" } else { ", in part" };
    let broken = match config.broken {
        Broken::Nothing => String::new(),
        broken => format!(" ({broken:?} left out)"),
    };
    let (name, states) = (config.name, checker.unique_state_count());
    println!("{name}{broken}: {states} states in {:.1} s{how}", seconds.as_secs_f32());
    (checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions())).collect(), whole)
}

fn told(found: &Found) -> String {
    found.iter().map(|(name, run)| format!("broken: {name}\n{run:#?}")).collect::<Vec<_>>().join("\n")
}

/// How many more things may happen than in CI.
fn deeper() -> u8 {
    std::env::var("MODEL_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or_default()
}

/// Every property holds, and some run comes to its end.
fn holds(mut config: Config) {
    config.budget.total += deeper();
    config.steps = config.steps.map(|steps| steps + 2 * usize::from(deeper()));
    let (mut found, whole) = explore(config);
    let settles = found.remove(SETTLES).is_some();
    assert!(found.is_empty(), "{}", told(&found));
    assert!(settles || config.steps.is_some(), "no run ends, so that nothing was checked at the end");
    assert!(whole || deeper() > 0, "more states than fit into {LONGEST:?}");
}

/// One of these properties, and no other, is seen to break.
fn finds(config: Config, expected: &[&str]) {
    let (mut found, _) = explore(config);
    found.remove(SETTLES);
    assert!(!found.is_empty(), "the guard's absence goes unseen");
    assert!(found.keys().all(|name| expected.contains(name)), "{}", told(&found));
}
