//! `lanyard import`.
use crate::program::{Cloud, GROUP, run_with_input};
use anyhow::Result;

#[test]
fn what_is_imported_plans_to_no_change() -> Result<()> {
    let cloud = Cloud::start()?;
    for name in ["a-1", "b-2"] {
        cloud.arm.identity(&cloud.subscription, GROUP, name).create();
    }
    let (a, b) = (cloud.identity("a-1"), cloud.identity("b-2"));
    cloud.arm.vm(&cloud.subscription, GROUP, "Web_1").with_system().with_identity(&a).with_identity(&b).create();
    cloud.arm.vm(&cloud.subscription, GROUP, "plain").with_system().create();
    cloud.arm.vm(&cloud.subscription, GROUP, "bare").create();
    cloud.arm.vm(&cloud.subscription, "other", "plain").with_identity(&a).create();
    cloud.arm.scale_set(&cloud.subscription, GROUP, "workers").with_identity(&b).create();
    cloud.arm.scale_set(&cloud.subscription, GROUP, "flex").flexible().with_identity(&b).create();
    cloud.arm.vm(&cloud.subscription, "MC_shop", "aks-1").tag("aks-managed-poolName", "x").with_system().create();

    let scope = format!("/subscriptions/{}", cloud.subscription);
    for include in [None, Some("--include-aks")] {
        let arguments: Vec<&str> = ["import", scope.as_str(), "-n", "shop"].into_iter().chain(include).collect();
        let said = cloud.run(&arguments)?;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(said.out, cloud.run(&arguments)?.out, "the same each time");
        assert_eq!(
            said.out.matches("kind: IdentityAssignment").count(),
            if include.is_some() { 6 } else { 5 },
            "{}",
            said.out
        );
        assert!(said.out.contains("# Left out: 1 machine without any identity"), "{}", said.out);
        assert_eq!(said.out.contains("aks-1 is managed by AKS"), include.is_none(), "{}", said.out);

        let planned = run_with_input(cloud.program().args(["plan", "-f", "-", "-o", "json"]), &said.out)?;
        assert_eq!(planned.code, Some(0), "{planned:?}");
        let checked = run_with_input(cloud.program().args(["validate", "-f", "-"]), &said.out)?;
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
    Ok(())
}

#[test]
fn a_group_or_a_machine_may_be_imported_alone_and_a_failure_prints_nothing() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.arm.vm(&cloud.subscription, GROUP, "web").with_system().create();
    cloud.arm.vm(&cloud.subscription, "other", "api").with_system().create();
    let group = format!("/subscriptions/{}/resourcegroups/{}", cloud.subscription, GROUP.to_uppercase());
    let said = cloud.run(&["import", &group, "-o", "json"])?;
    assert_eq!(said.json()?["items"].as_array().map(Vec::len), Some(1), "{said:?}");
    let said = cloud.run(&["import", &cloud.machine("web"), "-o", "table"])?;
    assert!(said.out.contains("NAME   SYSTEM   USER   MACHINE") && said.out.contains("web    On       0"), "{said:?}");

    let said = cloud.run(&["import", &group, &cloud.machine("none")])?;
    assert!(said.code == Some(1) && said.out.is_empty() && said.err.contains("none is not there"), "{said:?}");
    let said = cloud.run(&["import", "shop"])?;
    assert!(said.code == Some(1) && said.err.contains("write its ARM id"), "{said:?}");
    Ok(())
}
