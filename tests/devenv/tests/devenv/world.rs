use std::fs;

use anyhow::Result;
use devenv::crds;
use devenv::world::World;
use tempfile::TempDir;

#[tokio::test]
async fn each_test_has_a_namespace_and_a_subscription_of_its_own() -> Result<()> {
    let (one, other) = (World::start().await?, World::start().await?);
    assert_ne!(one.namespace, other.namespace);
    assert_ne!(one.subscription, other.subscription);
    assert!(std::ptr::eq(one.control_plane(), other.control_plane()), "and one cluster for all");

    one.arm().vm(&one.subscription, "shop", "web").create();
    assert!(one.arm().truth(&one.subscription).to_string().contains("web"));
    assert!(!one.arm().truth(&other.subscription).to_string().contains("web"));
    Ok(())
}

#[tokio::test]
async fn definitions_are_applied_again_and_other_kinds_passed_over() -> Result<()> {
    let world = World::start().await?;
    let directory = TempDir::new()?;
    let definition = crate::control_plane::CRD.replace("lamps", "globes").replace("lamp", "globe");
    let definition = definition.replace("Lamp", "Globe");
    fs::write(directory.path().join("globes.yaml"), definition)?;
    fs::write(directory.path().join("kustomization.yaml"), "kind: Kustomization\nresources: [globes.yaml]\n")?;

    for _ in 0..2 {
        let names = crds::apply(&world.client, directory.path()).await?;
        assert_eq!(names, ["globes.devenv.lanyard.dev"]);
    }
    let served = world.client.list_api_group_resources("devenv.lanyard.dev/v1").await?;
    assert!(served.resources.iter().any(|resource| resource.name == "globes"));
    Ok(())
}

#[tokio::test]
async fn a_definition_that_does_not_parse_is_named() -> Result<()> {
    let world = World::start().await?;
    let directory = TempDir::new()?;
    fs::write(directory.path().join("broken.yaml"), "kind: [unfinished\n")?;
    let error = crds::apply(&world.client, directory.path()).await.expect_err("it is broken");
    assert!(error.to_string().contains("broken.yaml"), "{error}");
    Ok(())
}
