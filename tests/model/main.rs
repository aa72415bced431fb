//! Every interleaving of a bounded world, over the very decisions that the controller runs.
//!
//! `MODEL_DEPTH=1` (or more) lets so many more things happen in each run than the form that CI has time for.
#![allow(clippy::expect_used, reason = "a test says what it expected")]
mod api;
mod arm;
mod broken;
mod config;
mod explore;
#[path = "../scenarios/merge.rs"]
mod merge;
mod process;
mod settle;
mod time;
mod world;
mod worlds;

use config::{Broken, Config};
use explore::{Action, ENDS_WELL, Lanyard};
use settle::Outlook;
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use world::World;

/// Against a world that grew beyond all measure; what CI takes is far below it, on however busy a machine.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// For each property that fails, a shortest run to it, and what follows.
type Found = BTreeMap<&'static str, String>;

const SETTLES: &str = "a run settles";
const LEAK: &str = "no leak, every wish holds";
const RESTLESS: &str = "every run settles";

/// What the checker found, and whether all was explored.
fn explore(config: Config, until: HasDiscoveries) -> (Found, bool) {
    let started = Instant::now();
    let options = Lanyard::new(config).checker().threads(2).timeout(LONGEST);
    let options = options.target_max_depth(config.steps.unwrap_or(usize::MAX));
    let checker = options.finish_when(until).spawn_bfs().join();
    let seconds = started.elapsed();
    let whole = seconds < LONGEST;
    let how = if whole { "" } else { ", in part" };
    let broken = match config.broken {
        Broken::Nothing => String::new(),
        broken => format!(" ({broken:?} left out)"),
    };
    let (name, states) = (config.name, checker.unique_state_count());
    println!("{name}{broken}: {states} states in {:.1} s{how}", seconds.as_secs_f32());
    let model = Lanyard::new(config);
    let told = |(name, path)| (kind(&model, name, &path), story(&model, path));
    (checker.discoveries().into_iter().map(told).collect(), whole)
}

/// A run that comes to no good end leaks, or forgets a wish, or never rests.
fn kind(model: &Lanyard, name: &'static str, path: &Path<World, Action>) -> &'static str {
    match (name, model.outlook(path.last_state())) {
        (ENDS_WELL, Outlook::Bad) => LEAK,
        (ENDS_WELL, Outlook::Restless) => RESTLESS,
        (name, Outlook::Good | Outlook::Bad | Outlook::Restless) => name,
    }
}

fn story(model: &Lanyard, path: Path<World, Action>) -> String {
    let last = path.last_state().clone();
    let line = |actions: Vec<Action>| actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>().join(", ");
    let run = line(path.into_actions());
    let sequel = if last.broke.is_none() { line(model.sequel(&last)) } else { String::new() };
    let then = if sequel.is_empty() { String::new() } else { format!(", and then: {sequel}") };
    format!("{run}{then}")
}

fn told(found: &Found) -> String {
    found.iter().map(|(name, run)| format!("broken: {name}: {run}")).collect::<Vec<_>>().join("\n")
}

/// How many more things may happen than in CI.
fn deeper() -> u8 {
    std::env::var("MODEL_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or_default()
}

/// Every property holds, and some run comes to its end.
fn holds(mut config: Config) {
    config.budget.total += deeper();
    config.steps = config.steps.map(|steps| steps + 2 * usize::from(deeper()));
    let (mut found, whole) = explore(config, HasDiscoveries::AnyFailures);
    let settles = found.remove(SETTLES).is_some();
    assert!(found.is_empty(), "{}", told(&found));
    assert!(settles || config.steps.is_some(), "no run ends, so that nothing was checked at the end");
    assert!(whole || deeper() > 0, "more states than fit into {LONGEST:?}");
}

/// The first of these properties is seen to break; the others may, and no other does.
fn finds(config: Config, expected: &[&'static str]) {
    let first = match expected.first() {
        Some(&(LEAK | RESTLESS)) | None => ENDS_WELL,
        Some(other) => other,
    };
    let (mut found, _) = explore(config, HasDiscoveries::AllOf([first].into()));
    found.remove(SETTLES);
    assert!(!found.is_empty(), "the guard's absence goes unseen");
    println!("{}", told(&found));
    assert!(found.keys().all(|name| expected.contains(name)), "{}", told(&found));
    assert!(expected.first().is_some_and(|first| found.contains_key(first)), "{}", told(&found));
}
