//! Killed by force, at every named moment of a visit and at moments of chance, while strangers write: nothing that is
//! not ours goes, nothing of ours stays behind, nothing is done twice, and the next process comes to an end with it.
//!
//! Machines share a kill: each stands still at a moment of its own, until all of them do or have nothing to do.

mod chance;
mod fleet;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{ArmSimulator, Effect, Fault, Machine, Pace, Settings, Throttling};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use lanyard::api::RELEASE;
use lanyard::api::assignment::SystemAssigned;
use lanyard::fail_point::{Point, STANDS_STILL};
use serde_json::Value;
use strum::VariantArray as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Controller, Own, assignment, sent};
use chance::Chance;
use fleet::Fleet;

const FLAGS: [&str; 2] = ["--removal-burst=1000000", "--concurrency=1000"];

/// Groups that are killed one after another before any of them is given the time to settle.
const GROUPS: usize = 8;

/// A point, and `vm` or `set`.
type Stop = (&'static str, String);

/// One process after another.
struct Killer<'a> {
    own: &'a Own,
    running: Controller,
    /// Where its part of the log begins.
    log_from: usize,
    /// Points at which a process was killed, by the kind of the machine.
    stops: BTreeSet<Stop>,
    kills: usize,
}

impl<'a> Killer<'a> {
    fn new(own: &'a Own) -> Result<Self> {
        std::fs::write(own.fail_points()?, "")?;
        Ok(Self { own, running: own.start(&FLAGS)?, log_from: 0, stops: BTreeSet::new(), kills: 0 })
    }

    /// SIGKILL, and the next process at once.
    fn kill(self) -> Result<Self> {
        let log_from = self.log()?.len();
        self.running.kill()?;
        std::fs::write(self.own.fail_points()?, "")?;
        Ok(Self { running: self.own.start(&FLAGS)?, log_from, kills: self.kills + 1, ..self })
    }

    fn arm(&self, points: &[(Machine, Point)]) -> Result<()> {
        let line = |(machine, point): &(Machine, Point)| format!("{} {}\n", <&str>::from(*point), machine.name());
        Ok(std::fs::write(self.own.fail_points()?, points.iter().map(line).collect::<String>())?)
    }

    /// Waits until every visit of this process stands still or has ended, and kills it.
    async fn kill_standing(mut self, fleet: &Fleet<'_>, points: &[(Machine, Point)]) -> Result<Self> {
        let all = async || {
            let standing = self.standing()?;
            let done = fleet.done().await?;
            let settled = |machine: &Machine| standing.contains(machine.name()) || done.contains(machine.name());
            // Of those that look done some are about to stand still: not before their visits have ended is it known.
            Ok(points.iter().all(|(machine, _)| settled(machine)) && self.visits().await? == Some(standing.len()))
        };
        fleet.until("all visits to stand still", all).await?;
        let standing = self.standing()?;
        for (machine, point) in points.iter().filter(|(machine, _)| standing.contains(machine.name())) {
            let kind = machine.name().split('-').next().unwrap_or_default();
            self.stops.insert((point.into(), kind.to_owned()));
        }
        self.kill()
    }

    /// Names of the machines whose visits stand still in this process.
    fn standing(&self) -> Result<BTreeSet<String>> {
        let log = self.log()?;
        let lines = log[self.log_from..].lines().filter(|line| line.contains(STANDS_STILL));
        let machine = |line: &str| serde_json::from_str::<Value>(line).ok()?["machine"].as_str().map(str::to_owned);
        Ok(lines.filter_map(machine).collect())
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.running.log)?)
    }

    /// How many visits are under way, if none is due.
    async fn visits(&self) -> Result<Option<usize>> {
        let log = self.log()?;
        let starts = log[self.log_from..].lines().find(|line| line.contains(r#""listen""#));
        let starts: Value = serde_json::from_str(starts.context("it has not started")?)?;
        let mut stream = tokio::net::TcpStream::connect(starts["listen"].as_str().unwrap_or_default()).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: lanyard\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let gauge = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
        Ok(gauge("lanyard_targets_under_way ").filter(|_| gauge("lanyard_targets_due ") == Some(0)))
    }
}

/// Pace and throttling as they suit hundreds of changes.
fn settings(operation: Duration) -> Settings {
    let millis = u64::try_from(operation.as_millis()).unwrap_or(u64::MAX);
    Settings { operations: Pace::Fixed { millis }, throttling: Throttling::Off, ..Settings::quick() }
}

#[tokio::test]
#[cfg_attr(not(debug_assertions), ignore = "a release has no fail points")]
async fn killed_between_any_two_side_effects_the_next_process_converges() -> Result<()> {
    let own = Own::new(settings(Duration::from_millis(60))).await?;
    let mut killer = Killer::new(&own)?;
    let pairs: Vec<Point> = Point::VARIANTS.iter().flat_map(|point| [*point; 2]).collect();
    let mut fleet = Fleet::new(own.stage()?, Point::VARIANTS.len(), Chance(7));
    let machines = fleet.machines.clone();
    let points: Vec<(Machine, Point)> = machines.iter().cloned().zip(pairs.iter().copied()).collect();
    // Attach, change, leave.
    for _ in 0..3 {
        killer.arm(&points)?;
        fleet.go_on(&machines).await?;
        killer = killer.kill_standing(&fleet, &points).await?;
        fleet.until_all_is_done().await?;
        fleet.check().await?;
    }
    let kinds = |point: &Point| ["vm", "set"].map(|kind| (point.into(), kind.to_owned()));
    let missed: Vec<Stop> =
        Point::VARIANTS.iter().flat_map(kinds).filter(|stop| !killer.stops.contains(stop)).collect();
    ensure!(missed.is_empty(), "no visit came to {missed:?}");

    fleet.go_on(&machines).await?;
    fleet.until_all_is_done().await?;
    fleet.check().await
}

#[tokio::test]
#[cfg_attr(not(debug_assertions), ignore = "a release has no fail points")]
async fn an_intent_that_a_stranger_overtook_holds_nothing_up_for_long() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let killer = Killer::new(&own)?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    killer.arm(&[(vm.clone(), Point::AfterIntent)])?;
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until("the visit to stand still", async || Ok(killer.standing()?.contains("web"))).await?;
    vm.attach_as_stranger("theirs");
    let _next = killer.kill()?;

    let begun = Instant::now();
    stage.until_ready("web").await?;
    // 10 s for the process that wrote it, and no minute of doubt: the next attempt asks ARM by its If-Match.
    ensure!(begun.elapsed() < Duration::from_secs(45), "it took {:?}", begun.elapsed());
    ensure!(vm.identities() == ["shop-db", "theirs"] && sent(&vm).len() == 1, "{:?}", sent(&vm));
    Ok(())
}

/// What an assignment leaves behind by a person's word is in no record any more: an Event has to name it.
#[tokio::test]
#[cfg_attr(not(debug_assertions), ignore = "a release has no fail points")]
async fn what_is_let_go_is_named_by_an_event_wherever_the_process_dies() -> Result<()> {
    let own = Own::new(settings(Duration::from_millis(60))).await?;
    let killer = Killer::new(&own)?;
    let stage = own.stage()?;
    let new = |(n, point): (usize, &Point)| (stage.vm(&format!("let-go-{n}")).create(), *point);
    let machines: Vec<(Machine, Point)> = Point::VARIANTS.iter().enumerate().map(new).collect();
    for (machine, _) in &machines {
        stage.declare(assignment(machine.name()).on(machine).present("data").system(SystemAssigned::Enabled)).await?;
    }
    for (machine, _) in &machines {
        stage.until_ready(machine.name()).await?;
    }
    killer.arm(&machines)?;
    for (machine, _) in &machines {
        stage.annotate(machine.name(), RELEASE, "true").await?;
        stage.delete(machine.name()).await?;
    }
    let gone = async |machine: &Machine| {
        Ok::<_, anyhow::Error>(
            stage.assignment(machine.name()).await?.is_none() && stage.target(machine).await?.is_none(),
        )
    };
    let all = async || {
        let standing = killer.standing()?;
        for (machine, _) in machines.iter().filter(|(machine, _)| !standing.contains(machine.name())) {
            if !gone(machine).await? {
                return Ok(false);
            }
        }
        Ok(killer.visits().await? == Some(standing.len()))
    };
    stage.until("all visits to stand still", all).await?;
    let stood = killer.standing()?.len();
    ensure!(stood >= 6, "only {stood} moments of a release were reached");
    let _next = killer.kill()?;
    for (machine, point) in &machines {
        stage.until(&format!("{point:?} to be over"), async || gone(machine).await).await?;
    }
    let events: Api<Event> = Api::namespaced(own.client.clone(), "default");
    let notes: Vec<String> =
        events.list(&ListParams::default()).await?.items.into_iter().filter_map(|event| event.note).collect();
    for (machine, point) in &machines {
        let told = |said: &str| notes.iter().any(|note| note.contains(&format!("{} {said}", machine.name())));
        ensure!(machine.identities() == ["data"] && machine.system_principal().is_some(), "{point:?}");
        ensure!(told("stays, and is nobody's here"), "{point:?}: no Event names what stays");
        ensure!(told("stays on;"), "{point:?}: no Event tells of the system-assigned identity");
    }
    Ok(())
}

/// A request that leaves and arrives seconds later, when its sender is dead.
fn some_arrive_late(arm: &ArmSimulator, these: &[Machine], chance: &mut Chance) {
    let late = || Effect::ArriveLate { after_millis: Some(2500), hang_millis: 0 };
    for machine in these.iter().filter(|_| chance.below(6) == 0) {
        arm.fault(Fault::new("PATCH", &machine.id(), late()));
    }
}

/// The long form. `LANYARD_KILLS` says how many, `LANYARD_SEED` which.
#[tokio::test]
#[ignore = "takes a quarter of an hour: cargo test --test e2e -- --ignored killed_hundreds"]
async fn killed_hundreds_of_times_at_named_moments_and_by_chance_nothing_is_lost() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = usize::try_from(number("LANYARD_KILLS").unwrap_or(200))?;
    let seed = number("LANYARD_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("LANYARD_SEED={seed}");
    let (begun, mut chance) = (Instant::now(), Chance(seed));
    let own = Own::new(settings(Duration::from_millis(700))).await?;
    let mut killer = Killer::new(&own)?;
    let mut fleet = Fleet::new(own.stage()?, Point::VARIANTS.len(), Chance(!seed));
    let machines = fleet.machines.clone();
    let mut by_chance = 0;
    while killer.kills < kills {
        for group in machines.chunks(machines.len().div_ceil(GROUPS)) {
            some_arrive_late(&own.arm, group, &mut chance);
            let point = |machine: &Machine| (machine.clone(), Point::VARIANTS[chance.below(Point::VARIANTS.len())]);
            let points: Vec<_> = group.iter().map(point).collect();
            if chance.below(3) == 0 {
                fleet.go_on(group).await?;
                tokio::time::sleep(Duration::from_millis(chance.below(2500) as u64)).await;
                killer = killer.kill()?;
                by_chance += 1;
            } else {
                killer.arm(&points)?;
                fleet.go_on(group).await?;
                killer = killer.kill_standing(&fleet, &points).await?;
            }
        }
        if chance.below(2) == 0 {
            // In the middle of what the last process left.
            tokio::time::sleep(Duration::from_millis(chance.below(14_000) as u64)).await;
            killer = killer.kill()?;
            by_chance += 1;
        }
        fleet.until_all_is_done().await?;
        fleet.check().await?;
    }
    let patches: usize = machines.iter().map(|machine| machine.history().len()).sum();
    let (kills, stops) = (killer.kills, killer.stops.len());
    println!(
        "{kills} kills, {by_chance} of them by chance, {stops} of {} named moments, {patches} changes, {} s",
        2 * Point::VARIANTS.len(),
        begun.elapsed().as_secs()
    );
    Ok(())
}
