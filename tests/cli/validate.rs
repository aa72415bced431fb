//! `lanyard validate`.
use crate::program::{Cloud, run};
use anyhow::Result;

#[test]
fn everything_wrong_is_told_with_its_place_and_exit_1() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.write("a/one.yaml", &cloud.assignment("web", "web", "  userAsigned: []\n"))?;
    cloud.write("a/two.yaml", &cloud.assignment("web", "web", "  mode: Watch\n"))?;
    cloud.write("b/broken.yml", "kind: x\n\tbad: [\n")?;
    let said = cloud.run(&["validate", "-f", "a", "-f", "b"])?;
    assert_eq!(said.code, Some(1), "{said:?}");
    for told in [
        "a/one.yaml:9:3: spec.userAsigned is a field that does not exist; did you mean userAssigned?",
        "a/two.yaml:4:9: IdentityAssignment shop/web is there already, in a/one.yaml:1: keep one of them",
        "a/two.yaml:9:9: spec.mode 'Watch' is none of Enforce, Observe",
        "b/broken.yml:1:7: is no YAML: while scanning a plain scalar, found a tab",
        "4 problems",
    ] {
        assert!(said.out.contains(told), "{told} in\n{}", said.out);
    }
    let json = cloud.run(&["validate", "-f", "a", "-o", "json"])?.json()?;
    assert!(json["valid"] == false && json["problems"][0]["at"]["line"] == 9, "{json:#}");
    Ok(())
}

#[test]
fn two_files_that_contradict_each_other_are_not_valid() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.write("a.yaml", &cloud.assignment("a", "web", "  systemAssigned: Enabled\n"))?;
    cloud.write("b.yaml", &cloud.assignment("b", "WEB", "  systemAssigned: Disabled\n"))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = "./b.yaml:9:19: conflict about system-assigned on web: shop/a declares it Enabled, shop/b Disabled";
    assert!(said.out.to_lowercase().contains(&told.to_lowercase()), "{said:?}");
    cloud.write("b.yaml", &cloud.assignment("b", "WEB", "  systemAssigned: Enabled\n"))?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert!(said.code == Some(0) && said.out == "valid: 2 IdentityAssignments in 2 files\n", "{said:?}");
    Ok(())
}

#[test]
fn the_samples_that_are_delivered_are_valid() -> Result<()> {
    for samples in ["deploy/samples", "deploy/gitops-example/identities"] {
        let said = run(&["validate", "-f", &format!("{}/{samples}", env!("CARGO_MANIFEST_DIR"))])?;
        assert_eq!(said.code, Some(0), "{samples}: {said:?}");
    }
    Ok(())
}

#[test]
fn a_directory_without_anything_of_ours_is_an_error_and_not_a_success() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.write("x.yaml", "apiVersion: v1\nkind: Secret\n")?;
    let said = cloud.run(&["validate", "-f", "."])?;
    assert!(
        said.code == Some(1)
            && said.err.contains("no manifests of lanyard.dev in .; passed over 1 object of another kind (1 Secret)"),
        "{said:?}"
    );
    Ok(())
}
