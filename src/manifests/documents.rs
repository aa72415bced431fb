//! From a file's text to the objects in it.
use super::Read;
use super::files::File;
use super::near;
use super::place::{Place, Problem};
use super::tree::{Node, Tree, locate};
use crate::api::{GROUP, VERSION};
use serde_json::Value;
use serde_saphyr::{Location, MessageFormatter, UserMessageFormatter};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kinds that are read.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::VariantNames, strum::EnumString,
)]
pub enum Kind {
    IdentityAssignment,
    UserAssignedIdentity,
    /// Written by the controller alone: a backup of one is the record of its machine.
    IdentityTarget,
    /// The same of an identity.
    IdentityRecord,
}

impl Kind {
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::IdentityAssignment | Self::UserAssignedIdentity => true,
            Self::IdentityTarget | Self::IdentityRecord => false,
        }
    }
}

/// One object of ours, and where it is written.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub kind: Kind,
    /// None for kinds of the whole cluster.
    pub namespace: Option<String>,
    /// Empty if it has none, which is a problem of its own.
    pub name: String,
    file: Arc<str>,
    node: Node,
}

impl Manifest {
    /// The object, its namespace filled in.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut value = self.node.value.to_value();
        if let (Some(namespace), Some(metadata)) =
            (&self.namespace, value.get_mut("metadata").and_then(Value::as_object_mut))
        {
            metadata.insert("namespace".into(), namespace.as_str().into());
        }
        value
    }

    /// Where it begins.
    #[must_use]
    pub fn place(&self) -> Place {
        self.at(self.node.referenced)
    }

    /// Where a field stands, such as `spec.userAssigned[1].resourceId`; of one that is missing, where it would be.
    #[must_use]
    pub fn place_of(&self, path: &str) -> Place {
        self.at(locate(&self.node, path))
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn at(&self, location: Location) -> Place {
        place(&self.file, location)
    }

    /// As people name it: `shop/web`.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

fn place(file: &Arc<str>, location: Location) -> Place {
    Place { file: file.clone(), line: location.line(), column: location.column() }
}

/// Takes up every object of a file.
pub(super) fn split(file: &File, namespace: &str, read: &mut Read) {
    match serde_saphyr::from_multiple_with_options::<Node>(&file.text, options()) {
        Ok(documents) => {
            let mut splitting = Splitting { file: &file.name, namespace, read };
            for document in documents {
                splitting.object(document, None);
            }
        }
        Err(error) => read.problems.push(broken(&file.name, &error)),
    }
}

/// Room for some 100,000 objects a file; what multiplies itself by aliases is refused as ever.
fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_documents: 1_000_000,
        max_nodes: 20_000_000,
        max_events: 50_000_000,
    };
    serde_saphyr::options! { with_snippet: false, budget: budget }
}

fn broken(file: &Arc<str>, error: &serde_saphyr::Error) -> Problem {
    let said = UserMessageFormatter.format_message(error).into_owned();
    let at = error.location().unwrap_or(Location::UNKNOWN);
    Problem::new(place(file, at), format!("is no YAML: {said}"))
}

struct Splitting<'a> {
    file: &'a Arc<str>,
    namespace: &'a str,
    read: &'a mut Read,
}

impl Splitting<'_> {
    /// `implied` is the type of what a typed list holds.
    fn object(&mut self, node: Node, implied: Option<(&str, &str)>) {
        let told = |field| node.value.get(field).and_then(|node| node.value.text()).map(str::to_owned);
        let implied = implied.map(|(version, kind)| (version.to_owned(), kind.to_owned()));
        let (Some(version), Some(kind)) = (
            told("apiVersion").or_else(|| implied.as_ref().map(|(version, _)| version.clone())),
            told("kind").or_else(|| implied.map(|(_, kind)| kind)),
        ) else {
            if !matches!(node.value, Tree::Null) {
                self.pass_over("no object".into());
            }
            return;
        };
        match kind.strip_suffix("List") {
            Some(item) if matches!(node.value.get("items"), Some(items) if matches!(items.value, Tree::List(_))) => {
                self.list(node, &version, item);
            }
            Some(_) | None => self.one(node, &version, kind),
        }
    }

    fn list(&mut self, node: Node, version: &str, item: &str) {
        let Tree::Map(entries) = node.value else { return };
        let implied = (!item.is_empty()).then_some((version, item));
        for (key, value) in entries {
            if let ("items", Tree::List(items)) = (key.value.as_str(), value.value) {
                for item in items {
                    self.object(item, implied);
                }
            }
        }
    }

    fn one(&mut self, node: Node, version: &str, kind: String) {
        let (group, served) = version.split_once('/').unwrap_or(("", version));
        let known: Option<Kind> = kind.parse().ok();
        let ours = group == GROUP;
        match known {
            Some(known) if ours && served == VERSION => self.ours(node, known),
            // A name like ours in a group of somebody else's is none of our business unless the group is a slip, too.
            Some(_) if ours || near::nearest(group, [GROUP]).is_some() => self.problem(
                &node,
                "apiVersion",
                format!("'{version}' is no version of {kind}; did you mean {GROUP}/{VERSION}?"),
            ),
            None if ours => {
                let kinds = <Kind as strum::VariantNames>::VARIANTS;
                let hint = near::hint(&kind, kinds.iter().copied());
                self.problem(
                    &node,
                    "kind",
                    format!("{GROUP} has no kind {kind} that this version of lanyard knows{hint}"),
                );
            }
            Some(_) | None => self.pass_over(kind),
        }
    }

    fn ours(&mut self, node: Node, kind: Kind) {
        let metadata = node.value.get("metadata");
        let told = |field| metadata.and_then(|node| node.value.get(field)).and_then(|node| node.value.text());
        let namespace = kind.is_namespaced().then(|| told("namespace").unwrap_or(self.namespace).to_owned());
        let name = told("name").unwrap_or_default().to_owned();
        self.read.manifests.push(Manifest { kind, namespace, name, file: self.file.clone(), node });
    }

    fn pass_over(&mut self, kind: String) {
        *self.read.passed_over.entry(kind).or_default() += 1;
    }

    fn problem(&mut self, node: &Node, field: &str, message: String) {
        self.read.problems.push(Problem::new(place(self.file, locate(node, field)), message));
    }
}

/// Of two objects under one name the later would replace the earlier.
pub(super) fn find_duplicates(read: &mut Read) {
    let mut seen: BTreeMap<(Kind, String), Place> = BTreeMap::new();
    for manifest in read.manifests.iter().filter(|manifest| !manifest.name.is_empty()) {
        let key = (manifest.kind, manifest.key());
        match seen.get(&key) {
            Some(first) => read.problems.push(Problem::new(
                manifest.place_of("metadata.name"),
                format!("{} {} is there already, in {first}: keep one of them", manifest.kind, manifest.key()),
            )),
            None => {
                seen.insert(key, manifest.place());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fmt::Write as _;

    fn read(text: &str) -> Read {
        let mut read = Read::default();
        split(&File { name: "f.yaml".into(), text: text.into() }, "default", &mut read);
        find_duplicates(&mut read);
        read
    }

    fn problems(text: &str) -> Vec<String> {
        read(text).problems.iter().map(ToString::to_string).collect()
    }

    const WEB: &str =
        "apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAssignment\nmetadata: {name: web, namespace: shop}\n";

    #[test]
    fn documents_and_lists_are_taken_apart_and_other_kinds_counted() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: lanyard.dev/v1alpha1\n  kind: IdentityAssignment\n  \
                    metadata:\n    name: a\n- {apiVersion: v1, kind: Secret}\n";
        let typed = "apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAssignmentList\nitems:\n- metadata: {name: b}\n";
        let text = format!(
            "{WEB}---\n# nothing\n---\n{list}---\n{typed}---\nreplicas: 3\n---\n{{apiVersion: v1, kind: Secret}}\n"
        );
        let read = read(&text);
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        let found: Vec<String> =
            read.manifests.iter().map(|manifest| format!("{} {}", manifest.key(), manifest.place())).collect();
        assert_eq!(found, ["shop/web f.yaml:1", "default/a f.yaml:10", "default/b f.yaml:19"]);
        assert_eq!(read.passed_over, BTreeMap::from([("Secret".into(), 2), ("no object".into(), 1)]));
    }

    #[rstest]
    #[case::broken("a: 1\nb: [1\nc: 2\n", "f.yaml:3:2: is no YAML: ")]
    #[case::indented("a: 1\n  b: 2\n", "f.yaml:2:4: is no YAML: ")]
    #[case::key_twice("a: 1\na: 2\n", "f.yaml:2:1: is no YAML: ")]
    #[case::template("a: {{ .Values.a }}\n", "f.yaml:1:5: is no YAML: ")]
    #[case::version(
        "apiVersion: lanyard.dev/v1\nkind: IdentityAssignment\n",
        "f.yaml:1:13: 'lanyard.dev/v1' is no version"
    )]
    #[case::group("apiVersion: lanyard.de/v1alpha1\nkind: IdentityAssignment\n", "did you mean lanyard.dev/v1alpha1?")]
    #[case::kind("apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAsignment\n", "did you mean IdentityAssignment?")]
    fn what_is_broken_is_named_with_its_place(#[case] text: &str, #[case] said: &str) {
        let problems = problems(text);
        assert!(problems.len() == 1 && problems[0].contains(said), "{problems:?}");
    }

    #[test]
    fn of_two_objects_of_one_name_both_places_are_told() {
        let said = problems(&format!("{WEB}---\n{WEB}"));
        assert_eq!(said, ["f.yaml:7:18: IdentityAssignment shop/web is there already, in f.yaml:1: keep one of them"]);
    }

    #[test]
    fn a_thousand_documents_are_ordinary() {
        let one = |n: usize| WEB.replace("web", &format!("web-{n}"));
        let text: Vec<String> = (0..3000).map(one).collect();
        assert_eq!(read(&text.join("---\n")).manifests.len(), 3000);
    }

    #[test]
    fn what_multiplies_itself_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            let _ = writeln!(text, "a{n}: &a{n} [{}]", [before.as_str(); 10].join(", "));
        }
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems[0].contains("is no YAML"), "{problems:?}");
    }
}
