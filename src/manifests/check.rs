//! Whether the API server would admit an object: the very definitions that `lanyard crds` prints, asked without a cluster.
use super::documents::{Kind, Manifest};
use super::place::Problem;
use super::schema::{self, Misfit};
use super::tree::{Node, Tree};
use crate::api::assignment::Ensure;
use crate::api::claim::{claim, drift_interval};
use crate::api::{IdentityAssignment, crd};
use crate::domain::plan::MAX_IDENTITIES_IN_REQUEST;
use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Holds manifests to the definitions of their kinds.
pub struct Checker {
    definitions: BTreeMap<Kind, Definition>,
    rules: Validator,
    metadata: Value,
}

struct Definition {
    schema: Value,
    compiled: CompiledSchema,
}

impl Checker {
    /// Prepares the definitions of this version.
    ///
    /// # Errors
    /// A schema that cannot be made: a defect of this build.
    pub fn new() -> Result<Self, serde_json::Error> {
        let mut definitions = BTreeMap::new();
        for definition in crd::all()? {
            let Ok(kind) = definition.spec.names.kind.parse::<Kind>() else { continue };
            let version = definition.spec.versions.first();
            let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
            let mut schema = serde_json::to_value(schema)?;
            // What every object has, and no definition has to say.
            for (field, text) in [
                ("apiVersion", json!({"type": "string"})),
                ("kind", json!({"type": "string"})),
                ("metadata", json!({"type": "object"})),
            ] {
                schema["properties"][field] = text;
            }
            let compiled = compile_schema(&schema);
            definitions.insert(kind, Definition { schema, compiled });
        }
        Ok(Self { definitions, rules: Validator::new(), metadata: metadata_schema() })
    }

    /// What the API server would refuse about this object, each with its place. Rules are asked once the schema fits,
    /// as the server does it.
    #[must_use]
    pub fn check(&self, manifest: &Manifest) -> Vec<Problem> {
        let Some(definition) = self.definitions.get(&manifest.kind) else { return Vec::new() };
        let misfits = self.by_schema(definition, manifest);
        if misfits.is_empty() { self.by_rules(definition, manifest) } else { misfits }
    }

    /// The same, faster: rules are asked only where the reading of the object by the controller's own parsers leaves
    /// something to say. They agree with the rules, to the letter: a test puts the same objects to both, and to the server.
    #[must_use]
    pub fn check_quickly(&self, manifest: &Manifest) -> Vec<Problem> {
        let Some(definition) = self.definitions.get(&manifest.kind) else { return Vec::new() };
        let misfits = self.by_schema(definition, manifest);
        if misfits.is_empty() && !is_clear(manifest) { self.by_rules(definition, manifest) } else { misfits }
    }

    fn by_schema(&self, definition: &Definition, manifest: &Manifest) -> Vec<Problem> {
        let mut misfits = Vec::new();
        schema::check(&definition.schema, manifest.node(), "", &mut misfits);
        match manifest.node().value.get("metadata") {
            Some(metadata) => self.metadata(metadata, &mut misfits),
            None => misfits.push(misfit(manifest.node(), "metadata", "is missing: an object needs a name")),
        }
        let told = misfits.into_iter();
        told.map(|Misfit { at, path, what }| Problem::new(manifest.at(at), format!("{path} {what}"))).collect()
    }

    fn by_rules(&self, definition: &Definition, manifest: &Manifest) -> Vec<Problem> {
        let Err(refusals) = self.rules.validate_compiled(&definition.compiled, &manifest.value(), None) else {
            return Vec::new();
        };
        let told = refusals.into_iter().map(|refusal| {
            let path = refusal.field_path.trim_start_matches('.').to_owned();
            let said = match refusal.kind {
                ErrorKind::ValidationFailure => refusal.message,
                // Never taken for a yes: what cannot be judged here, the server may refuse.
                _ => format!("cannot be judged without a cluster: {}", refusal.message),
            };
            Problem::new(manifest.place_of(&path), format!("{path} {said}"))
        });
        told.collect()
    }

    fn metadata(&self, metadata: &Node, misfits: &mut Vec<Misfit>) {
        schema::check(&self.metadata, metadata, "metadata", misfits);
        let text = |field| metadata.value.get(field).and_then(|node: &Node| Some((node, node.value.text()?)));
        if let Some((node, _)) = text("name").filter(|(_, name)| !is_subdomain(name)) {
            misfits.push(misfit(node, "metadata.name", "is no name that Kubernetes takes: write lower case letters, digits, '-' and '.', at most 253, beginning and ending with a letter or digit"));
        }
        if let Some((node, _)) = text("namespace").filter(|(_, name)| !is_label(name)) {
            misfits.push(misfit(node, "metadata.namespace", "is no namespace that Kubernetes takes: write lower case letters, digits and '-', at most 63, beginning and ending with a letter or digit"));
        }
        if let Some(Tree::Map(labels)) = metadata.value.get("labels").map(|node| &node.value) {
            for (key, node) in labels {
                if node.value.text().is_some_and(|value| !is_label_value(value)) {
                    misfits.push(misfit(node, &format!("metadata.labels.{}", key.value), "is no value of a label: write at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"));
                }
            }
        }
    }
}

/// No rule has anything to say about it.
fn is_clear(manifest: &Manifest) -> bool {
    match manifest.kind {
        Kind::IdentityAssignment => {
            let mut value = manifest.value();
            value["metadata"]["uid"] = "none yet".into();
            let Ok(object) = IdentityAssignment::deserialize(value) else { return false };
            let spec = &object.spec;
            claim(&object).is_ok()
                && drift_interval(spec).is_ok()
                && spec.user_assigned.len() <= MAX_IDENTITIES_IN_REQUEST
                && spec.user_assigned_refs.len() <= MAX_IDENTITIES_IN_REQUEST
                && !spec.user_assigned.iter().any(|entry| entry.repair && entry.ensure == Ensure::Absent)
                && !spec.user_assigned_refs.iter().any(|entry| entry.repair && entry.ensure == Ensure::Absent)
        }
        Kind::UserAssignedIdentity | Kind::IdentityTarget | Kind::IdentityRecord => false,
    }
}

fn misfit(node: &Node, path: &str, what: &str) -> Misfit {
    Misfit { at: node.referenced, path: path.into(), what: what.into() }
}

/// As far as people write it: what the server adds is taken as it is.
fn metadata_schema() -> Value {
    let any = json!({"x-kubernetes-preserve-unknown-fields": true});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "generateName": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": texts,
            "annotations": texts,
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "ownerReferences": {"type": "array", "items": any},
            "managedFields": {"type": "array", "items": any},
            "uid": {"type": "string"},
            "resourceVersion": {"type": "string"},
            "selfLink": {"type": "string"},
            "generation": {"type": "integer"},
            "creationTimestamp": {"type": "string"},
            "deletionTimestamp": {"type": "string"},
            "deletionGracePeriodSeconds": {"type": "integer"},
        },
    })
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

fn is_label_value(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

#[cfg(test)]
mod tests;
