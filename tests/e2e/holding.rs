//! What holds writes back: observing, suspension, the default identity, AKS, a Flexible scale set, a target that is
//! not there.

use anyhow::Result;
use arm_simulator::Machine;
use lanyard::api::assignment::{Mode, SystemAssigned};
use lanyard::domain::reason::Reason;

use crate::harness::{Stage, assignment, names_of, sent};

#[tokio::test]
async fn observe_writes_nothing_and_shows_what_enforce_would_do() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let watched = assignment("web").on(&vm).present("shop-db").absent("legacy").system(SystemAssigned::Enabled);
    stage.declare(watched.mode(Mode::Observe)).await?;

    let message = stage.until_not_ready("web", Reason::ChangesPending).await?;
    assert!(message.contains("1 to add, 1 to remove"), "{message}");
    stage.look_through("web", &vm).await?;
    assert!(vm.patches().is_empty(), "not even a probe: {:?}", vm.patches());
    let plan = stage.status("web").await?.and_then(|status| status.plan).unwrap_or_default();
    assert_eq!(
        (names_of(&plan.change.add), names_of(&plan.change.remove)),
        (vec!["shop-db".into()], vec!["legacy".into()])
    );
    assert!(plan.change.system_assigned.is_some());
    assert!(!stage.is_stalled("web").await?);

    stage.edit("web", |it| it.mode(Mode::Enforce)).await?;
    stage.until_ready("web").await?;
    assert_eq!(sent(&vm), [r#"If-Match: "1"  SystemAssigned, UserAssigned - legacy + shop-db"#], "and so it did");
    Ok(())
}

#[tokio::test]
async fn what_an_observer_declares_is_not_detached_for_somebody_else() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.declare(assignment("observer").on(&vm).present("shop-db").mode(Mode::Observe)).await?;
    stage.until_ready("observer").await?;

    stage.edit("web", |it| it.without("shop-db")).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    assert_eq!(sent(&vm).len(), 1, "attached, and nothing since");
    Ok(())
}

#[tokio::test]
async fn suspend_holds_writes_and_a_deletion_acts_all_the_same() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    stage.edit("web", |it| it.suspended(true).present("shop-queue").without("shop-db")).await?;
    stage.until_not_ready("web", Reason::ChangesPending).await?;
    let suspended = stage.condition("web", "Suspended").await?.expect("it says that it is suspended");
    assert_eq!(suspended.status, "True");
    stage.look_through("web", &vm).await?;
    assert_eq!(sent(&vm).len(), 1);
    assert_eq!(vm.identities(), ["shop-db"]);

    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert!(vm.identities().is_empty(), "what was attached goes: {:?}", vm.identities());
    Ok(())
}

#[tokio::test]
async fn a_change_of_the_default_identity_is_blocked_where_asked_and_a_deletion_is_not() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db").blocking_default_change()).await?;
    stage.until_not_ready("web", Reason::DefaultIdentityChange).await?;
    assert!(stage.is_stalled("web").await?);
    assert!(sent(&vm).is_empty());

    let alone = stage.vm("alone").create();
    stage.declare(assignment("alone").on(&alone).present("shop-db")).await?;
    stage.until_ready("alone").await?;
    stage.edit("alone", crate::harness::Declared::blocking_default_change).await?;
    stage.until_ready("alone").await?;
    stage.delete("alone").await?;
    stage.until_gone("alone").await?;
    assert!(alone.identities().is_empty());
    Ok(())
}

#[tokio::test]
async fn machines_of_aks_are_refused_by_tag_group_name_and_group_owner() -> Result<()> {
    let stage = Stage::shared().await?;
    let cluster = "/subscriptions/x/resourceGroups/y/providers/Microsoft.ContainerService/managedClusters/k";
    let tagged = stage.scale_set("tagged").tag("aks-managed-poolName", "nodes").create();
    let grouped = stage.arm.vm(&stage.subscription, "MC_shop_k_westeurope", "grouped").create();
    let owned = stage.arm.vm(&stage.subscription, "nodes", "owned").group_managed_by(cluster).create();
    for machine in [&tagged, &grouped, &owned] {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
    }
    for machine in [&tagged, &grouped, &owned] {
        let message = stage.until_not_ready(machine.name(), Reason::ManagedByAKS).await?;
        assert!(message.contains("spec.aksNodePool"), "{message}");
        assert!(stage.is_stalled(machine.name()).await?);
        assert!(machine.patches().is_empty());
    }
    for machine in [&tagged, &grouped, &owned] {
        stage.edit(machine.name(), crate::harness::Declared::managing_aks).await?;
    }
    for machine in [&tagged, &grouped, &owned] {
        stage.until_ready(machine.name()).await?;
        assert_eq!(Machine::identities(machine), ["shop-db"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_flexible_scale_set_gets_its_user_identities_and_says_why_no_system_identity() -> Result<()> {
    let stage = Stage::shared().await?;
    let set = stage.scale_set("batch").flexible().create();
    stage.declare(assignment("batch").on(&set).present("shop-db").system(SystemAssigned::Enabled)).await?;

    let message = stage.until_not_ready("batch", Reason::SystemIdentityUnsupported).await?;
    assert!(message.contains("Flexible") && message.contains("Unmanaged"), "{message}");
    assert!(stage.is_stalled("batch").await?);
    assert_eq!(set.identities(), ["shop-db"]);
    assert_eq!(sent(&set), [r#"If-Match: "1"  UserAssigned + shop-db"#]);

    stage.edit("batch", |it| it.system(SystemAssigned::Unmanaged)).await?;
    stage.until_ready("batch").await
}

#[tokio::test]
async fn a_target_that_does_not_exist_yet_is_waited_for_and_served() -> Result<()> {
    let stage = Stage::shared().await?;
    let to_be = stage.vm("web").create();
    to_be.delete();
    stage.declare(assignment("web").on(&to_be).present("shop-db")).await?;
    stage.until_not_ready("web", Reason::TargetNotFound).await?;
    let reconciling = stage.condition("web", "Reconciling").await?.expect("it says that it is waiting");
    assert_eq!(reconciling.status, "True");
    assert!(!stage.is_stalled("web").await?);

    let vm = stage.vm("web").create();
    // Nobody asks: it looks again by itself within half a minute.
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    Ok(())
}

#[tokio::test]
async fn an_assignment_that_declares_nothing_is_ready_once_the_target_was_seen() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm)).await?;
    stage.until_ready("web").await?;
    assert!(vm.patches().is_empty());
    Ok(())
}
