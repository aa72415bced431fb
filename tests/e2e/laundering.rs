//! One team's assignment cannot be used to make another team's identity nobody's, nor somebody's who did not attach it.

use anyhow::Result;
use arm_simulator::Machine;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams, ResourceExt as _};
use lanyard::api::RELEASE;
use lanyard::api::assignment::Mode;
use lanyard::domain::reason::Reason;

use crate::harness::{Declared, Stage, assignment, sent};

/// The same cloud and controller, as seen from another team's namespace.
async fn another_team<'a>(stage: &Stage<'a>) -> Result<Stage<'a>> {
    let metadata = ObjectMeta { generate_name: Some("team-".into()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let made = Api::all(stage.client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(Stage {
        namespace: made.name_any(),
        subscription: stage.subscription.clone(),
        client: stage.client.clone(),
        arm: stage.arm,
        log: stage.log.clone(),
    })
}

/// A machine with an identity that `owner` attached, and another team's declaration of it.
async fn shared(owner: &Stage<'_>, other: &Stage<'_>, as_other: fn(Declared) -> Declared) -> Result<Machine> {
    let vm = owner.vm("web").with_identity("legacy").create();
    owner.declare(assignment("web").on(&vm).present("shop-db")).await?;
    owner.until_ready("web").await?;
    other.declare(as_other(assignment("web").on(&vm).present("shop-db").present("legacy"))).await?;
    other.until_ready("web").await?;
    Ok(vm)
}

async fn still_goes_with_its_owner(owner: &Stage<'_>, vm: &Machine) -> Result<()> {
    owner.look_through("web", vm).await?;
    assert_eq!(owner.attached(vm).await?, ["shop-db"], "the owner's claim stands");
    owner.delete("web").await?;
    owner.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy"]);
    Ok(())
}

#[tokio::test]
async fn an_observer_that_goes_takes_no_identity_out_of_the_record() -> Result<()> {
    let owner = Stage::shared().await?;
    let other = another_team(&owner).await?;
    let vm = shared(&owner, &other, |it| it.mode(Mode::Observe)).await?;
    other.delete("web").await?;
    other.until_gone("web").await?;
    still_goes_with_its_owner(&owner, &vm).await
}

#[tokio::test]
async fn a_release_lets_go_of_ones_own_claim_alone() -> Result<()> {
    let owner = Stage::shared().await?;
    let other = another_team(&owner).await?;
    let vm = shared(&owner, &other, |it| it).await?;
    other.annotate("web", RELEASE, "true").await?;
    other.delete("web").await?;
    other.until_gone("web").await?;
    still_goes_with_its_owner(&owner, &vm).await
}

#[tokio::test]
async fn retain_lets_go_of_ones_own_claim_alone() -> Result<()> {
    let owner = Stage::shared().await?;
    let other = another_team(&owner).await?;
    let vm = shared(&owner, &other, Declared::retaining).await?;
    other.delete("web").await?;
    other.until_gone("web").await?;
    still_goes_with_its_owner(&owner, &vm).await
}

#[tokio::test]
async fn declaring_what_was_there_and_letting_go_of_it_makes_it_nobodys_to_remove() -> Result<()> {
    let owner = Stage::shared().await?;
    let other = another_team(&owner).await?;
    let vm = shared(&owner, &other, |it| it).await?;
    // To and fro between all that a team may say of an identity that is not its own.
    for change in [
        (|it: Declared| it.mode(Mode::Observe)) as fn(Declared) -> Declared,
        |it| it.mode(Mode::Enforce).suspended(true),
        |it| it.suspended(false).without("legacy"),
        |it| it.present("legacy"),
    ] {
        other.edit("web", change).await?;
        other.look_through("web", &vm).await?;
    }
    other.delete("web").await?;
    other.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    assert_eq!(sent(&vm).len(), 1, "attached for the owner, and nothing since");
    still_goes_with_its_owner(&owner, &vm).await
}

#[tokio::test]
async fn teams_that_contradict_each_other_are_named_to_each_other_and_go_on_when_one_withdraws() -> Result<()> {
    let here = Stage::shared().await?;
    let there = another_team(&here).await?;
    let vm = here.vm("web").with_identity("disputed").create();
    here.declare(assignment("web").on(&vm).present("disputed").present("shop-db")).await?;
    here.until_ready("web").await?;
    there.declare(assignment("web").on(&vm).absent("disputed").present("shop-queue")).await?;

    let told = [(&here, &there), (&there, &here)];
    for (told, other) in told {
        let message = told.until_not_ready("web", Reason::Conflict).await?;
        assert!(message.contains(&format!("{}/web", other.namespace)), "{message}");
    }
    here.until("all else to go on", async || Ok(vm.identities() == ["disputed", "shop-db", "shop-queue"])).await?;

    // One side withdraws: nobody has to touch the other for it to be ready again.
    there.edit("web", |it| it.without("disputed")).await?;
    there.until_ready("web").await?;
    here.until_ready("web").await?;
    assert_eq!(vm.identities(), ["disputed", "shop-db", "shop-queue"]);
    Ok(())
}
