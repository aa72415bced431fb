//! Drift is looked for by lists. What they show decides whom to visit; what they fail to show hides nobody.
use crate::harness::{Controller, Declared, Own, Stage, assignment, is_list, sent, tail};
use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Exchange, Fault, Machine, Settings};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Machines enough for several pages of a list.
const MACHINES: usize = 12;
const ON_A_PAGE: usize = 5;

/// The shortest that is admitted: who is not shown by a list is visited soon.
const SOON: &str = "30s";
/// The longest: who is visited in a test was shown by a list.
const SELDOM: &str = "24h";

fn wanted(machine: &Machine, drift_interval: &str) -> Declared {
    let mut wanted = assignment(machine.name()).on(machine).present("shop-db");
    wanted.0.spec.drift_interval = drift_interval.into();
    wanted
}

/// Machines that are as declared, and no controller.
struct Fleet {
    own: Own,
    machines: Vec<Machine>,
}

impl Fleet {
    async fn at_rest(drift_interval: &str) -> Result<Self> {
        let own = Own::new(Settings { page_size: ON_A_PAGE, ..Settings::quick() }).await?;
        let controller = own.start(&[])?;
        let machines = {
            let stage = own.stage()?;
            let machines: Vec<Machine> = (0..MACHINES).map(|n| stage.vm(&format!("m{n:02}")).create()).collect();
            for machine in &machines {
                stage.declare(wanted(machine, drift_interval)).await?;
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
    let fleet = Fleet::at_rest(SELDOM).await?;
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
    let fleet = Fleet::at_rest(SELDOM).await?;
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
#[case::a_page_fails(answers(500, "InternalServerError").page(2).times(2))]
#[case::a_page_fails_for_good(answers(500, "InternalServerError").page(3))]
#[case::every_list_is_refused(answers(403, "AuthorizationFailed"))]
#[case::lists_are_throttled(answers(429, "ResourceRequestsThrottled"))]
#[case::the_token_is_refused_for_lists(on_lists(Effect::RefuseToken {}))]
#[case::lists_hang(on_lists(Effect::Hang {}))]
#[case::a_page_is_garbage(on_lists(Effect::GarbageBody {}).page(2))]
#[case::a_page_is_cut_short(on_lists(Effect::TruncateBody {}).page(3))]
#[case::the_list_leads_elsewhere(on_lists(Effect::LinkTo { origin: "https://elsewhere.example".into() }))]
#[case::pages_skip_machines(on_lists(Effect::SkipMachines { count: 2 }).page(3))]
#[case::pages_repeat_machines(on_lists(Effect::RepeatMachines { count: 3 }))]
#[case::the_list_is_empty(whole_answer(&json!({"value": []})))]
#[case::the_list_has_no_end(whole_answer(&json!({"value": [], "nextLink": "/subscriptions/again?api-version=2024-07-01"})))]
#[case::the_list_is_of_another_form(whole_answer(&json!({"machines": []})))]
#[case::the_list_is_a_quarter_of_an_hour_old(on_lists(Effect::OldRead { millis: 15 * 60 * 1_000 }))]
#[tokio::test]
async fn a_list_that_fails_hides_no_drift(#[case] fault: Fault) -> Result<()> {
    let fleet = Fleet::at_rest(SOON).await?;
    ensure!(fleet.last().detach_as_stranger(fleet.stage()?.identity_id("shop-db")));
    fleet.own.arm.fault(fault);
    let controller = fleet.own.start(&[])?;
    let stage = fleet.stage()?;
    stage.until("the drift to be repaired", async || Ok(fleet.last().identities() == ["shop-db"])).await?;
    stage.until_ready(fleet.last().name()).await?;
    for machine in &fleet.machines[..MACHINES - 1] {
        ensure!(
            sent(machine) == ["If-Match: \"1\"  UserAssigned + shop-db"],
            "{}: {:?}",
            machine.name(),
            sent(machine)
        );
    }
    drop(controller);
    Ok(())
}

#[tokio::test]
async fn a_list_that_leads_to_another_host_is_not_followed_and_said() -> Result<()> {
    let fleet = Fleet::at_rest(SELDOM).await?;
    fleet.own.arm.fault(on_lists(Effect::LinkTo { origin: "https://elsewhere.example".into() }));
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
    let fleet = Fleet::at_rest(SELDOM).await?;
    let stage = fleet.stage()?;
    let (machine, name) = (fleet.last(), fleet.last().name());
    // The first pages are read now and told later; meanwhile somebody declares more.
    fleet.own.arm.fault(on_lists(Effect::Slow { millis: 4_000, after: true }));
    let mark = fleet.own.arm.journal_mark();
    let controller = fleet.own.start(&[])?;
    stage.until("a list to be asked for", async || Ok(fleet.own.arm.journal_since(mark).iter().any(is_list))).await?;
    stage.edit(name, |it| it.present("queue")).await?;
    stage.until_ready(name).await?;
    let reads = stage.calls("GET", machine);
    fleet.until_shown(&controller, "at rest", MACHINES - 1).await?;
    ensure!(stage.calls("GET", machine) == reads && sent(machine).len() == 2, "{:?}", sent(machine));
    Ok(())
}

#[tokio::test]
async fn lists_of_one_subscription_that_hang_delay_no_other() -> Result<()> {
    let fleet = Fleet::at_rest(SELDOM).await?;
    let stage = fleet.stage()?;
    let other = uuid::Uuid::new_v4().to_string();
    fleet.own.arm.subscription(&other);
    let controller = fleet.own.start(&[])?;
    let machines: Vec<Machine> = (0..3).map(|n| fleet.own.arm.vm(&other, "shop", &format!("o{n}")).create()).collect();
    for machine in &machines {
        stage.declare(wanted(machine, SELDOM)).await?;
        stage.until_ready(machine.name()).await?;
    }
    controller.terminate().await?;
    fleet.own.arm.fault(Fault::of_subscription(&stage.subscription, Effect::Hang {}));
    let id = format!(
        "/subscriptions/{other}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db"
    );
    ensure!(machines[0].detach_as_stranger(&id));
    let mark = fleet.own.arm.journal_mark();
    let controller = fleet.own.start(&[])?;
    stage.until("the drift to be repaired", async || Ok(machines[0].identities() == ["shop-db"])).await?;
    let journal = fleet.own.arm.journal_since(mark);
    let read = |machine: &&Machine| journal.iter().any(|call| call.path.eq_ignore_ascii_case(&machine.id()));
    let visited: Vec<&str> = machines.iter().filter(read).map(Machine::name).collect();
    ensure!(visited == [machines[0].name()], "{visited:?}\n{}", tail(&controller.log, "gives reason", 9));
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
    Fault::on_list("/virtualMachines", then)
}

fn answers(status: u16, code: &str) -> Fault {
    let body = json!({"error": {"code": code, "message": "as the test wants it"}});
    on_lists(Effect::Answer { status, headers: Vec::new(), body })
}

fn whole_answer(body: &Value) -> Fault {
    on_lists(Effect::Answer { status: 200, headers: Vec::new(), body: body.clone() })
}
