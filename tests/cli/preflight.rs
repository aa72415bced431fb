//! `lanyard preflight`.
use crate::program::{Cloud, GROUP};
use anyhow::Result;
use arm_simulator::Barrier;

fn declared(cloud: &Cloud) -> Result<()> {
    cloud.arm.identity(&cloud.subscription, GROUP, "shop-db").create();
    cloud.arm.vm(&cloud.subscription, GROUP, "web").create();
    let spec = format!("  userAssigned:\n  - resourceId: {}\n", cloud.identity("shop-db"));
    cloud.write("web.yaml", &cloud.assignment("web", "web", &spec))
}

#[test]
fn who_may_do_all_is_ready_and_nothing_was_written() -> Result<()> {
    let cloud = Cloud::start()?;
    declared(&cloud)?;
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert!(said.code == Some(0) && said.out.contains("+ ready: 5 rights checked"), "{said:?}");
    let below =
        |scope: &str, what: &str| format!("GET {scope}/providers/Microsoft.Authorization/{what}").to_lowercase();
    let subscription = format!("/subscriptions/{}", cloud.subscription);
    let group = format!("{subscription}/resourceGroups/{GROUP}");
    let mut asked: Vec<String> = cloud.asked().iter().map(|asked| asked.to_lowercase()).collect();
    asked.sort();
    assert_eq!(asked, [below(&subscription, "locks"), below(&group, "permissions")]);
    Ok(())
}

#[test]
fn a_missing_role_is_named_with_its_scope_and_what_would_grant_it() -> Result<()> {
    let cloud = Cloud::start()?;
    declared(&cloud)?;
    cloud.arm.restrict(&cloud.machine("web"), Barrier::NoWriteRole);
    cloud.arm.restrict(&cloud.identity("shop-db"), Barrier::NoAssignRole);
    let said = cloud.run(&["preflight", "-f", ".", "-o", "json"])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let found = said.json()?;
    let missing: Vec<(&str, &str)> = found["missing"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| (one["action"].as_str().unwrap_or_default(), one["scope"].as_str().unwrap_or_default()))
        .collect();
    let (web, db) = (cloud.machine("web"), cloud.identity("shop-db"));
    let write = ("Microsoft.Compute/virtualMachines/write", web.as_str());
    let assign = ("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", db.as_str());
    assert!(missing.len() == 2 && missing.contains(&write) && missing.contains(&assign), "{found:#}");

    let said = cloud.run(&["preflight", "-f", "."])?;
    for told in [
        format!("--role 'Virtual Machine Contributor' --scope '{web}'"),
        format!("--role 'Managed Identity Operator' --scope '{db}'"),
    ] {
        assert!(said.out.contains(&told), "{told} in\n{}", said.out);
    }
    let terraform = cloud.run(&["preflight", "-f", ".", "--grants", "terraform"])?;
    assert!(
        terraform.out.contains("resource \"azurerm_role_assignment\" \"lanyard_1\"") && terraform.out.contains(&web),
        "{terraform:?}"
    );
    let bicep = cloud.run(&["preflight", "-f", ".", "--grants", "bicep"])?;
    assert!(
        bicep.out.contains("'9980e02c-c2be-4d73-94e8-173b1dc7cf3c'")
            && bicep.out.contains("existing = {\n  name: 'web'"),
        "{bicep:?}"
    );
    Ok(())
}

#[test]
fn a_lock_is_named_and_what_may_not_even_be_read_is_told() -> Result<()> {
    let cloud = Cloud::start()?;
    declared(&cloud)?;
    let group = format!("/subscriptions/{}/resourceGroups/{GROUP}", cloud.subscription);
    cloud.arm.restrict(&group, Barrier::ScopeLocked);
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert!(said.code == Some(2) && said.out.contains(&format!("on {group} forbids changes of 1 machine")), "{said:?}");
    cloud.arm.lift(&group);
    cloud.arm.restrict(&group, Barrier::NoReadRole);
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert!(said.code == Some(2) && said.out.contains("may not be read"), "{said:?}");
    Ok(())
}

#[test]
fn a_lock_holds_up_identities_that_are_objects_too() -> Result<()> {
    let cloud = Cloud::start()?;
    let group = format!("/subscriptions/{}/resourceGroups/{GROUP}", cloud.subscription);
    cloud.arm.identity(&cloud.subscription, GROUP, "of-the-group").create();
    let id = format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-cache");
    let object =
        "apiVersion: lanyard.dev/v1alpha1\nkind: UserAssignedIdentity\nmetadata: {name: cache, namespace: shop}\n";
    cloud.write("cache.yaml", &format!("{object}spec: {{resourceId: {id}}}\n"))?;
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert!(said.code == Some(0), "{said:?}");
    cloud.arm.restrict(&group, Barrier::ScopeLocked);
    let said = cloud.run(&["preflight", "-f", "."])?;
    let told = format!("on {group} forbids what is declared of identities that are objects: {id}");
    assert!(said.code == Some(2) && said.out.contains(&told), "{said:?}");
    Ok(())
}

#[test]
fn the_probe_is_sent_only_when_it_is_asked_for() -> Result<()> {
    let cloud = Cloud::start()?;
    declared(&cloud)?;
    let said = cloud.run(&["preflight", "-f", ".", "--probe"])?;
    assert!(said.code == Some(0) && said.out.contains("the endpoint honours If-Match"), "{said:?}");
    let patches = cloud.asked().iter().filter(|asked| asked.starts_with("PATCH ")).count();
    assert_eq!(patches, 1, "{:?}", cloud.asked());
    Ok(())
}
