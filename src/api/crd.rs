//! The definitions of all kinds, as Kubernetes takes them.
use crate::api::identity_record::{self, IdentityRecord};
use crate::api::target::{self, IdentityTarget};
use crate::api::{GROUP, IdentityAssignment, UserAssignedIdentity, VERSION, columns};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceValidation, JSON, JSONSchemaProps,
    JSONSchemaPropsOrArray,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde_json::json;
use std::collections::BTreeMap;

/// Every definition, in the order of their names.
///
/// # Errors
/// A schema that Kubernetes' own type cannot hold: a defect of this build.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    let mut crds = vec![identity_assignments(), identity_records()?, identity_targets()?, user_assigned_identities()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        let has_generations = version.subresources.is_some();
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            forbid_null(schema);
            if has_generations {
                begin_unobserved(schema);
            }
        }
    }
    Ok(crds)
}

/// Until somebody has looked at an object, its status says so: kstatus takes one that says nothing for `Current`.
fn begin_unobserved(schema: &mut JSONSchemaProps) {
    let properties = schema.properties.iter_mut().flatten();
    for (_, status) in properties.filter(|(name, _)| *name == "status") {
        let default = json!({ "observedGeneration": -1 });
        let said = status.description.take().unwrap_or_default();
        status.description = Some(format!("{said} Default: {default}."));
        status.default = Some(JSON(default));
    }
}

/// Optional fields are left out, never null: schemars says that they may be, and `kubectl explain` would repeat it.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        forbid_null(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        forbid_null(items);
    }
}

fn identity_assignments() -> CustomResourceDefinition {
    let mut crd = IdentityAssignment::crd();
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns::of_assignments());
    }
    crd
}

fn user_assigned_identities() -> CustomResourceDefinition {
    let mut crd = UserAssignedIdentity::crd();
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns::of_identities());
    }
    crd
}

fn identity_targets() -> Result<CustomResourceDefinition, serde_json::Error> {
    written_by_hand::<IdentityTarget>(target::PLURAL, names(), columns::of_targets())
}

fn identity_records() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = CustomResourceDefinitionNames {
        kind: identity_record::KIND.into(),
        plural: identity_record::PLURAL.into(),
        singular: Some("identityrecord".into()),
        short_names: Some(vec!["idr".into()]),
        categories: Some(vec!["lanyard".into()]),
        ..CustomResourceDefinitionNames::default()
    };
    written_by_hand::<IdentityRecord>(identity_record::PLURAL, names, columns::of_identity_records())
}

/// Cluster-scoped, and without a status subresource.
fn written_by_hand<T: JsonSchema>(
    plural: &str,
    names: CustomResourceDefinitionNames,
    columns: Vec<CustomResourceColumnDefinition>,
) -> Result<CustomResourceDefinition, serde_json::Error> {
    let schema = CustomResourceValidation { open_api_v3_schema: Some(schema_of::<T>()?) };
    let version = CustomResourceDefinitionVersion {
        name: VERSION.into(),
        served: true,
        storage: true,
        schema: Some(schema),
        additional_printer_columns: Some(columns),
        ..CustomResourceDefinitionVersion::default()
    };
    Ok(CustomResourceDefinition {
        metadata: ObjectMeta { name: Some(format!("{plural}.{GROUP}")), ..ObjectMeta::default() },
        spec: CustomResourceDefinitionSpec {
            group: GROUP.into(),
            names,
            scope: "Cluster".into(),
            versions: vec![version],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    })
}

fn names() -> CustomResourceDefinitionNames {
    CustomResourceDefinitionNames {
        kind: target::KIND.into(),
        plural: target::PLURAL.into(),
        singular: Some("identitytarget".into()),
        short_names: Some(vec!["idt".into()]),
        categories: Some(vec!["lanyard".into()]),
        ..CustomResourceDefinitionNames::default()
    }
}

/// A structural schema without references, made as kube's derive makes it.
fn schema_of<T: JsonSchema>() -> Result<JSONSchemaProps, serde_json::Error> {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    serde_json::to_value(generator.into_root_schema_for::<T>()).and_then(serde_json::from_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The paths of all properties below a schema, each with its schema.
    fn properties(path: &str, schema: &Value) -> Vec<(String, Value)> {
        let below = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let own = below.flat_map(|(name, property)| {
            let path = format!("{path}.{name}");
            let deeper = properties(&path, property);
            [(path, property.clone())].into_iter().chain(deeper)
        });
        let items = schema.get("items").map(|items| properties(&format!("{path}[]"), items));
        own.chain(items.into_iter().flatten()).collect()
    }

    fn everything() -> Vec<(String, Value)> {
        let crds = serde_json::to_value(all().expect("definitions")).expect("JSON");
        let crds = crds.as_array().expect("a list");
        crds.iter()
            .flat_map(|crd| {
                let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default();
                properties(kind, &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
            })
            .collect()
    }

    #[test]
    fn every_field_is_explained_and_none_is_null() {
        let all = everything();
        assert!(all.iter().any(|(path, _)| path == "IdentityTarget.record.intent.base.etag"));
        for (path, schema) in all {
            let sentence = schema["description"].as_str().unwrap_or_default();
            assert!(sentence.len() > 10 && sentence.ends_with('.'), "{path}: {sentence:?}");
            assert_eq!(schema.get("nullable"), None, "{path}");
        }
    }

    #[test]
    fn a_default_is_told_by_the_explanation_too() {
        for (path, schema) in everything() {
            let told = |default: &str| schema["description"].as_str().is_some_and(|text| text.contains(default));
            match schema.get("default") {
                Some(Value::String(default)) => assert!(told(&format!("Default: {default}.")), "{path}"),
                Some(default) => assert!(told(&format!("Default: {default}.")), "{path}"),
                None => {}
            }
        }
    }

    #[test]
    fn record_and_view_of_a_target_are_one_write() {
        let crds = all().expect("definitions");
        let subresources: Vec<bool> = crds.iter().map(|crd| crd.spec.versions[0].subresources.is_some()).collect();
        assert_eq!(subresources, [true, false, false, true]);
    }
}
