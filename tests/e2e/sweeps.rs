//! Drift is looked for by lists. What they show decides whom to visit; what they fail to show hides nobody.
use crate::harness::{Controller, Own, Stage, assignment, sent};
use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Exchange, Fault, Machine, Settings};
use lanyard::api::IdentityAssignmentSpec;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Machines enough for several pages of a list.
const MACHINES: usize = 12;
const ON_A_PAGE: usize = 5;

/// The shortest that is admitted: who is not shown by a list is visited soon.
fn often(spec: &mut IdentityAssignmentSpec) {
    spec.drift_interval = "30s".into();
}

/// Machines that are as declared, and no controller.
struct Fleet {
    own: Own,
    machines: Vec<Machine>,
}

impl Fleet {
    async fn at_rest() -> Result<Self> {
        let own = Own::new(Settings { page_size: ON_A_PAGE, ..Settings::quick() }).await?;
        let controller = own.start(&[])?;
        let machines = {
            let stage = own.stage()?;
            let machines: Vec<Machine> = (0..MACHINES).map(|n| stage.vm(&format!("m{n:02}")).create()).collect();
            for machine in &machines {
                let mut wanted = assignment(machine.name()).on(machine).present("shop-db");
                often(&mut wanted.0.spec);
                stage.declare(wanted).await?;
            }
            for machine in &machines {
                stage.until_ready(machine.name()).await?;
            }
            machines
        };
        controller.terminate().await?;
        Ok(Self { own, machines })
    }

    fn stage(&self) -> Result<Stage<'_>> {
        self.own.stage()
    }

    fn last(&self) -> &Machine {
        &self.machines[MACHINES - 1]
    }

    /// Requests since then: lists, reads of single machines, and changes.
    fn asked_since(&self, mark: u64) -> (usize, usize, usize) {
        let journal = self.own.arm.journal_since(mark);
        let machines: Vec<String> = self.machines.iter().map(|machine| machine.id().to_lowercase()).collect();
        let of_machine = |call: &&Exchange| machines.contains(&call.path.to_lowercase());
        let lists = journal.iter().filter(|call| is_list(call)).count();
        let reads = journal.iter().filter(|call| call.method == "GET").filter(of_machine).count();
        (lists, reads, journal.iter().filter(|call| call.method == "PATCH").count())
    }

    /// Waits until lists have shown so many machines with this result.
    async fn until_shown(&self, controller: &Controller, result: &str, machines: usize) -> Result<()> {
        let line = format!("lanyard_sweep_entries_total{{result=\"{result}\"}} ");
        let shown = async || Ok(counted(controller, &line).await?.is_some_and(|count| count >= machines));
        self.stage()?.until(&format!("{machines} machines shown: {result}"), shown).await
    }
}

fn is_list(call: &Exchange) -> bool {
    call.method == "GET" && call.path.to_lowercase().ends_with("/virtualmachines")
}

/// What the running controller has counted under this name, if anything.
async fn counted(controller: &Controller, name: &str) -> Result<Option<usize>> {
    let log = std::fs::read_to_string(&controller.log)?;
    let Some(starts) = log.lines().rev().find(|line| line.contains(r#""listen""#)) else { return Ok(None) };
    let starts: Value = serde_json::from_str(starts)?;
    let address = starts["listen"].as_str().context("it listens nowhere")?;
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return Ok(None) };
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: lanyard\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()))
}

#[tokio::test]
async fn a_process_that_begins_verifies_the_fleet_by_lists_alone_and_writes_nothing() -> Result<()> {
    let fleet = Fleet::at_rest().await?;
    let (before, mark) = (fleet.own.list_assignments_and_targets().await?, fleet.own.arm.journal_mark());
    let controller = fleet.own.start(&[])?;
    fleet.until_shown(&controller, "at rest", MACHINES).await?;
    ensure!(fleet.asked_since(mark) == (3, 0, 0), "{:?}", fleet.asked_since(mark));
    let unverified = counted(&controller, "lanyard_targets_unverified ").await?;
    ensure!(unverified == Some(0), "{unverified:?}");
    let objects =
        |lists: [String; 2]| lists.map(|list| serde_json::from_str::<Value>(&list).map(|it| it["items"].clone()));
    for (before, after) in objects(before).into_iter().zip(objects(fleet.own.list_assignments_and_targets().await?)) {
        ensure!(before? == after?, "something was written");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_list_shows_is_visited_and_nobody_else() -> Result<()> {
    let fleet = Fleet::at_rest().await?;
    ensure!(fleet.last().detach_as_stranger(fleet.stage()?.identity_id("shop-db")));
    let mark = fleet.own.arm.journal_mark();
    let controller = fleet.own.start(&[])?;
    let stage = fleet.stage()?;
    stage.until("the drift to be repaired", async || Ok(fleet.last().identities() == ["shop-db"])).await?;
    fleet.until_shown(&controller, "at rest", MACHINES - 1).await?;
    let reads = |machine: &Machine| {
        let id = machine.id().to_lowercase();
        fleet.own.arm.journal_since(mark).iter().filter(|call| call.path.to_lowercase() == id).count()
    };
    let visited: Vec<&str> = fleet.machines.iter().filter(|it| reads(it) > 0).map(Machine::name).collect();
    ensure!(visited == [fleet.last().name()], "{visited:?}");
    Ok(())
}

/// Whatever becomes of the list, the last machine of it has drifted, and that is found; the way there is its own matter.
#[rstest]
#[case::a_page_fails(vec![answers(500, "InternalServerError").skip(1).times(2)])]
#[case::a_page_fails_for_good(vec![answers(500, "InternalServerError").skip(1).always()])]
#[case::every_list_is_refused(vec![answers(403, "AuthorizationFailed").always()])]
#[case::the_subscription_is_throttled_for_lists(vec![answers(429, "TooManyRequests").always()])]
#[case::a_list_hangs(vec![on_lists(Effect::Slow { millis: 600_000, after: false }).always()])]
#[case::a_page_is_garbage(vec![on_lists(Effect::GarbageBody {}).skip(2).always()])]
#[case::a_page_is_cut_short(vec![on_lists(Effect::TruncateBody {}).skip(1).always()])]
#[case::the_list_leads_elsewhere(vec![on_lists(Effect::LinkTo { origin: "https://elsewhere.example".into() }).always()])]
#[case::the_list_skips_all_after_the_first_page(vec![whole_answer(&json!({"value": []})).skip(1).always()])]
#[case::the_list_is_empty(vec![whole_answer(&json!({"value": []})).always()])]
#[case::the_list_is_of_another_form(vec![whole_answer(&json!({"machines": []})).always()])]
#[tokio::test]
async fn a_list_that_fails_hides_no_drift(#[case] faults: Vec<Fault>) -> Result<()> {
    let fleet = Fleet::at_rest().await?;
    ensure!(fleet.last().detach_as_stranger(fleet.stage()?.identity_id("shop-db")));
    faults.into_iter().for_each(|fault| _ = fleet.own.arm.fault(fault));
    let controller = fleet.own.start(&[])?;
    let stage = fleet.stage()?;
    stage.until("the drift to be repaired", async || Ok(fleet.last().identities() == ["shop-db"])).await?;
    stage.until_ready(fleet.last().name()).await?;
    for machine in &fleet.machines[..MACHINES - 1] {
        ensure!(sent(machine) == ["If-Match: \"1\" + shop-db"], "{}: {:?}", machine.name(), sent(machine));
    }
    drop(controller);
    Ok(())
}

#[tokio::test]
async fn a_list_that_leads_to_another_host_is_not_followed_and_said() -> Result<()> {
    let fleet = Fleet::at_rest().await?;
    fleet.own.arm.fault(on_lists(Effect::LinkTo { origin: "https://elsewhere.example".into() }).always());
    let controller = fleet.own.start(&[])?;
    let told = async || Ok(std::fs::read_to_string(&controller.log)?.contains("the list cannot be had"));
    fleet.stage()?.until("it to be said", told).await?;
    let log = std::fs::read_to_string(&controller.log)?;
    let line = log.lines().find(|line| line.contains("the list cannot be had")).unwrap_or_default();
    ensure!(line.contains("https://elsewhere.example") && !line.contains("skiptoken"), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_list_from_before_our_own_write_accuses_nobody() -> Result<()> {
    let fleet = Fleet::at_rest().await?;
    let stage = fleet.stage()?;
    let (machine, name) = (fleet.last(), fleet.last().name());
    // The first pages are read now and told later; meanwhile somebody declares more.
    fleet.own.arm.fault(on_lists(Effect::Slow { millis: 4_000, after: true }).always());
    let controller = fleet.own.start(&[])?;
    stage
        .until("a list to be asked for", async || Ok(fleet.own.arm.journal().iter().any(is_list_since(machine))))
        .await?;
    stage.edit(name, |it| it.present("queue")).await?;
    stage.until_ready(name).await?;
    let reads = stage.calls("GET", machine);
    fleet.until_shown(&controller, "at rest", MACHINES - 1).await?;
    ensure!(stage.calls("GET", machine) == reads && sent(machine).len() == 2, "{:?}", sent(machine));
    Ok(())
}

/// A list that came after the machine's first change.
fn is_list_since(machine: &Machine) -> impl Fn(&Exchange) -> bool {
    let changes = machine.patches().len();
    move |call| changes > 0 && is_list(call)
}

#[tokio::test]
async fn lists_of_one_subscription_that_hang_delay_no_other() -> Result<()> {
    let fleet = Fleet::at_rest().await?;
    let stage = fleet.stage()?;
    let other = uuid::Uuid::new_v4().to_string();
    fleet.own.arm.subscription(&other);
    let controller = fleet.own.start(&[])?;
    let machines: Vec<Machine> = (0..3).map(|n| fleet.own.arm.vm(&other, "shop", &format!("o{n}")).create()).collect();
    for machine in &machines {
        let mut wanted = assignment(machine.name()).on(machine).present("shop-db");
        often(&mut wanted.0.spec);
        stage.declare(wanted).await?;
        stage.until_ready(machine.name()).await?;
    }
    controller.terminate().await?;
    let hangs = Fault::new(
        "GET",
        &format!("/subscriptions/{}/", stage.subscription),
        Effect::Slow { millis: 600_000, after: false },
    );
    fleet.own.arm.fault(hangs.always());
    let id = format!(
        "/subscriptions/{other}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db"
    );
    ensure!(machines[0].detach_as_stranger(&id));
    let mark = fleet.own.arm.journal_mark();
    let _controller = fleet.own.start(&[])?;
    stage.until("the drift to be repaired", async || Ok(machines[0].identities() == ["shop-db"])).await?;
    let journal = fleet.own.arm.journal_since(mark);
    let read = |machine: &&Machine| journal.iter().any(|call| call.path.eq_ignore_ascii_case(&machine.id()));
    ensure!(machines.iter().filter(read).count() == 1, "found by a list, not by visits of their own");
    Ok(())
}

#[tokio::test]
async fn many_machines_that_are_waited_for_are_looked_for_by_their_groups_list() -> Result<()> {
    const AWAITED: usize = 40;
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    stage.vm("there").create();
    let controller = own.start(&[])?;
    let model = stage.vm("model").create();
    let id = |n: usize| model.id().replace("model", &format!("later-{n:02}"));
    for n in 0..AWAITED {
        stage.declare(assignment(&format!("later-{n:02}")).on_id(id(n)).present(stage.identity_id("shop-db"))).await?;
    }
    stage.identity("shop-db");
    let lists = || own.arm.journal_of(&stage.subscription).iter().filter(|call| is_list(call)).count();
    let reads = || {
        let journal = own.arm.journal_of(&stage.subscription);
        journal.iter().filter(|call| call.path.to_lowercase().contains("/later-")).count()
    };
    stage.until("the group to be listed", async || Ok(lists() > 0)).await?;
    let before = reads();
    stage.until("the group to be listed once more", async || Ok(lists() > 1)).await?;
    ensure!(reads() < before + AWAITED / 4, "{} reads more, beside the list", reads() - before);
    let appeared = stage.vm("later-17").create();
    stage.until_ready("later-17").await?;
    ensure!(appeared.identities() == ["shop-db"], "{:?}", appeared.identities());
    drop(controller);
    Ok(())
}

fn on_lists(then: Effect) -> Fault {
    Fault::new("GET", "/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines", then).only_lists()
}

fn answers(status: u16, code: &str) -> Fault {
    let body = json!({"error": {"code": code, "message": "as the test wants it"}});
    on_lists(Effect::Answer { status, headers: Vec::new(), body })
}

fn whole_answer(body: &Value) -> Fault {
    on_lists(Effect::Answer { status: 200, headers: Vec::new(), body: body.clone() })
}
