//! What a refusal says: the action that is missing, the role that grants it, and where; asked of ARM once.
use crate::harness::{Stage, assignment};
use anyhow::Result;
use arm_simulator::Barrier;
use lanyard::domain::reason::Reason;

const WRITE: &str = "Microsoft.Compute/virtualMachines/write";
const ASSIGN: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action";

/// How often ARM was asked for the rights at a scope.
fn asked(stage: &Stage<'_>, scope: &str) -> usize {
    let path = format!("{scope}/providers/Microsoft.Authorization/permissions").to_lowercase();
    let journal = stage.arm.journal();
    journal.iter().filter(|exchange| exchange.path.to_lowercase() == path).count()
}

#[tokio::test]
async fn a_refused_write_names_action_role_and_scope_and_asks_once() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.arm.restrict(&vm.id(), Barrier::NoWriteRole);
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let message = stage.until_not_ready("web", Reason::AuthorizationFailed).await?;
    let told = format!("it lacks {WRITE} on {0}: grant it Virtual Machine Contributor on {0}", vm.id());
    assert!(message.contains(&told), "{message}");
    let patches = vm.patches().len();
    stage.look("web").await?;
    stage.until("it to be tried again", async || Ok(vm.patches().len() > patches)).await?;
    stage.until_not_ready("web", Reason::AuthorizationFailed).await?;
    assert_eq!(asked(&stage, &vm.id()), 1, "what ARM told is remembered");
    stage.arm.lift(&vm.id());
    stage.look("web").await?;
    stage.until_ready("web").await
}

#[tokio::test]
async fn an_identity_that_may_not_be_assigned_names_its_role_and_scope() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    let guarded = stage.identity("guarded");
    stage.arm.restrict(guarded.id(), Barrier::NoAssignRole);
    stage.declare(assignment("web").on(&vm).present(&guarded)).await?;
    let message = stage.until_not_ready("web", Reason::AssignRefused).await?;
    let told = format!("lacks {ASSIGN} on ").to_lowercase();
    assert!(message.to_lowercase().contains(&told), "{message}");
    assert!(message.contains("grant it Managed Identity Operator on "), "{message}");
    Ok(())
}

#[tokio::test]
async fn where_rights_may_not_be_read_the_message_is_what_arm_said() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.arm.restrict(&vm.id(), Barrier::NoReadRole);
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let message = stage.until_not_ready("web", Reason::AuthorizationFailed).await?;
    assert!(message.contains("grant it Virtual Machine Contributor there"), "{message}");
    Ok(())
}
