//! `lanyard plan`.
use crate::program::{Cloud, GROUP, run_with_input};
use anyhow::Result;
use serde_json::{Value, json};

/// The lines of one machine in a JSON report: `action identity`.
fn actions(report: &Value, machine: usize) -> Vec<String> {
    let lines = report["machines"][machine]["identities"].as_array().cloned().unwrap_or_default();
    let name =
        |line: &Value| line["identity"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    lines.iter().map(|line| format!("{} {}", line["action"].as_str().unwrap_or_default(), name(line))).collect()
}

#[test]
fn a_plan_says_what_changes_why_and_what_stays() -> Result<()> {
    let cloud = Cloud::start()?;
    for name in ["shop-db", "legacy", "old"] {
        cloud.arm.identity(&cloud.subscription, GROUP, name).create();
    }
    let vm = cloud.arm.vm(&cloud.subscription, GROUP, "web");
    vm.with_identity(cloud.identity("legacy")).with_identity(cloud.identity("old")).create();
    let spec = format!(
        "  systemAssigned: Enabled\n  userAssigned:\n  - resourceId: {}\n  - resourceId: {}\n    ensure: Absent\n",
        cloud.identity("shop-db"),
        cloud.identity("old")
    );
    cloud.write("shop/web.yaml", &cloud.assignment("web", "web", &spec))?;
    cloud.write("shop/other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")?;

    let said = cloud.run(&["plan", "-f", "shop", "-o", "json"])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let report = said.json()?;
    assert_eq!(actions(&report, 0), ["Enable system", "Leave legacy", "Detach old", "Attach shop-db"], "{report:#}");
    let attach = &report["machines"][0]["identities"][3];
    assert_eq!(attach["by"], json!([{"assignment": "shop/web", "file": "shop/web.yaml", "line": 11}]));
    let patch = json!({"identity": {
        "type": "SystemAssigned, UserAssigned",
        "userAssignedIdentities": {cloud.identity("old"): null, cloud.identity("shop-db"): {}},
    }});
    assert_eq!(report["machines"][0]["patch"], patch);
    assert!(report["complete"] == true && report["summary"]["change"] == 1, "{report:#}");

    let said = cloud.run(&["plan", "-f", "shop"])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    for line in [
        "~ web",
        "    + shop-db          attach   declared by shop/web (shop/web.yaml:11)",
        "    - old              detach   declared Absent by shop/web (shop/web.yaml:12)",
        "    . legacy           leave    not Lanyard's, and declared by nobody",
        "note: passed over 1 object of another kind (1 ConfigMap)",
        "note: the cluster was not asked (--from-cluster): nothing is known to be attached by Lanyard",
        "1 of 1 machine would change: 2 to add, 1 to remove.",
    ] {
        assert!(said.out.contains(line), "{line} in\n{}", said.out);
    }
    assert!(!said.out.contains('\x1b'), "colours into a pipe: {said:?}");
    Ok(())
}

#[test]
fn nothing_to_change_is_exit_0_and_no_write_ever_leaves() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.identity(&cloud.subscription, GROUP, "shop-db").create();
    cloud.arm.vm(&cloud.subscription, GROUP, "web").with_identity(cloud.identity("shop-db")).create();
    let spec = format!(
        "  userAssigned:\n  - resourceId: {}\n",
        cloud.identity("shop-db").to_uppercase().replace("/SUBSCRIPTIONS", "/subscriptions")
    );
    cloud.write("web.yaml", &cloud.assignment("web", "web", &spec))?;
    let said = cloud.run(&["plan", "-f", "web.yaml"])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("No changes: 1 machine as declared."), "{said:?}");
    assert!(cloud.asked().iter().all(|asked| asked.starts_with("GET ")), "{:?}", cloud.asked());
    Ok(())
}

#[test]
fn a_default_identity_that_changes_and_a_conflict_are_warned_of() -> Result<()> {
    let cloud = Cloud::start()?;
    for name in ["shop-db", "legacy"] {
        cloud.arm.identity(&cloud.subscription, GROUP, name).create();
    }
    cloud.arm.vm(&cloud.subscription, GROUP, "web").with_identity(cloud.identity("legacy")).create();
    let wants = format!("  systemAssigned: Enabled\n  userAssigned:\n  - resourceId: {}\n", cloud.identity("shop-db"));
    let refuses = format!("  userAssigned:\n  - resourceId: {}\n    ensure: Absent\n", cloud.identity("shop-db"));
    cloud.write("a.yaml", &cloud.assignment("a", "web", &wants))?;
    cloud.write("b.yaml", &cloud.assignment("b", "web", &refuses))?;
    let said = cloud.run(&["plan", "-f", "."])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let warned = "programs on web that ask for a token without naming an identity get legacy now, and would get the system-assigned identity";
    assert!(said.out.contains(warned), "{said:?}");
    let conflict =
        "shop/a declares it Present, shop/b Absent: neither is done [shop/a (./a.yaml:11), shop/b (./b.yaml:10)]";
    assert!(said.out.contains(conflict), "{said:?}");
    Ok(())
}

#[test]
fn what_is_not_there_is_waited_for_and_what_cannot_be_read_is_an_error() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.vm(&cloud.subscription, GROUP, "web").create();
    cloud.write("web.yaml", &cloud.assignment("web", "later", "  systemAssigned: Enabled\n"))?;
    let said = cloud.run(&["plan", "-f", "web.yaml"])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("? later  not found") && said.out.contains("1 not found"), "{said:?}");

    let nowhere =
        cloud.assignment("web", "web", "").replace(&cloud.subscription, "00000000-dead-4000-8000-000000000000");
    cloud.write("web.yaml", &nowhere)?;
    let said = cloud.run(&["plan", "-f", "web.yaml"])?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("NOT READ") && said.out.contains("check cloud, tenant and subscription"), "{said:?}");
    assert!(said.out.contains("This is not the whole plan"), "{said:?}");
    Ok(())
}

#[test]
fn a_machine_of_aks_is_left_alone_until_that_is_accepted() -> Result<()> {
    let cloud = Cloud::start()?;
    let cluster = format!(
        "/subscriptions/{}/resourceGroups/x/providers/Microsoft.ContainerService/managedClusters/c",
        cloud.subscription
    );
    cloud.arm.vm(&cloud.subscription, GROUP, "node").group_managed_by(&cluster).create();
    cloud.write("node.yaml", &cloud.assignment("node", "node", "  systemAssigned: Enabled\n"))?;
    let said = cloud.run(&["plan", "-f", "node.yaml"])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("AKS manages it (by its group's managedBy)"), "{said:?}");
    cloud
        .write("node.yaml", &cloud.assignment("node", "node", "  systemAssigned: Enabled\n  aksNodePool: Manage\n"))?;
    assert_eq!(cloud.run(&["plan", "-f", "node.yaml"])?.code, Some(2));
    Ok(())
}

#[test]
fn who_observes_is_told_what_enforcing_would_do() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.vm(&cloud.subscription, GROUP, "web").create();
    cloud.write("web.yaml", &cloud.assignment("web", "web", "  systemAssigned: Enabled\n  mode: Observe\n"))?;
    let said = cloud.run(&["plan", "-f", "web.yaml"])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("shop/web (web.yaml:1) enforces nothing; with mode: Enforce it would:"), "{said:?}");
    assert!(said.out.contains("+ system-assigned  enable"), "{said:?}");
    Ok(())
}

#[test]
fn a_thousand_machines_cost_the_pages_of_the_list() -> Result<()> {
    let cloud = Cloud::start()?;
    let mut all = String::new();
    for n in 0..1000 {
        let name = format!("vm-{n}");
        cloud.arm.vm(&cloud.subscription, GROUP, &name).with_system().create();
        all += &cloud.assignment(&name, &name, "  systemAssigned: Enabled\n");
        all += "---\n";
    }
    let said = run_with_input(cloud.program().args(["plan", "-f", "-", "-o", "json"]), &all)?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let report = said.json()?;
    assert_eq!(report["summary"]["noChange"], 1000);
    let asked = cloud.asked();
    let list = format!(
        "GET /subscriptions/{}/resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachines",
        cloud.subscription
    );
    assert!(asked.iter().all(|asked| asked.eq_ignore_ascii_case(&list)), "{asked:?}");
    assert!(asked.len() <= 20 && report["calls"]["arm"] == asked.len(), "{} {}", asked.len(), report["calls"]);
    Ok(())
}

#[test]
fn a_file_of_answers_stands_in_for_azure() -> Result<()> {
    let cloud = Cloud::start()?;
    let vm = json!({"id": cloud.machine("web"), "name": "web", "location": "westeurope", "etag": "\"1\"",
        "properties": {"vmId": "b0a5a6e2-0000-4000-8000-000000000001", "provisioningState": "Succeeded"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {cloud.identity("legacy"): {"principalId": "p", "clientId": "c"}}}});
    cloud.write("list.json", &json!({"value": [vm]}).to_string())?;
    cloud.write("get.json", &vm.to_string())?;
    let spec = format!("  userAssigned:\n  - resourceId: {}\n    ensure: Absent\n", cloud.identity("legacy"));
    cloud.write("web.yaml", &cloud.assignment("web", "web", &spec))?;
    for file in ["list.json", "get.json"] {
        let said = crate::program::program()
            .current_dir(cloud.path())
            .args(["plan", "-f", "web.yaml", "-o", "yaml", "--state", file])
            .output()?;
        assert_eq!(said.status.code(), Some(2), "{said:?}");
        assert!(String::from_utf8(said.stdout)?.contains("action: Detach"));
    }
    cloud.write("odd.json", "{\"id\": \"/subscriptions/x\"}")?;
    let said = cloud.run(&["plan", "-f", "web.yaml", "--state", "odd.json"])?;
    assert!(said.code == Some(1) && said.err.contains("odd.json holds what is no answer of ARM"), "{said:?}");
    Ok(())
}

#[test]
fn a_record_among_the_manifests_says_what_lanyard_attached() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.identity(&cloud.subscription, GROUP, "ours").create();
    let vm = cloud.arm.vm(&cloud.subscription, GROUP, "web").with_identity(cloud.identity("ours")).create();
    let record = json!({"apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityTarget", "metadata": {"name": "web-x"},
        "record": {"formatVersion": 1, "resourceId": cloud.machine("web"), "uniqueId": vm.unique_id(),
            "attached": [{"resourceId": cloud.identity("ours"), "since": "2026-01-01T00:00:00Z"}]}});
    cloud.write("record.json", &record.to_string())?;
    cloud.write("web.yaml", &cloud.assignment("web", "web", ""))?;
    let said = cloud.run(&["plan", "-f", "."])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.out.contains("- ours             detach   attached by Lanyard, and declared by nobody any more")
            || said.out.contains("- ours  detach   attached by Lanyard, and declared by nobody any more"),
        "{said:?}"
    );
    assert!(!said.out.contains("--from-cluster"), "{said:?}");
    Ok(())
}
