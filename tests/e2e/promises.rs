//! The first promises: nothing is dropped, nothing is written twice, nothing is written without a guard.

use anyhow::Result;
use lanyard::api::assignment::SystemAssigned;

use crate::harness::{Stage, assignment, sent};

#[tokio::test]
async fn gives_a_machine_its_identities_beside_somebody_elses() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();

    stage.declare(assignment("web").on(&vm).present("shop-db").system(SystemAssigned::Enabled)).await?;
    stage.until_ready("web").await?;

    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    assert!(vm.system_principal().is_some());
    assert_eq!(sent(&vm), [r#"If-Match: "1"  SystemAssigned, UserAssigned + shop-db"#]);
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
    Ok(())
}

#[tokio::test]
async fn a_machine_in_its_declared_state_gets_no_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_system().with_identity("shop-db").create();

    stage.declare(assignment("web").on(&vm).present("shop-db").system(SystemAssigned::Enabled)).await?;
    stage.until_ready("web").await?;
    let (status, target) = (stage.status("web").await?, stage.target(&vm).await?);
    stage.look_through("web", &vm).await?;

    assert!(vm.patches().is_empty(), "{:?}", vm.patches());
    assert_eq!(stage.status("web").await?, status);
    assert_eq!(stage.target(&vm).await?, target);
    Ok(())
}

#[tokio::test]
async fn never_drops_what_somebody_else_attaches_between_read_and_patch() -> Result<()> {
    use arm_simulator::{Effect, Fault, ForeignAct};
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    let theirs = stage.identity("theirs");
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    // The only identity is ours; taking it off means `None`, which would drop theirs.
    let act = ForeignAct::AddIdentity(theirs.id().to_owned());
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Foreign { resource: None, act, after: false }));
    stage.edit("web", |it| it.without("shop-db")).await?;
    stage.until_ready("web").await?;

    assert_eq!(vm.identities(), ["theirs"]);
    assert_eq!(
        sent(&vm)[1..],
        [r#"If-Match: "2"  None"#, r#"If-Match: "3"  UserAssigned - shop-db"#],
        "refused with 412, read anew"
    );
    Ok(())
}
