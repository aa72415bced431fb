//! Tags of an Azure resource: names are compared without case, and printed as written.
use std::collections::{BTreeMap, BTreeSet};

/// The tag by which a PUT of ours is known again: its value is recorded before the PUT leaves.
pub const MARK: &str = "lanyard-creation";

/// Tags by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags(BTreeMap<String, (String, String)>);

impl Tags {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_lowercase()).map(|(_, value)| value.as_str())
    }

    /// Sets a tag. One that is there keeps its spelling.
    pub fn set(&mut self, name: &str, value: &str) {
        let entry = self.0.entry(name.to_lowercase()).or_insert_with(|| (name.to_owned(), String::new()));
        value.clone_into(&mut entry.1);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.values().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names in lower case.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// What is to be there: what is, with the wished set, and without those of ours that are wished for no more.
    #[must_use]
    pub fn merged(&self, wished: &Self, ours: &BTreeSet<String>) -> Self {
        let mut merged = self.clone();
        merged.0.retain(|name, _| wished.0.contains_key(name) || !ours.contains(name));
        for (name, value) in wished.iter() {
            merged.set(name, value);
        }
        merged
    }

    /// Names of the wished that are not there: they are ours once they are set.
    #[must_use]
    pub fn lacking(&self, wished: &Self) -> BTreeSet<String> {
        wished.0.keys().filter(|name| !self.0.contains_key(*name)).cloned().collect()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(tags: I) -> Self {
        let mut all = Self::default();
        for (name, value) in tags {
            all.set(name.as_ref(), value.as_ref());
        }
        all
    }
}
