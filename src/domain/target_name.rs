//! The name of a resource's record (`IdentityTarget`, `IdentityRecord`): legible, and one for all spellings of the id.
use crate::ids::{IdentityId, TargetId};
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// How much of the machine's name is kept.
const LEGIBLE: usize = 40;

/// Ten bytes of SHA-256 in base32 give sixteen characters.
const HASH_BYTES: usize = 10;

/// `<machine's name, at most 40 characters>-<16 characters of the id's hash>`.
#[must_use]
pub fn target_name(target: &TargetId) -> String {
    named(target.name(), target.folded())
}

/// The same of a user-assigned identity.
#[must_use]
pub fn identity_name(id: &IdentityId) -> String {
    named(id.name(), id.folded())
}

fn named(name: &str, folded: &str) -> String {
    let digest = Sha256::digest(folded.as_bytes());
    let hash = BASE32_NOPAD.encode(&digest[..HASH_BYTES]).to_ascii_lowercase();
    let legible: String = name.to_lowercase().chars().map(dns_safe).take(LEGIBLE).collect();
    match legible.trim_matches('-') {
        "" => hash,
        name => format!("{name}-{hash}"),
    }
}

fn dns_safe(character: char) -> char {
    if character.is_ascii_lowercase() || character.is_ascii_digit() { character } else { '-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(machine: &str) -> String {
        let id = format!(
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{machine}"
        );
        target_name(&id.parse().expect("an id"))
    }

    #[test]
    fn spellings_share_a_name_and_machines_do_not() {
        assert_eq!(name("Web_1"), name("wEB_1"));
        assert_ne!(name("web_1"), name("web-1"));
        assert!(name("Web_1").starts_with("web-1-"));
        assert_eq!(name("web").len(), "web-".len() + 16);
    }

    #[test]
    fn odd_names_still_name_an_object() {
        assert_eq!(name("Ω").len(), 16);
        assert!(name(&"a".repeat(64)).len() <= 40 + 1 + 16);
    }
}
