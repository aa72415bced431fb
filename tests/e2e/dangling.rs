//! Dead entries: identities that were deleted, or deleted and made again, while machines had them.

use anyhow::Result;
use arm_simulator::{
    Barrier, DeadEntries, Effect, Fault, ForeignAct, Identity, Machine, MachineBuilder, Outcome, Settings,
};
use lanyard::api::assignment::{Mode, SystemAssigned, UserAssignedStatus};
use lanyard::api::status::{Origin, UserState};
use lanyard::domain::reason::Reason;

use crate::harness::{Declared, Own, Stage, assignment, names_of, sent};

/// What is told of one identity.
async fn told(stage: &Stage<'_>, name: &str, id: &str) -> Result<Option<UserAssignedStatus>> {
    let status = stage.status(name).await?.unwrap_or_default();
    Ok(status.user_assigned.into_iter().find(|told| told.resource_id.ends_with(&format!("/{id}"))))
}

/// Has the machine looked at until the assignment is ready with the principal that the identity has now.
async fn until_healed(stage: &Stage<'_>, name: &str, id: &Identity) -> Result<()> {
    let healed = async || {
        let told = told(stage, name, id.name()).await?;
        Ok(told.is_some_and(|told| told.state == UserState::Present && told.principal_id == id.principal_id()))
    };
    stage.until(&format!("{} to be alive", id.name()), healed).await?;
    stage.until_ready(name).await
}

/// A machine with an identity of ours; the identity is then made again.
async fn with_a_dead_one(
    stage: &Stage<'_>,
    machine: MachineBuilder,
    shown: DeadEntries,
) -> Result<(Machine, Identity)> {
    let (machine, db) = (machine.create(), stage.identity("shop-db"));
    stage.declare(assignment("web").on(&machine).present("shop-db")).await?;
    stage.until_ready("web").await?;
    db.when_dead(shown);
    db.recreate();
    stage.look("web").await?;
    Ok((machine, db))
}

#[tokio::test]
async fn what_we_attached_is_taken_off_and_attached_again_beside_somebody_elses() -> Result<()> {
    for shown in [DeadEntries::Blank, DeadEntries::Old] {
        let stage = Stage::shared().await?;
        let (vm, db) = with_a_dead_one(&stage, stage.vm("web").with_identity("legacy"), shown).await?;
        until_healed(&stage, "web", &db).await?;

        assert_eq!(vm.identities(), ["legacy", "shop-db"]);
        assert_eq!(
            sent(&vm)[1..],
            [r#"If-Match: "2"  UserAssigned - shop-db"#, r#"If-Match: "3"  UserAssigned + shop-db"#],
            "two requests for one dead entry, shown {shown:?}"
        );
        assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
        let new = db.principal_id().expect("it exists");
        stage.until_event("IdentityRepaired", &new).await?;
        stage.look_through("web", &vm).await?;
        assert_eq!(sent(&vm).len(), 3, "healed is healed");
    }
    Ok(())
}

#[tokio::test]
async fn the_type_is_right_when_it_is_the_only_identity_and_beside_a_system_identity() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, db) = with_a_dead_one(&stage, stage.scale_set("web"), DeadEntries::Blank).await?;
    until_healed(&stage, "web", &db).await?;
    assert_eq!(sent(&vm)[1..], [r#"If-Match: "2"  None"#, r#"If-Match: "3"  UserAssigned + shop-db"#]);
    assert!(!stage.events().await?.iter().any(|event| event.starts_with("DefaultIdentityChanged")));

    let stage = Stage::shared().await?;
    let (vm, db) = with_a_dead_one(&stage, stage.vm("web").with_system(), DeadEntries::Old).await?;
    let principal = vm.system_principal();
    until_healed(&stage, "web", &db).await?;
    assert_eq!(
        sent(&vm)[1..],
        [r#"If-Match: "2"  SystemAssigned"#, r#"If-Match: "3"  SystemAssigned, UserAssigned + shop-db"#]
    );
    assert_eq!(vm.system_principal(), principal);
    Ok(())
}

#[tokio::test]
async fn what_was_there_before_is_told_of_and_repaired_only_when_asked() -> Result<()> {
    let stage = Stage::shared().await?;
    let legacy = stage.identity("legacy");
    let vm = stage.scale_set("web").with_identity(&legacy).with_identity("other").create();
    legacy.recreate();
    stage.declare(assignment("web").on(&vm).present("legacy").present("shop-db")).await?;

    let message = stage.until_not_ready("web", Reason::IdentityDangling).await?;
    assert!(message.contains("repair") && message.starts_with("legacy"), "{message}");
    assert!(stage.is_stalled("web").await?);
    let entry = told(&stage, "web", "legacy").await?.expect("it is declared");
    assert_eq!((entry.state, entry.origin), (UserState::Dangling, Some(Origin::Preexisting)));
    assert!(entry.message.is_some_and(|message| message.contains("repair")));
    assert_eq!(told(&stage, "web", "shop-db").await?.map(|told| told.state), Some(UserState::Present));
    stage.until_event("IdentityDangling", "legacy").await?;
    stage.look_through("web", &vm).await?;
    assert_eq!(sent(&vm), [r#"If-Match: "1"  UserAssigned + shop-db"#], "others go on; the dead one is not touched");

    stage.edit("web", |it| it.repairing(legacy.id())).await?;
    until_healed(&stage, "web", &legacy).await?;
    assert_eq!(sent(&vm)[1..], [r#"If-Match: "2"  UserAssigned - legacy"#, r#"If-Match: "3"  UserAssigned + legacy"#]);
    assert_eq!(vm.identities(), ["legacy", "other", "shop-db"]);
    assert_eq!(stage.attached(&vm).await?, ["legacy", "shop-db"], "what was repaired is Lanyard's from then on");
    Ok(())
}

#[tokio::test]
async fn an_identity_that_is_only_deleted_is_told_of_and_heals_when_it_is_made_again() -> Result<()> {
    for shown in [DeadEntries::Blank, DeadEntries::Old] {
        let stage = Stage::shared().await?;
        let (vm, db) = (stage.vm("web").create(), stage.identity("shop-db"));
        stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
        stage.until_ready("web").await?;
        db.when_dead(shown);
        db.delete();
        stage.look("web").await?;
        let message = stage.until_not_ready("web", Reason::IdentityDangling).await?;
        assert!(message.contains("was deleted"), "{message}");
        stage.look_through("web", &vm).await?;
        assert_eq!(sent(&vm).len(), 1, "there is nothing to attach again");

        db.create_again();
        stage.look("web").await?;
        until_healed(&stage, "web", &db).await?;
        assert_eq!(sent(&vm).len(), 3);
    }
    Ok(())
}

#[tokio::test]
async fn what_never_heals_is_repaired_three_times_and_then_told_of() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, db) = with_a_dead_one(&stage, stage.vm("web"), DeadEntries::AlwaysBlank).await?;
    for round in 1..=3 {
        let rounds = async || Ok(sent(&vm).len() == 1 + 2 * round);
        stage.until(&format!("round {round} to be over"), rounds).await?;
    }
    let message = stage.until_not_ready("web", Reason::IdentityDangling).await?;
    assert!(message.contains("3 times"), "{message}");
    let repairs = stage.record(&vm).await?.repairs;
    assert_eq!(names_of(repairs.iter().map(|repair| &repair.resource_id)), ["shop-db"]);
    assert_eq!(repairs[0].rounds, 3, "a restart does not forget it");
    assert_eq!(vm.identities(), ["shop-db"]);

    // A person asks once more, and this time it helps.
    db.when_dead(DeadEntries::Blank);
    db.recreate();
    stage.look("web").await?;
    until_healed(&stage, "web", &db).await?;
    assert_eq!(sent(&vm).len(), 9);
    Ok(())
}

#[tokio::test]
async fn a_blank_entry_after_a_failed_operation_starts_no_loop() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, _db) = (stage.vm("web").create(), stage.identity("shop-db"));
    let outcome = Outcome::Failed { code: "InternalOperationError".into(), message: "it broke".into(), reverts: false };
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::EndOperation(outcome)).always());
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until("the change to have failed", async || Ok(vm.is_idle() && !sent(&vm).is_empty())).await?;
    stage.until_ready("web").await?;
    stage.look_through("web", &vm).await?;
    stage.look_through("web", &vm).await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    assert_eq!(sent(&vm).len(), 1, "{:?}", sent(&vm));
    Ok(())
}

#[tokio::test]
async fn who_only_observes_sees_the_repair_in_the_plan_and_nothing_is_written() -> Result<()> {
    let stage = Stage::shared().await?;
    let legacy = stage.identity("legacy");
    let vm = stage.vm("web").with_identity(&legacy).create();
    legacy.recreate();
    stage.declare(assignment("web").on(&vm).repairing("legacy").mode(Mode::Observe)).await?;
    stage.until_not_ready("web", Reason::ChangesPending).await?;
    let plan = stage.status("web").await?.and_then(|status| status.plan).unwrap_or_default();
    assert_eq!((names_of(&plan.change.remove), plan.change.add), (vec!["legacy".to_owned()], vec![]));

    stage.edit("web", |it| it.present(legacy.id())).await?;
    let message = stage.until_not_ready("web", Reason::IdentityDangling).await?;
    assert!(message.contains("repair"), "{message}");
    assert!(vm.patches().is_empty(), "{:?}", vm.patches());
    Ok(())
}

#[tokio::test]
async fn what_a_stranger_puts_back_between_the_two_requests_is_theirs() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, db) = (stage.vm("web").with_identity("legacy").create(), stage.identity("shop-db"));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    db.recreate();
    let act = ForeignAct::AddIdentity(db.id().to_owned());
    // After the removal, and before the request that would put it on again.
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Foreign { resource: None, act, after: false }).skip(1));
    stage.look("web").await?;
    until_healed(&stage, "web", &db).await?;
    assert!(stage.attached(&vm).await?.is_empty(), "theirs");

    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    Ok(())
}

#[tokio::test]
async fn a_claim_that_blocks_default_changes_does_not_hold_a_repair() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, db) = (stage.vm("web").with_identity("legacy").create(), stage.identity("shop-db"));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.edit("web", Declared::blocking_default_change).await?;
    stage.until_ready("web").await?;
    db.recreate();
    stage.look("web").await?;
    until_healed(&stage, "web", &db).await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    let events = stage.events().await?;
    let changes = events.iter().filter(|event| event.starts_with("DefaultIdentityChanged")).count();
    assert_eq!(changes, 1, "when it was first attached beside the other: {events:?}");
    Ok(())
}

#[tokio::test]
async fn identities_that_nobody_declares_are_never_asked() -> Result<()> {
    let stage = Stage::shared().await?;
    let dead = stage.identity("dead");
    let vm = stage.vm("web").with_identity(&dead).create();
    dead.recreate();
    stage.declare(assignment("web").on(&vm).present("shop-db").system(SystemAssigned::Enabled)).await?;
    stage.until_ready("web").await?;
    stage.look_through("web", &vm).await?;
    let journal = stage.arm.journal_of(&stage.subscription);
    let asked = |name: &str| journal.iter().filter(|call| call.path.ends_with(&format!("Identities/{name}"))).count();
    assert_eq!(asked("dead"), 0);
    assert!(asked("shop-db") > 0, "and those that somebody does are");
    assert_eq!(vm.identities(), ["dead", "shop-db"]);
    Ok(())
}

#[tokio::test]
async fn killed_between_the_two_requests_the_next_process_attaches_it_again() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let (vm, legacy) = (stage.vm("web").create(), stage.identity("legacy"));
    vm.attach_as_stranger(&legacy);
    legacy.recreate();
    // The removal is accepted, and its operation runs when the process dies.
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}).skip(1));
    stage.declare(assignment("web").on(&vm).repairing("legacy")).await?;
    stage.until("the entry to be gone", async || Ok(vm.identities().is_empty())).await?;
    first.kill()?;
    stage.arm.finish_operations();
    assert!(stage.record(&vm).await?.repairs.iter().all(|repair| repair.rounds == 1 && repair.awaited));

    let _second = own.start(&[])?;
    until_healed(&stage, "web", &legacy).await?;
    assert_eq!(vm.identities(), ["legacy"]);
    assert_eq!(stage.attached(&vm).await?, ["legacy"]);
    assert_eq!(sent(&vm).len(), 2, "{:?}", sent(&vm));
    let repairs = stage.record(&vm).await?.repairs;
    assert!(repairs.iter().all(|repair| repair.rounds == 1 && !repair.awaited), "counted all the same: {repairs:?}");
    Ok(())
}

#[tokio::test]
async fn an_identity_that_may_not_be_looked_at_is_no_trouble_unless_its_entry_is_blank() -> Result<()> {
    let stage = Stage::shared().await?;
    let db = stage.identity("shop-db");
    let vm = stage.vm("web").with_identity(&db).create();
    stage.arm.restrict(db.id(), Barrier::NoReadRole);
    stage.declare(assignment("web").on(&vm).repairing("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.look_through("web", &vm).await?;
    stage.until_ready("web").await?;

    db.recreate();
    stage.look("web").await?;
    let message = stage.until_not_ready("web", Reason::IdentityDangling).await?;
    assert!(message.contains("Managed Identity Operator"), "{message}");
    assert!(vm.patches().is_empty(), "{:?}", vm.patches());

    stage.arm.lift(db.id());
    stage.look("web").await?;
    until_healed(&stage, "web", &db).await
}
