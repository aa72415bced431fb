//! Values folded small.
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What objects of the two kinds have in common: the names of their fields, and the usual words between them. It is no
/// schema: what is not in it is folded as well, but not as small.
///
/// It lies before each value as if it had been folded already, so that a value refers to it from its first byte on. Only
/// this process reads what it has folded: this text may change at will.
const WORDS: &str = include_str!("words.txt");

/// A value as JSON, compressed.
#[derive(Debug)]
pub struct Folded(Box<[u8]>);

impl Folded {
    pub fn of(value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).unwrap_or_default();
        Self(lz4_flex::block::compress_prepend_size_with_dict(&json, WORDS.as_bytes()).into())
    }

    pub fn open<T: DeserializeOwned>(&self) -> Option<T> {
        let json = lz4_flex::block::decompress_size_prepended_with_dict(&self.0, WORDS.as_bytes()).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{IdentityAssignment, IdentityTarget};
    use serde_json::Value;

    /// The objects of a usual machine, as a control plane had them.
    fn golden() -> (IdentityAssignment, IdentityTarget) {
        let text = include_str!("../../../tests/golden/v1alpha1/ready.json");
        let [assignment, target]: [Value; 2] = serde_json::from_str(text).expect("two objects");
        let kinds = (serde_json::from_value(assignment), serde_json::from_value(target));
        (kinds.0.expect("an assignment"), kinds.1.expect("a target"))
    }

    #[test]
    fn what_was_folded_opens_as_it_was() {
        let (assignment, target) = golden();
        assert_eq!(Folded::of(&assignment).open(), Some(assignment));
        assert_eq!(Folded::of(&target).open(), Some(target));
        let unlike_all = ["\u{0}".repeat(100_000), String::new()];
        assert_eq!(Folded::of(&unlike_all).open(), Some(unlike_all));
        assert_eq!(Folded::of(&"text").open::<u32>(), None);
    }

    #[test]
    fn what_objects_have_in_common_weighs_little() {
        let (assignment, target) = golden();
        let whole = |json: serde_json::Result<String>| json.expect("JSON").len();
        let (of_assignment, of_target) =
            (whole(serde_json::to_string(&assignment)), whole(serde_json::to_string(&target)));
        let folded = (Folded::of(&assignment).0.len(), Folded::of(&target).0.len());
        assert!(folded.0 * 3 < of_assignment, "{} of {of_assignment}", folded.0);
        assert!(folded.1 * 3 < of_target, "{} of {of_target}", folded.1);
    }
}
