//! `UserAssignedIdentity` and references, by every command that meets them.
use crate::program::{Cloud, GROUP, run_with_input};
use anyhow::Result;
use arm_simulator::Barrier;

/// An object as YAML; `spec` goes on after the id, two blanks deep.
fn object(cloud: &Cloud, name: &str, identity: &str, spec: &str) -> String {
    let head = "apiVersion: lanyard.dev/v1alpha1\nkind: UserAssignedIdentity\n";
    let metadata = format!("metadata:\n  name: {name}\n  namespace: shop\n");
    format!("{head}{metadata}spec:\n  resourceId: {}\n{spec}", cloud.identity(identity))
}

const REFERS: &str = "  userAssignedRefs:\n  - name: db\n";

#[test]
fn an_identity_that_is_to_be_made_and_what_refers_to_it_are_planned_together() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.vm(&cloud.subscription, GROUP, "web").create();
    cloud.write("db.yaml", &object(&cloud, "db", "shop-db", "  tags: {team: shop}\n"))?;
    cloud.write("web.yaml", &cloud.assignment("web", "web", REFERS))?;
    let said = cloud.run(&["plan", "-f", "."])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    for told in [
        "+ shop-db  create",
        "declared, and not there [shop/db (./db.yaml:1)]",
        "    + shop-db  attach   declared by shop/web (./web.yaml:10)",
        "1 of 1 machine would change: 1 to add, 0 to remove. Of 1 identity: 1 to create.",
    ] {
        assert!(said.out.contains(told), "{told} in\n{}", said.out);
    }
    assert!(cloud.asked().iter().all(|asked| asked.starts_with("GET ")), "{:?}", cloud.asked());
    Ok(())
}

#[test]
fn an_identity_that_is_there_is_adopted_without_a_change_and_its_tags_are_one() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.identity(&cloud.subscription, GROUP, "shop-db").create();
    cloud.write("db.yaml", &object(&cloud, "db", "SHOP-db", ""))?;
    let said = cloud.run(&["plan", "-f", "db.yaml", "-o", "json"])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.json()?["identities"][0]["outcome"], "Adopt", "{said:?}");

    cloud.write("db.yaml", &object(&cloud, "db", "shop-db", "  tags: {team: shop}\n"))?;
    let said = cloud.run(&["plan", "-f", "db.yaml", "-o", "json"])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let identity = &said.json()?["identities"][0];
    assert!(identity["outcome"] == "Tag" && identity["tags"]["set"]["team"] == "shop", "{identity:#}");

    cloud.write("db.yaml", &object(&cloud, "db", "shop-db", "  adopt: Never\n"))?;
    cloud.arm.vm(&cloud.subscription, GROUP, "web").create();
    cloud.write("web.yaml", &cloud.assignment("web", "web", REFERS))?;
    let said = cloud.run(&["plan", "-f", "."])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("! shop-db  exists"), "{said:?}");
    assert!(said.out.contains("the reference to db waits"), "{said:?}");
    Ok(())
}

#[test]
fn validate_warns_of_a_reference_to_nothing_and_refuses_what_contradicts() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.write("web.yaml", &cloud.assignment("web", "web", REFERS))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let warned = "./web.yaml:10:11: warning: there is no UserAssignedIdentity shop/db here";
    assert!(
        said.out.contains(warned) && said.out.contains("valid: 1 IdentityAssignment in 1 file; 1 warning"),
        "{said:?}"
    );

    cloud.write("db.yaml", &object(&cloud, "db", "shop-db", ""))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert!(
        said.code == Some(0) && said.out.contains("valid: 1 IdentityAssignment, 1 UserAssignedIdentity"),
        "{said:?}"
    );

    cloud.write("other.yaml", &object(&cloud, "later", "SHOP-DB", ""))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = "./other.yaml:7:15: UserAssignedIdentity shop/later names";
    assert!(said.out.contains(told) && said.out.contains("which shop/db (./db.yaml:1) has"), "{said:?}");
    std::fs::remove_file(cloud.path().join("other.yaml"))?;

    let both = |ensure: &str| {
        format!("  userAssigned:\n  - resourceId: {}\n    ensure: {ensure}\n{REFERS}", cloud.identity("shop-db"))
    };
    cloud.write("web.yaml", &cloud.assignment("web", "web", &both("Present")))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert!(said.code == Some(0) && said.out.contains("as spec.userAssigned[0] does: one of them will do"), "{said:?}");
    cloud.write("web.yaml", &cloud.assignment("web", "web", &both("Absent")))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert!(said.code == Some(1) && said.out.contains("one says Present, the other Absent"), "{said:?}");
    Ok(())
}

#[test]
fn identities_of_a_scope_are_imported_to_stay_and_plan_to_no_change() -> Result<()> {
    let cloud = Cloud::start()?;
    for (group, name) in [(GROUP, "Shop_DB"), ("other", "shop-db"), (GROUP, "queue"), ("MC_shop", "agentpool")] {
        cloud.arm.identity(&cloud.subscription, group, name).create();
    }
    cloud.arm.vm(&cloud.subscription, GROUP, "web").with_identity(cloud.identity("queue")).create();
    let scope = format!("/subscriptions/{}", cloud.subscription);
    let said = cloud.run(&["import", &scope, "-n", "shop"])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out, cloud.run(&["import", &scope, "-n", "shop"])?.out, "the same each time");
    assert_eq!(said.out.matches("kind: UserAssignedIdentity").count(), 3, "{}", said.out);
    assert_eq!(said.out.matches("deletionPolicy: Retain").count(), 3, "{}", said.out);
    assert!(said.out.contains("agentpool lies in a resource group of AKS"), "{}", said.out);
    let planned = run_with_input(cloud.program().args(["plan", "-f", "-"]), &said.out)?;
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(planned.out.contains("Of 3 identities: 3 to adopt as they are"), "{planned:?}");
    let checked = run_with_input(cloud.program().args(["validate", "-f", "-"]), &said.out)?;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    Ok(())
}

#[test]
fn preflight_asks_for_what_identities_need_on_their_group() -> Result<()> {
    let cloud = Cloud::start()?;
    let group = format!("/subscriptions/{}/resourceGroups/{GROUP}", cloud.subscription);
    cloud.arm.vm(&cloud.subscription, GROUP, "web").create();
    cloud.write("db.yaml", &object(&cloud, "db", "shop-db", ""))?;
    cloud.write("web.yaml", &cloud.assignment("web", "web", REFERS))?;
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    cloud.arm.restrict(&group, Barrier::NoWriteRole);
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    for told in [
        format!("- Microsoft.ManagedIdentity/userAssignedIdentities/write is not granted on {group}"),
        format!("- Microsoft.ManagedIdentity/userAssignedIdentities/delete is not granted on {group}"),
        format!("--role 'Managed Identity Contributor' --scope '{group}'"),
    ] {
        assert!(said.out.contains(&told), "{told} in\n{}", said.out);
    }
    cloud.write("db.yaml", &object(&cloud, "db", "shop-db", "  deletionPolicy: Retain\n"))?;
    let said = cloud.run(&["preflight", "-f", "."])?;
    assert!(!said.out.contains("userAssignedIdentities/delete"), "{said:?}");
    Ok(())
}
