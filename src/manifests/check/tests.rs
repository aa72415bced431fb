use super::*;
use crate::manifests::schema::KEYWORDS;
use crate::manifests::{Read, documents, files};
use rstest::rstest;

const MACHINE: &str = "/subscriptions/5a3b1e00-0000-4000-8000-000000000001/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web";
const IDENTITY: &str = "/subscriptions/5a3b1e00-0000-4000-8000-000000000001/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/";

/// An assignment that fits, with `spec` put after its target.
fn assignment(spec: &str) -> String {
    format!(
        "apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAssignment\nmetadata:\n  name: web\nspec:\n  target:\n    resourceId: {MACHINE}\n{spec}"
    )
}

fn problems(text: &str) -> Vec<String> {
    let mut read = Read::default();
    documents::split(&files::File { name: "f".into(), text: text.into() }, "default", &mut read);
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    let checker = Checker::new().expect("definitions");
    read.manifests.iter().flat_map(|manifest| checker.check(manifest)).map(|problem| problem.to_string()).collect()
}

#[test]
fn what_fits_is_not_complained_of() {
    let spec = format!(
        "  systemAssigned: Enabled\n  userAssigned:\n  - resourceId: {IDENTITY}shop-db\n  driftInterval: 5m\n  mode:\nstatus: {{}}\n"
    );
    assert_eq!(problems(&assignment(&spec)), Vec::<String>::new());
}

#[rstest]
#[case::unknown(
    "  userAsigned: []\n",
    "f:8:3: spec.userAsigned is a field that does not exist; did you mean userAssigned?"
)]
#[case::deep(
    "  userAssigned:\n  - resourceID: x\n",
    "f:9:5: spec.userAssigned[0].resourceID is a field that does not exist; did you mean resourceId?"
)]
#[case::value("  mode: Enforced\n", "f:8:9: spec.mode 'Enforced' is none of Enforce, Observe; did you mean Enforce?")]
#[case::yes("  systemAssigned: yes\n", "f:8:19: spec.systemAssigned must be a text, not true (put it in quotes")]
#[case::number("  suspend: 1\n", "f:8:12: spec.suspend must be true or false, not the number 1")]
#[case::list("  userAssigned: {}\n", "f:8:17: spec.userAssigned must be a list, not a map of fields")]
#[case::duration("  driftInterval: 1d\n", "f:8:18: spec.driftInterval is no duration: write hours, minutes")]
#[case::bounds("  driftInterval: 5s\n", "f:8:18: spec.driftInterval is out of bounds")]
fn a_fault_is_named_with_its_place(#[case] spec: &str, #[case] said: &str) {
    let problems = problems(&assignment(spec));
    assert!(problems.iter().any(|problem| problem.starts_with(said)), "{problems:#?}");
}

#[rstest]
#[case::child(&format!("{IDENTITY}a-b/child"), "is the id of a child resource")]
#[case::other(MACHINE, "is the id of another type of resource, not of a user-assigned identity")]
#[case::slash(&format!("{IDENTITY}a-b/"), "ends with a slash")]
#[case::none("shop-db", "is no ARM resource id")]
fn a_rule_speaks_in_its_own_words(#[case] id: &str, #[case] said: &str) {
    let problems = problems(&assignment(&format!("  userAssigned:\n  - resourceId: {id}\n")));
    assert!(
        problems.len() == 1 && problems[0].starts_with(&format!("f:9:17: spec.userAssigned[0].resourceId {said}")),
        "{problems:#?}"
    );
}

/// An object that names an identity, with `spec` put after its id.
fn user_assigned_identity(spec: &str) -> String {
    format!(
        "apiVersion: lanyard.dev/v1alpha1\nkind: UserAssignedIdentity\nmetadata:\n  name: db\nspec:\n  resourceId: {IDENTITY}shop-db\n{spec}"
    )
}

#[rstest]
#[case::fits("  tags: {team: shop}\n  location: westeurope\n  writeOutputsTo:\n    configMap: db.ids\n", &[])]
#[case::both_forms("  name: shop-db\n", &["f:6:3: spec names the identity in both forms, or in neither"])]
#[case::unknown("  tag: {}\n", &["f:7:3: spec.tag is a field that does not exist; did you mean tags?"])]
#[case::value("  deletionPolicy: Keep\n", &["f:7:19: spec.deletionPolicy 'Keep' is none of Delete, Retain"])]
#[case::pattern(
    "  writeOutputsTo:\n    configMap: Not_A_Name\n",
    &["f:8:16: spec.writeOutputsTo.configMap 'Not_A_Name' does not match "]
)]
#[case::tag("  tags: {a/b: v}\n", &["f:7:9: spec.tags holds a tag that Azure does not take"])]
#[case::ours("  tags: {Lanyard-Creation: v}\n", &["f:7:9: spec.tags the tag lanyard-creation is Lanyard's own"])]
fn an_identity_as_an_object_is_held_to_its_kind(#[case] spec: &str, #[case] said: &[&str]) {
    let problems = problems(&user_assigned_identity(spec));
    assert_eq!(problems.len(), said.len(), "{problems:#?}");
    for (problem, said) in problems.iter().zip(said) {
        assert!(problem.starts_with(said), "{problem} {said}");
    }
}

#[test]
fn a_map_may_have_only_so_many_entries() {
    let tags = (0..50).map(|n| format!("    t{n}: v\n")).collect::<Vec<_>>().concat();
    let problems = problems(&user_assigned_identity(&format!("  tags:\n{tags}")));
    assert_eq!(problems, ["f:8:5: spec.tags has 50 entries, at most 49 are allowed"]);
}

#[rstest]
#[case::twice(
    "  userAssignedRefs:\n  - name: db\n  - name: db\n",
    "f:10:5: spec.userAssignedRefs[1] repeats entry 0 of the list"
)]
#[case::nameless("  userAssignedRefs:\n  - name: ''\n", "f:9:11: spec.userAssignedRefs[0].name is too short")]
#[case::repair_of_absent(
    "  userAssignedRefs:\n  - {name: db, ensure: Absent, repair: true}\n",
    "f:9:5: spec.userAssignedRefs[0] asks for the repair of an identity that is to be Absent"
)]
fn references_are_held_to_their_rules(#[case] spec: &str, #[case] said: &str) {
    let text = assignment(spec);
    let told = problems(&text);
    assert!(told.len() == 1 && told[0].starts_with(said), "{told:#?}");
    let mut read = Read::default();
    documents::split(&files::File { name: "f".into(), text }, "default", &mut read);
    let quickly = Checker::new().expect("definitions").check_quickly(&read.manifests[0]);
    assert_eq!(quickly.len(), 1, "{quickly:#?}");
}

#[test]
fn an_identity_named_twice_is_told_in_any_case() {
    let entries =
        format!("  userAssigned:\n  - resourceId: {IDENTITY}shop-db\n  - resourceId: azure://{IDENTITY}SHOP-DB\n");
    let problems = problems(&assignment(&entries));
    assert!(problems.len() == 1 && problems[0].contains("spec.userAssigned names an identity twice"), "{problems:#?}");
}

#[rstest]
#[case::none("spec: {}\n", "metadata is missing")]
#[case::unnamed("metadata: {}\n", "metadata.name is missing")]
#[case::upper("metadata: {name: Web}\n", "metadata.name is no name")]
#[case::label("metadata: {name: web, labels: {a: 'b c'}}\n", "metadata.labels.a is no value of a label")]
#[case::annotation("metadata: {name: web, annotations: {a: 1}}\n", "metadata.annotations.a must be a text")]
#[case::slip(
    "metadata: {name: web, lables: {}}\n",
    "metadata.lables is a field that does not exist; did you mean labels?"
)]
#[case::no_spec("metadata: {name: web}\n", "spec is missing")]
fn metadata_is_checked_too(#[case] text: &str, #[case] said: &str) {
    let problems = problems(&format!("apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAssignment\n{text}"));
    assert!(problems.iter().any(|problem| problem.contains(said)), "{problems:#?}");
}

/// What the definitions say in words that are not known here would be passed over in silence.
#[test]
fn every_keyword_of_the_definitions_is_known() {
    fn keywords(schema: &Value, found: &mut Vec<String>) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            found.push(keyword.clone());
            match keyword.as_str() {
                "properties" => value.as_object().into_iter().flatten().for_each(|(_, schema)| keywords(schema, found)),
                "items" | "additionalProperties" => keywords(value, found),
                _ => {}
            }
        }
    }
    let checker = Checker::new().expect("definitions");
    assert_eq!(checker.definitions.len(), <Kind as strum::VariantNames>::VARIANTS.len());
    for definition in checker.definitions.values() {
        let mut found = Vec::new();
        keywords(&definition.schema, &mut found);
        found.retain(|keyword| !KEYWORDS.contains(&keyword.as_str()));
        assert_eq!(found, Vec::<String>::new());
    }
}
