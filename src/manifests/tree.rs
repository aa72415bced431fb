//! YAML as it is written: every value and every key with its place.
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// A value and where it stands.
pub type Node = Spanned<Tree>;

/// What a value holds.
#[derive(Clone, Debug)]
pub enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order in which it is written.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Tree {
    pub fn get(&self, field: &str) -> Option<&Node> {
        match self {
            Self::Map(entries) => entries.iter().find(|(key, _)| key.value == field).map(|(_, node)| node),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The same without places. Fields that are null are left out, as the API server leaves them out.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(|item| item.value.to_value()).collect(),
            Self::Map(entries) => {
                let told = entries.iter().filter(|(_, node)| !matches!(node.value, Self::Null));
                Value::Object(told.map(|(key, node)| (key.value.clone(), node.value.to_value())).collect::<Map<_, _>>())
            }
        }
    }
}

/// Where a field stands, such as `spec.userAssigned[1].resourceId`; of one that is missing, where it would be.
pub fn locate(node: &Node, path: &str) -> Location {
    let mut at = node.referenced;
    let mut here = node;
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        let next = match part.strip_suffix(']').map(str::parse::<usize>) {
            Some(Ok(index)) => match &here.value {
                Tree::List(items) => items.get(index),
                _ => None,
            },
            Some(Err(_)) | None => here.value.get(part),
        };
        let Some(next) = next else { break };
        (here, at) = (next, next.referenced);
    }
    at
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    /// What JSON has no number for stays a text.
    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(value).map_or_else(|| Tree::Text(value.to_string()), Tree::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const TEXT: &str = "spec:\n  list:\n  - a: 1\n    b: two\n  - a: ~\n";

    #[rstest]
    #[case::whole("", (1, 1))]
    #[case::field("spec.list", (3, 5))]
    #[case::item("spec.list[1]", (5, 5))]
    #[case::deep("spec.list[0].b", (4, 8))]
    #[case::missing("spec.list[0].c.d", (3, 5))]
    fn a_field_is_found_by_its_path(#[case] path: &str, #[case] at: (u64, u64)) {
        let node: Node = serde_saphyr::from_str(TEXT).expect("YAML");
        let found = locate(&node, path);
        assert_eq!((found.line(), found.column()), at);
    }

    #[test]
    fn null_fields_are_left_out() {
        let node: Node = serde_saphyr::from_str(TEXT).expect("YAML");
        assert_eq!(node.value.to_value(), serde_json::json!({"spec": {"list": [{"a": 1, "b": "two"}, {}]}}));
    }
}
