//! Operations that go on: they hold no worker and no place, and outlive the process that began them.

use anyhow::Result;
use arm_simulator::{Effect, Fault, Machine, Settings};

use crate::harness::{Own, Stage, assignment, sent};

fn reads(stage: &Stage<'_>, machine: &Machine) -> usize {
    let journal = stage.arm.journal_of(&stage.subscription);
    journal.iter().filter(|call| call.is("GET", &machine.id())).count()
}

/// The endpoint is asked whether it honours If-Match before the first write: that must not use up a fault.
async fn warm_up(stage: &Stage<'_>) -> Result<()> {
    let vm = stage.vm("warm-up").create();
    stage.declare(assignment("warm-up").on(&vm).present("shop-db")).await?;
    stage.until_ready("warm-up").await
}

fn polls(stage: &Stage<'_>) -> usize {
    let journal = stage.arm.journal_of(&stage.subscription);
    journal.iter().filter(|call| call.is("GET", "/locations/")).count()
}

#[tokio::test]
async fn operations_that_go_on_hold_no_worker_and_no_place_of_their_subscription() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    // Four workers, and two places for each subscription.
    let _controller = own.start(&["--concurrency=4"])?;
    let stage = own.stage()?;
    warm_up(&stage).await?;
    let slow: Vec<Machine> = (0..6).map(|number| stage.vm(&format!("slow-{number}")).create()).collect();
    for vm in &slow {
        stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}));
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
    }
    for vm in &slow {
        stage.until("its operation to run", async || Ok(!sent(vm).is_empty())).await?;
    }

    let other = stage.vm("other").create();
    stage.declare(assignment("other").on(&other).present("shop-db")).await?;
    stage.until_ready("other").await?;
    assert!(slow.iter().all(|vm| !vm.is_idle()), "and theirs still run");

    stage.arm.finish_operations();
    for vm in &slow {
        stage.until_ready(vm.name()).await?;
        assert_eq!(sent(vm).len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn an_operation_outlives_its_process_and_is_followed_by_reads_of_the_machine() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    warm_up(&stage).await?;
    let vm = stage.vm("web").create();
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until("its operation to run", async || Ok(!sent(&vm).is_empty())).await?;
    first.kill()?;

    let _second = own.start(&[])?;
    let (polled, read) = (polls(&stage), reads(&stage, &vm));
    stage.until("the machine to be looked at again and again", async || Ok(reads(&stage, &vm) >= read + 3)).await?;
    assert_eq!(polls(&stage), polled, "the operation's address died with the first process");
    stage.arm.finish_operations();
    stage.until_ready("web").await?;
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
    assert_eq!(sent(&vm).len(), 1, "what was accepted is not sent again");
    Ok(())
}
