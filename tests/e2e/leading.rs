//! Two replicas: which of them works, what becomes of its work when it falls silent, and that nothing rests on it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, ForeignAct, Machine, Settings};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lanyard::domain::lease::LEASE_FOR;
use lanyard::domain::reason::Reason;
use serde_json::{Value, json};

use crate::harness::{Controller, Own, Partition, Stage, asked, assignment, sent, tail};

/// What a replica writes in its log when its term begins, and when it ends before its time.
const LEADS: &str = "this process leads; visits begin";
const LEADS_NO_MORE: &str = "this process leads no more";

fn leases(own: &Own) -> Api<Lease> {
    Api::namespaced(own.client.clone(), &own.namespace)
}

/// The name of the replica that holds the lease; empty: nobody.
async fn leader(own: &Own) -> Result<String> {
    let holder = leases(own).get_opt("lanyard").await?.and_then(|lease| lease.spec?.holder_identity);
    Ok(holder.unwrap_or_default().split('/').next().unwrap_or_default().to_owned())
}

/// When the leader last said that it leads.
async fn last_renewed(own: &Own) -> Result<Timestamp> {
    let spec = leases(own).get("lanyard").await?.spec;
    Ok(spec.and_then(|spec| spec.renew_time).context("a lease that nobody ever held")?.0)
}

async fn until_leads(own: &Own, stage: &Stage<'_>, name: &str) -> Result<()> {
    stage.until(&format!("{name} to lead"), async || Ok(leader(own).await? == name)).await
}

/// Lines of a replica's log that hold the text.
fn lines(replica: &Controller, holding: &str) -> Vec<Value> {
    let text = tail(&replica.log, holding, usize::MAX);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// When it said so first.
fn said_at(replica: &Controller, what: &str) -> String {
    lines(replica, what).first().and_then(|line| line["timestamp"].as_str()).unwrap_or_default().to_owned()
}

async fn until_said(stage: &Stage<'_>, replica: &Controller, what: &str) -> Result<()> {
    stage.until(&format!("the log to say '{what}'"), async || Ok(!lines(replica, what).is_empty())).await
}

/// The first at work, with one machine done; the second stands by.
async fn one_leads_and_two_stands_by(own: &Own, kubeconfigs: [PathBuf; 2]) -> Result<(Controller, Controller)> {
    let stage = own.stage()?;
    let one = own.start_replica("one", &kubeconfigs[0], &[])?;
    until_leads(own, &stage, "one").await?;
    let two = own.start_replica("two", &kubeconfigs[1], &[])?;
    until_said(&stage, &two, "another process leads").await?;
    let warm_up = stage.vm("warm-up").create();
    stage.declare(assignment("warm-up").on(&warm_up).present("shop-db")).await?;
    stage.until_ready("warm-up").await?;
    ensure!(lines(&two, "asked ARM").is_empty(), "one that stands by visits nothing");
    Ok((one, two))
}

fn both_direct(own: &Own) -> Result<[PathBuf; 2]> {
    let kubeconfig = own.control_plane()?.kubeconfig();
    Ok([kubeconfig.clone(), kubeconfig])
}

/// The versions of the assignment and of the record: every write changes them.
async fn versions(stage: &Stage<'_>, machine: &Machine) -> Result<[Option<String>; 2]> {
    let assignment = stage.assignment(machine.name()).await?.and_then(|it| it.metadata.resource_version);
    Ok([assignment, stage.target(machine).await?.and_then(|it| it.metadata.resource_version)])
}

async fn until_asked(stage: &Stage<'_>, machine: &Machine) -> Result<()> {
    stage.until("the PATCH to leave", async || Ok(asked(machine).len() == 1)).await
}

/// Requests for the machine that this replica sent, whatever they were.
fn requests(replica: &Controller, machine: &Machine) -> usize {
    let about = |line: &Value| {
        let resource = line["resource"].as_str().unwrap_or_default();
        resource.eq_ignore_ascii_case(&machine.id())
    };
    lines(replica, "asked ARM").iter().filter(|line| about(line)).count()
}

#[tokio::test]
async fn clocks_that_jump_change_nothing_but_what_people_read() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let (one, two) = one_leads_and_two_stands_by(&own, both_direct(&own)?).await?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    for (round, ahead) in [days(400), days(-400), SignedDuration::ZERO].into_iter().enumerate() {
        own.set_clocks(ahead)?;
        let renewed = last_renewed(&own).await?;
        // What it asks a token for is judged by that clock, too.
        stage.arm.expire_tokens();
        let name = format!("round-{round}");
        stage.declare(assignment(&name).on(&vm).present(&name)).await?;
        stage.until_ready(&name).await?;
        ensure!(vm.detach_as_stranger(stage.identity_id(&name)));
        stage.look(&name).await?;
        stage.until("the drift to be repaired", async || Ok(vm.identities().contains(&name))).await?;
        stage.delete(&name).await?;
        stage.until_gone(&name).await?;
        ensure!(vm.identities() == ["legacy"], "{:?}", vm.identities());
        stage.until("the lease to be renewed", async || Ok(last_renewed(&own).await? != renewed)).await?;
        ensure!(leader(&own).await? == "one");
    }
    ensure!(lines(&one, LEADS_NO_MORE).is_empty() && lines(&two, LEADS).is_empty(), "another took the lease");
    Ok(())
}

#[tokio::test]
async fn when_the_leader_is_killed_the_other_takes_over_what_was_under_way() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let (one, two) = one_leads_and_two_stands_by(&own, both_direct(&own)?).await?;
    let stage = own.stage()?;
    // Accepted, with its operation running; and on its way, to arrive when nobody expects it.
    let (accepted, late) = (stage.vm("accepted").create(), stage.vm("late").with_identity("legacy").create());
    stage.arm.fault(Fault::new("PATCH", &accepted.id(), Effect::HoldOperation {}));
    stage.arm.fault(Fault::new("PATCH", &late.id(), Effect::ArriveLate { after_millis: None, hang_millis: 60_000 }));
    for vm in [&accepted, &late] {
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
        let recorded = async || Ok(stage.record(vm).await?.intent.is_some());
        stage.until("the intent to be recorded", recorded).await?;
    }
    until_asked(&stage, &accepted).await?;
    stage.until("the late one to leave", async || Ok(stage.arm.late_requests() == 1)).await?;

    let killed = Instant::now();
    one.kill()?;
    let renewed = last_renewed(&own).await?;
    stage.arm.finish_operations();
    until_leads(&own, &stage, "two").await?;
    let took = killed.elapsed();
    until_said(&stage, &two, LEADS).await?;
    let led: Timestamp = said_at(&two, LEADS).parse()?;
    assert!(led.duration_since(renewed).unsigned_abs() >= LEASE_FOR, "a lease expires; it is not snatched");
    stage.until_ready("accepted").await?;
    stage.until_ready("late").await?;
    let settled = killed.elapsed();
    let waits = lines(&two, Reason::AnotherWriter.as_str());
    assert!(waits.is_empty(), "two saw the intents long before it led, and waited all the same: {waits:#?}");
    assert_eq!(stage.arm.release(), 1);

    assert_eq!(
        (accepted.identities(), late.identities()),
        (vec!["shop-db".into()], vec!["legacy".into(), "shop-db".into()])
    );
    assert_eq!(sent(&accepted).len(), 1, "what had arrived is not sent again");
    assert_eq!(late.history().len(), 1, "the late one met the guard: {:?}", late.history());
    for vm in [&accepted, &late] {
        stage.look_through(vm.name(), vm).await?;
        assert_eq!(stage.attached(vm).await?, ["shop-db"]);
        assert!(stage.record(vm).await?.intent.is_none(), "settled");
    }
    assert_eq!(lines(&two, LEADS).len(), 1);
    println!("led after {took:?}, all settled after {settled:?}");
    Ok(())
}

#[tokio::test]
async fn told_to_stop_the_leader_hands_over_at_once_even_in_the_middle_of_an_operation() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let (one, two) = one_leads_and_two_stands_by(&own, both_direct(&own)?).await?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.arm.fault(Fault::new("PATCH", "/web", Effect::HoldOperation {}));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    until_asked(&stage, &vm).await?;

    let told = Instant::now();
    let renewed = last_renewed(&own).await?;
    let log = one.log.clone();
    let (status, took) = one.terminate().await?;
    assert_eq!(status.code(), Some(0), "{}", tail(&log, "", 20));
    assert!(!tail(&log, "the lease is released", 1).is_empty());
    until_said(&stage, &two, LEADS).await?;
    // The figures say how long it takes on an idle machine.
    let led: Timestamp = said_at(&two, LEADS).parse()?;
    assert!(led.duration_since(renewed).unsigned_abs() < LEASE_FOR, "it ended after {took:?}, and the lease expired");

    stage.arm.finish_operations();
    stage.until_ready("web").await?;
    println!("settled after {:?}", told.elapsed());
    assert_eq!((stage.attached(&vm).await?, sent(&vm).len()), (vec!["shop-db".to_owned()], 1));
    assert_eq!(lines(&two, LEADS).len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let (mut one, two) = one_leads_and_two_stands_by(&own, both_direct(&own)?).await?;
    let stage = own.stage()?;
    // Stopped in the middle: one operation runs, and one PATCH was taken whose answer is on its way.
    let (held, vm) = (stage.vm("held").create(), stage.vm("web").with_identity("legacy").create());
    stage.arm.fault(Fault::new("PATCH", &held.id(), Effect::HoldOperation {}));
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Slow { millis: 5000, after: true }));
    for vm in [&held, &vm] {
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
        let taken = async || Ok(vm.identities().contains(&"shop-db".to_owned()));
        stage.until("the PATCH to be taken", taken).await?;
    }
    one.signal("STOP")?;
    until_leads(&own, &stage, "two").await?;
    stage.arm.finish_operations();
    let mut before = Vec::new();
    for vm in [&held, &vm] {
        stage.until_ready(vm.name()).await?;
        stage.look_through(vm.name(), vm).await?;
        before.push(versions(&stage, vm).await?);
    }

    one.signal("CONT")?;
    until_said(&stage, &one, LEADS_NO_MORE).await?;
    until_said(&stage, &one, "another process leads").await?;
    assert_eq!([versions(&stage, &held).await?, versions(&stage, &vm).await?], before[..], "it wrote");
    let requested = requests(&one, &vm);
    stage.edit("web", |it| it.present("shop-queue")).await?;
    stage.until_ready("web").await?;
    stage.look_through("web", &vm).await?;

    assert_eq!(vm.identities(), ["legacy", "shop-db", "shop-queue"]);
    assert_eq!(requests(&one, &vm), requested, "it stands by");
    assert_eq!((sent(&held).len(), sent(&vm).len()), (1, 2));
    assert_eq!(lines(&two, "identities patched").len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_leader_cut_off_from_the_api_server_fences_itself_before_another_leads() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let partition = Partition::between(own.control_plane()?).await?;
    let kubeconfigs = [partition.kubeconfig.clone(), own.control_plane()?.kubeconfig()];
    let (one, two) = one_leads_and_two_stands_by(&own, kubeconfigs).await?;
    let stage = own.stage()?;
    partition.cut();
    // ARM is within its reach all along.
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    until_said(&stage, &one, LEADS_NO_MORE).await?;
    assert_eq!(leader(&own).await?, "one", "by the lease it could lead still");
    until_leads(&own, &stage, "two").await?;
    stage.until_ready("web").await?;

    until_said(&stage, &two, LEADS).await?;
    assert!(said_at(&one, LEADS_NO_MORE) < said_at(&two, LEADS), "two believed that they led");
    partition.heal();
    until_said(&stage, &one, "another process leads").await?;
    stage.look_through("web", &vm).await?;
    assert_eq!((vm.identities(), sent(&vm).len()), (vec!["legacy".into(), "shop-db".into()], 1));
    assert_eq!(requests(&one, &vm), 0);

    // And back again, with nothing of its first term in mind.
    two.terminate().await?;
    until_leads(&own, &stage, "one").await?;
    stage.edit("web", |it| it.without("shop-db")).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["legacy"]);
    let writers: Vec<_> = lines(&one, LEADS).iter().map(|line| line["writer"].clone()).collect();
    assert_eq!(writers.len(), 2);
    assert_ne!(writers[0], writers[1]);
    Ok(())
}

#[tokio::test]
async fn a_lease_that_people_delete_or_edit_stops_nothing_for_long() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let (one, two) = one_leads_and_two_stands_by(&own, both_direct(&own)?).await?;
    let stage = own.stage()?;
    let leases = leases(&own);
    let patch = async |patch: Value| leases.patch("lanyard", &PatchParams::default(), &Patch::Merge(patch)).await;

    let version = async || anyhow::Ok(leases.get("lanyard").await?.metadata.resource_version);
    patch(json!({"metadata": {"annotations": {"example.com/note": "mind the gap"}}})).await?;
    let touched = version().await?;
    stage.until("it to be renewed", async || Ok(version().await? != touched)).await?;
    assert_eq!((leader(&own).await?.as_str(), lines(&one, LEADS).len()), ("one", 1), "a note changes nothing");

    leases.delete("lanyard", &DeleteParams::default()).await?;
    stage.until("a new term", async || Ok(lines(&one, LEADS).len() == 2)).await?;
    assert_eq!(leader(&own).await?, "one", "only who held it knows that nobody does");
    assert!(lines(&two, LEADS).is_empty());

    patch(json!({"spec": {"holderIdentity": "somebody"}})).await?;
    stage.until("the leader to step down", async || Ok(lines(&one, LEADS_NO_MORE).len() == 2)).await?;
    let again = async || Ok(["one", "two"].contains(&leader(&own).await?.as_str()));
    stage.until("somebody real to lead", again).await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    assert_eq!(sent(&vm).len(), 1);
    Ok(())
}

/// Machines that two processes want to write at once.
const MACHINES: usize = 6;
const ROUNDS: usize = 4;

#[tokio::test]
async fn two_that_both_believe_that_they_lead_drop_nothing_leak_nothing_and_write_nothing_twice() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let kubeconfig = own.control_plane()?.kubeconfig();
    let flags = ["--leader-election=off"];
    let _one = own.start_replica("one", &kubeconfig, &flags)?;
    let _two = own.start_replica("two", &kubeconfig, &flags)?;
    let machines: Vec<Machine> =
        (0..MACHINES).map(|n| stage.vm(&format!("vm-{n}")).with_identity("legacy").create()).collect();
    for vm in &machines {
        stage.declare(assignment(vm.name()).on(vm).present("round-0")).await?;
    }
    for vm in &machines {
        stage.until_ready(vm.name()).await?;
    }
    for round in 1..=ROUNDS {
        for vm in &machines {
            // A stranger comes before they read, and between their read and their write.
            vm.attach_as_stranger(format!("foreign-{round}"));
            let act = ForeignAct::BumpEtag;
            stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Foreign { resource: None, act, after: false }));
            let (old, new) = (format!("round-{}", round - 1), format!("round-{round}"));
            stage.edit(vm.name(), |it| it.without(&old).present(&new)).await?;
        }
        for vm in &machines {
            stage.until_ready(vm.name()).await?;
        }
    }
    for vm in &machines {
        // Ready may be said by one before the other has settled the record.
        let settled = async || Ok(stage.record(vm).await?.intent.is_none());
        stage.until("the record to be settled", settled).await?;
        stage.look_through(vm.name(), vm).await?;
        untouched_by_the_other(&stage, vm).await.with_context(|| format!("{:#?}", vm.history()))?;
        stage.delete(vm.name()).await?;
    }
    for vm in &machines {
        stage.until_gone(vm.name()).await?;
        let foreign: Vec<String> = (1..=ROUNDS).map(|round| format!("foreign-{round}")).collect();
        ensure!(vm.identities() == [&foreign[..], &["legacy".to_owned()]].concat(), "{:?}", vm.identities());
    }
    Ok(())
}

/// Each id of ours came once, and each but the last went once; what is foreign never went.
async fn untouched_by_the_other(stage: &Stage<'_>, vm: &Machine) -> Result<()> {
    let history = vm.history();
    let named = |ids: &[String], name: &str| ids.iter().filter(|id| id.ends_with(&format!("/{name}"))).count();
    for round in 0..=ROUNDS {
        let name = format!("round-{round}");
        let came: usize = history.iter().map(|change| named(&change.added, &name)).sum();
        let went: usize = history.iter().map(|change| named(&change.removed, &name)).sum();
        ensure!((came, went) == (1, usize::from(round < ROUNDS)), "{name} came {came} times, went {went} times");
    }
    let foreign = |id: &String| id.contains("/foreign-") || id.ends_with("/legacy");
    let dropped = history.iter().flat_map(|change| &change.removed).find(|id| foreign(id));
    ensure!(dropped.is_none(), "dropped {dropped:?}");
    ensure!(stage.attached(vm).await? == [format!("round-{ROUNDS}")], "{:?}", stage.attached(vm).await?);
    ensure!(stage.record(vm).await?.intent.is_none(), "not settled");
    Ok(())
}
