//! Several assignments on one machine: one unit of work, conflicts that name each other, nothing that flickers.

use anyhow::Result;
use kube::api::ListParams;
use lanyard::api::assignment::SystemAssigned;
use lanyard::domain::reason::Reason;

use crate::harness::{Stage, assignment, sent};

#[tokio::test]
async fn several_assignments_make_one_patch() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, _) = (stage.vm("web").create(), stage.identity("legacy"));
    vm.delete();
    stage.declare(assignment("web").on(&vm).present("shop-db").present("shop-queue")).await?;
    stage.declare(assignment("ops").on(&vm).present("monitor").absent("legacy")).await?;
    stage.declare(assignment("sys").on(&vm).system(SystemAssigned::Enabled)).await?;
    for name in ["web", "ops", "sys"] {
        stage.until_not_ready(name, Reason::TargetNotFound).await?;
    }

    // All three are known by now; the machine appears with what is to go.
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.look("web").await?;
    for name in ["web", "ops", "sys"] {
        stage.until_ready(name).await?;
    }

    assert_eq!(vm.identities(), ["monitor", "shop-db", "shop-queue"]);
    assert_eq!(sent(&vm), [r#"If-Match: "1"  SystemAssigned, UserAssigned - legacy + monitor + shop-db + shop-queue"#]);
    Ok(())
}

#[tokio::test]
async fn one_machine_is_one_unit_of_work_however_its_id_is_spelled() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("Web").create();
    stage.declare(assignment("lower").on_id(vm.id().to_lowercase()).present("shop-db")).await?;
    stage.declare(assignment("node").on_id(format!("azure://{}", vm.id())).present("shop-queue")).await?;
    let upper = vm.id().replace("resourceGroups", "RESOURCEGROUPS").replace("/Web", "/WEB");
    stage.declare(assignment("upper").on_id(upper).present("SHOP-DB")).await?;
    for name in ["lower", "node", "upper"] {
        stage.until_ready(name).await?;
    }

    assert_eq!(vm.identity_ids().len(), 2, "{:?}", vm.identity_ids());
    let targets = stage.targets().list(&ListParams::default()).await?;
    let mine = targets.iter().filter(|target| target.record.resource_id.contains(&stage.subscription));
    assert_eq!(mine.count(), 1);
    assert_eq!(stage.record(&vm).await?.claims.len(), 3);
    let removed = vm.history().into_iter().flat_map(|change| change.removed).count();
    assert_eq!(removed, 0, "the claims share what they name");
    Ok(())
}

#[tokio::test]
async fn a_conflict_names_both_sides_and_ends_with_either() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("disputed").create();
    stage.declare(assignment("keeps").on(&vm).present("disputed").present("shop-db")).await?;
    stage.until_ready("keeps").await?;
    stage.declare(assignment("takes").on(&vm).absent("disputed").present("shop-queue")).await?;

    let told = [
        stage.until_not_ready("keeps", Reason::Conflict).await?,
        stage.until_not_ready("takes", Reason::Conflict).await?,
    ];
    let id = stage.identity_id("disputed");
    for (message, other) in told.iter().zip(["takes", "keeps"]) {
        let other = format!("{}/{other}", stage.namespace);
        assert!(message.contains(&other) && message.contains(&id), "{message}");
    }
    assert!(stage.is_stalled("keeps").await? && stage.is_stalled("takes").await?);
    let all_else = async || Ok(vm.identities() == ["disputed", "shop-db", "shop-queue"]);
    stage.until("all else to go on", all_else).await?;

    stage.delete("keeps").await?;
    stage.until_gone("keeps").await?;
    stage.until_ready("takes").await?;
    assert_eq!(vm.identities(), ["shop-queue"], "Absent is applied once nobody objects");
    Ok(())
}

#[tokio::test]
async fn a_conflict_about_the_system_identity_leaves_it_as_it_is() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_system().create();
    let principal = vm.system_principal();
    stage.declare(assignment("on").on(&vm).system(SystemAssigned::Enabled)).await?;
    stage.until_ready("on").await?;
    stage.declare(assignment("off").on(&vm).system(SystemAssigned::Disabled).present("shop-db")).await?;

    let message = stage.until_not_ready("off", Reason::Conflict).await?;
    assert!(message.contains(&format!("{}/on", stage.namespace)), "{message}");
    stage.until_not_ready("on", Reason::Conflict).await?;
    stage.until("all else to go on", async || Ok(vm.identities() == ["shop-db"])).await?;
    assert_eq!(vm.system_principal(), principal);

    stage.delete("on").await?;
    stage.until_ready("off").await?;
    assert_eq!(vm.system_principal(), None, "Disabled is applied once nobody objects");
    let principal = principal.unwrap_or_default();
    stage.until_event("DefaultIdentityChanged", &principal).await?;
    Ok(())
}

#[tokio::test]
async fn an_identity_that_moves_to_another_assignment_never_leaves() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web-0").on(&vm).present("shop-db")).await?;
    stage.until_ready("web-0").await?;
    for round in 1..=5 {
        let (old, new) = (format!("web-{}", round - 1), format!("web-{round}"));
        stage.declare(assignment(&new).on(&vm).present("shop-db")).await?;
        stage.delete(&old).await?;
        stage.until_gone(&old).await?;
        stage.until_ready(&new).await?;
    }

    let left: Vec<_> = vm.history().into_iter().filter(|change| !change.removed.is_empty()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(sent(&vm).len(), 1, "attached once");
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
    Ok(())
}

#[tokio::test]
async fn what_two_assignments_declare_goes_with_the_second() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("first").on(&vm).present("shop-db")).await?;
    stage.until_ready("first").await?;
    stage.declare(assignment("second").on(&vm).present("shop-db")).await?;
    stage.until_ready("second").await?;

    stage.delete("first").await?;
    stage.until_gone("first").await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    stage.delete("second").await?;
    stage.until_gone("second").await?;
    assert!(vm.identities().is_empty());
    Ok(())
}
