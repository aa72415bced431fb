//! The structural part of a definition's schema, as the API server holds objects to it.
//!
//! CEL rules are another matter: see [`super::check`].
use super::near;
use super::tree::{Node, Tree};
use serde_json::Value;
use serde_saphyr::Location;
use std::collections::BTreeMap;

/// A value that does not fit: where, the path of its field, and what is wrong.
pub struct Misfit {
    pub at: Location,
    pub path: String,
    pub what: String,
}

/// Holds a value to a schema, and adds what does not fit.
pub fn check(schema: &Value, node: &Node, path: &str, misfits: &mut Vec<Misfit>) {
    let mut check = Check { misfits };
    check.value(schema, node, path);
}

struct Check<'a> {
    misfits: &'a mut Vec<Misfit>,
}

impl Check<'_> {
    fn says(&mut self, at: Location, path: &str, what: impl Into<String>) {
        self.misfits.push(Misfit { at, path: path.into(), what: what.into() });
    }

    fn value(&mut self, schema: &Value, node: &Node, path: &str) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let fits = match (&node.value, wanted) {
            (Tree::Map(_), "object" | "")
            | (Tree::List(_), "array" | "")
            | (Tree::Text(_), "string" | "")
            | (Tree::Bool(_), "boolean" | "")
            | (Tree::Number(_), "number" | "") => true,
            (Tree::Number(number), "integer") => number.is_i64() || number.is_u64(),
            _ => false,
        };
        if !fits {
            let found = describe(&node.value);
            return self.says(node.referenced, path, format!("must be {}, not {found}", named(wanted)));
        }
        match &node.value {
            Tree::Map(entries) => self.object(schema, node, entries, path),
            Tree::List(items) => self.list(schema, node, items, path),
            Tree::Text(text) => self.text(schema, node, text, path),
            Tree::Number(number) => self.number(schema, node, number.as_f64().unwrap_or_default(), path),
            Tree::Bool(_) | Tree::Null => {}
        }
    }

    fn object(&mut self, schema: &Value, node: &Node, entries: &[(serde_saphyr::Spanned<String>, Node)], path: &str) {
        let properties = schema["properties"].as_object();
        let others = schema.get("additionalProperties").filter(|schema| schema.is_object());
        let any = schema["x-kubernetes-preserve-unknown-fields"] == true || (properties.is_none() && others.is_none());
        if let Some(most) = schema["maxProperties"].as_u64().filter(|most| entries.len() as u64 > *most) {
            self.says(node.referenced, path, format!("has {} entries, at most {most} are allowed", entries.len()));
        }
        for (key, value) in entries {
            let below = join(path, &key.value);
            // The API server takes a field that is null for one that is not there.
            let is_null = matches!(value.value, Tree::Null);
            match properties.and_then(|properties| properties.get(&key.value)).or(others) {
                Some(_) if is_null => {}
                Some(schema) => self.value(schema, value, &below),
                None if any => {}
                None => {
                    let known = properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str));
                    let hint = near::hint(&key.value, known);
                    self.says(key.referenced, &below, format!("is a field that does not exist{hint}"));
                }
            }
        }
        let there = |name: &str| node.value.get(name).is_some_and(|node| !matches!(node.value, Tree::Null));
        for name in strings(&schema["required"]).filter(|name| !there(name)) {
            self.says(node.referenced, &join(path, name), "is missing, and has no default");
        }
    }

    fn list(&mut self, schema: &Value, node: &Node, items: &[Node], path: &str) {
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| items.len() as u64 > *most) {
            self.says(node.referenced, path, format!("has {} entries, at most {most} are allowed", items.len()));
        }
        for (index, item) in items.iter().enumerate() {
            self.value(&schema["items"], item, &format!("{path}[{index}]"));
        }
        if schema["x-kubernetes-list-type"] == "map" {
            self.keys_once(schema, items, path);
        }
    }

    /// Entries of a list-map are told apart by their keys.
    fn keys_once(&mut self, schema: &Value, items: &[Node], path: &str) {
        let keys: Vec<&str> = strings(&schema["x-kubernetes-list-map-keys"]).collect();
        let mut seen = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let key: Vec<Option<&str>> =
                keys.iter().map(|key| item.value.get(key).and_then(|node| node.value.text())).collect();
            if let Some(first) = seen.insert(key, index) {
                let path = format!("{path}[{index}]");
                self.says(item.referenced, &path, format!("repeats entry {first} of the list: keep one of them"));
            }
        }
    }

    fn text(&mut self, schema: &Value, node: &Node, text: &str, path: &str) {
        let length = text.chars().count() as u64;
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.says(node.referenced, path, format!("is too long: {length} characters, at most {most} are allowed"));
        }
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            self.says(node.referenced, path, format!("is too short: at least {least} characters are needed"));
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            // Never taken for a fit: what cannot be judged here, the server may refuse.
            let fits = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
            if !fits {
                self.says(node.referenced, path, format!("'{text}' does not match {pattern}"));
            }
        }
        let allowed: Vec<&str> = strings(&schema["enum"]).collect();
        if !allowed.is_empty() && !allowed.contains(&text) {
            let hint = near::hint(text, allowed.iter().copied());
            self.says(node.referenced, path, format!("'{text}' is none of {}{hint}", allowed.join(", ")));
        }
    }

    fn number(&mut self, schema: &Value, node: &Node, number: f64, path: &str) {
        if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
            self.says(node.referenced, path, format!("must be at least {least}"));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
            self.says(node.referenced, path, format!("must be at most {most}"));
        }
    }
}

/// `spec.target`, or `spec` below the root.
fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.into() } else { format!("{path}.{field}") }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn named(kind: &str) -> &str {
    match kind {
        "object" => "a map of fields",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        other => other,
    }
}

fn describe(value: &Tree) -> String {
    match value {
        Tree::Null => "nothing".into(),
        Tree::Bool(value) => format!("{value} (put it in quotes to make it a text)"),
        Tree::Number(number) => format!("the number {number}"),
        Tree::Text(text) => format!("the text '{}'", text.chars().take(40).collect::<String>()),
        Tree::List(_) => "a list".into(),
        Tree::Map(_) => "a map of fields".into(),
    }
}

/// What a schema may say without being misread here.
#[cfg(test)]
pub const KEYWORDS: [&str; 22] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
