//! ARM resource ids: parsed once at the edge, compared without case, printed as written.
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// What a node's provider id puts before the ARM id.
const PROVIDER_PREFIX: &str = "azure://";

/// The longest id that is accepted, in characters.
pub const MAX_ID_LENGTH: usize = 512;

/// A string that is compared without case and printed as written.
///
/// Folding is Unicode's, since resource group names may hold letters beyond ASCII. A copy shares the text: one id is
/// in claims, record, plan and view at once.
#[derive(Clone)]
struct Caseless {
    written: Arc<str>,
    folded: Arc<str>,
}

impl Caseless {
    fn new(written: &str) -> Self {
        Self { written: written.into(), folded: written.to_lowercase().into() }
    }
}

/// Why a text is no id that Lanyard works with, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error(
        "'{0}' is no ARM resource id: write it as /subscriptions/<GUID>/resourceGroups/<group>/providers/<type>/<name>"
    )]
    NotAnId(String),
    #[error("the id has {0} characters, at most {MAX_ID_LENGTH} are allowed")]
    TooLong(usize),
    #[error("'{0}' ends with a slash: leave it out")]
    TrailingSlash(String),
    #[error("'{0}' has an empty part between two slashes: fill it in or remove a slash")]
    EmptyPart(String),
    #[error("'{part}' in '{id}' holds {what}, which no resource id has")]
    BadCharacter { id: String, part: String, what: &'static str },
    #[error("the subscription '{0}' is no GUID: write it as xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
    BadSubscription(String),
    #[error("the resource group '{0}' must have 1 to 90 characters")]
    BadGroup(String),
    #[error("'{found}' is not of the type {wanted}")]
    OtherType { found: String, wanted: &'static str },
    #[error("'{0}' is a child resource: name the machine or identity itself")]
    ChildResource(String),
    #[error("the name '{0}' must have 1 to 64 characters")]
    BadMachineName(String),
    #[error("the identity name '{0}' must have 3 to 128 letters, digits, '-' or '_', and begin with a letter or digit")]
    BadIdentityName(String),
}

/// The two kinds of machine whose identities Lanyard keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineKind {
    VirtualMachine,
    ScaleSet,
}

impl MachineKind {
    /// The ARM type below `Microsoft.Compute`.
    #[must_use]
    pub fn arm_type(self) -> &'static str {
        match self {
            Self::VirtualMachine => "virtualMachines",
            Self::ScaleSet => "virtualMachineScaleSets",
        }
    }

    /// The name people see in status and columns.
    #[must_use]
    pub fn display_name(self) -> &'static str {
        match self {
            Self::VirtualMachine => "VirtualMachine",
            Self::ScaleSet => "VirtualMachineScaleSet",
        }
    }

    fn from_arm_type(text: &str) -> Option<Self> {
        [Self::VirtualMachine, Self::ScaleSet].into_iter().find(|kind| kind.arm_type().eq_ignore_ascii_case(text))
    }
}

/// Places of an id's parts, which begins with a slash.
const SUBSCRIPTION: usize = 2;
const GROUP: usize = 4;

/// Empty where the id has no such part.
fn part(id: &str, place: usize) -> &str {
    id.split('/').nth(place).unwrap_or_default()
}

fn last_part(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

/// The parts of an id below a resource group.
struct Parts<'a> {
    provider: &'a str,
    types_and_names: Vec<&'a str>,
}

fn split(id: &str) -> Result<Parts<'_>, IdError> {
    let length = id.chars().count();
    if length > MAX_ID_LENGTH {
        return Err(IdError::TooLong(length));
    }
    let Some(rest) = id.strip_prefix('/') else {
        return Err(IdError::NotAnId(id.into()));
    };
    if rest.ends_with('/') {
        return Err(IdError::TrailingSlash(id.into()));
    }
    let parts: Vec<&str> = rest.split('/').collect();
    parts.iter().try_for_each(|part| check_part(id, part))?;
    match parts.as_slice() {
        [subscriptions, subscription, groups, group, providers, provider, rest @ ..]
            if subscriptions.eq_ignore_ascii_case("subscriptions")
                && groups.eq_ignore_ascii_case("resourceGroups")
                && providers.eq_ignore_ascii_case("providers")
                && rest.len() >= 2 =>
        {
            check_guid(subscription)?;
            check_group(group)?;
            Ok(Parts { provider, types_and_names: rest.to_vec() })
        }
        _ => Err(IdError::NotAnId(id.into())),
    }
}

fn check_part(id: &str, part: &str) -> Result<(), IdError> {
    let bad = |what| Err(IdError::BadCharacter { id: id.into(), part: part.into(), what });
    if part.is_empty() {
        return Err(IdError::EmptyPart(id.into()));
    }
    if part == "." || part == ".." {
        return bad("nothing but dots");
    }
    for character in part.chars() {
        match character {
            c if c.is_whitespace() => return bad("a blank"),
            c if c.is_control() => return bad("a control character"),
            '%' => return bad("a percent sign"),
            '?' | '#' => return bad("a query or fragment"),
            '\\' | ',' | ';' | ':' | '<' | '>' | '"' | '\'' | '*' | '|' | '&' => {
                return bad("a character that ARM reserves");
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_guid(text: &str) -> Result<(), IdError> {
    let lengths = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split('-').collect();
    let fits = groups.len() == lengths.len()
        && groups.iter().zip(lengths).all(|(g, n)| g.len() == n && g.bytes().all(|b| b.is_ascii_hexdigit()));
    if fits { Ok(()) } else { Err(IdError::BadSubscription(text.into())) }
}

fn check_group(name: &str) -> Result<(), IdError> {
    if (1..=90).contains(&name.chars().count()) { Ok(()) } else { Err(IdError::BadGroup(name.into())) }
}

fn one_resource<'a>(id: &str, parts: &Parts<'a>) -> Result<(&'a str, &'a str), IdError> {
    match parts.types_and_names.as_slice() {
        [kind, name] => Ok((kind, name)),
        _ => Err(IdError::ChildResource(id.into())),
    }
}

/// The id of a VM or VM scale set.
#[derive(Clone)]
pub struct TargetId {
    id: Caseless,
    kind: MachineKind,
}

impl TargetId {
    /// The machine's kind.
    #[must_use]
    pub fn kind(&self) -> MachineKind {
        self.kind
    }

    /// The subscription's GUID in lower case.
    #[must_use]
    pub fn subscription(&self) -> &str {
        part(self.folded(), SUBSCRIPTION)
    }

    /// The resource group's name as written.
    #[must_use]
    pub fn group(&self) -> &str {
        part(self.as_str(), GROUP)
    }

    /// The machine's name as written.
    #[must_use]
    pub fn name(&self) -> &str {
        last_part(self.as_str())
    }

    /// The id as it was written, without a provider id's prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id.written
    }

    /// The id in lower case: equal for all spellings of one machine.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.id.folded
    }
}

impl FromStr for TargetId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = text.strip_prefix(PROVIDER_PREFIX).unwrap_or(text);
        let parts = split(id)?;
        let wanted = "Microsoft.Compute/virtualMachines or Microsoft.Compute/virtualMachineScaleSets";
        let other = || IdError::OtherType { found: id.into(), wanted };
        if !parts.provider.eq_ignore_ascii_case("Microsoft.Compute") {
            return Err(other());
        }
        let kind = parts.types_and_names.first().copied().and_then(MachineKind::from_arm_type).ok_or_else(other)?;
        let (_, name) = one_resource(id, &parts)?;
        if !(1..=64).contains(&name.chars().count()) {
            return Err(IdError::BadMachineName(name.into()));
        }
        Ok(Self { id: Caseless::new(id), kind })
    }
}

/// The id of a user-assigned managed identity.
#[derive(Clone)]
pub struct IdentityId(Caseless);

impl IdentityId {
    /// An id that ARM told us: whatever it is, it is on the machine, and must be counted.
    #[must_use]
    pub fn told_by_arm(text: &str) -> Self {
        Self(Caseless::new(text))
    }

    /// The id as it was written, without a provider id's prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.written
    }

    /// The id in lower case: equal for all spellings of one identity.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.0.folded
    }

    /// The subscription's GUID in lower case; empty for an id of ARM's that has none.
    #[must_use]
    pub fn subscription(&self) -> &str {
        part(self.folded(), SUBSCRIPTION)
    }

    /// The resource group's name as written; empty for an id of ARM's that has none.
    #[must_use]
    pub fn group(&self) -> &str {
        part(self.as_str(), GROUP)
    }

    /// The identity's own name: what follows the last slash.
    #[must_use]
    pub fn name(&self) -> &str {
        last_part(self.as_str())
    }
}

impl FromStr for IdentityId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = text.strip_prefix(PROVIDER_PREFIX).unwrap_or(text);
        let parts = split(id)?;
        let wanted = "Microsoft.ManagedIdentity/userAssignedIdentities";
        let kind = parts.types_and_names.first().copied().unwrap_or_default();
        if !parts.provider.eq_ignore_ascii_case("Microsoft.ManagedIdentity")
            || !kind.eq_ignore_ascii_case("userAssignedIdentities")
        {
            return Err(IdError::OtherType { found: id.into(), wanted });
        }
        let (_, name) = one_resource(id, &parts)?;
        check_identity_name(name)?;
        Ok(Self(Caseless::new(id)))
    }
}

fn check_identity_name(name: &str) -> Result<(), IdError> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if first && rest && (3..=128).contains(&name.len()) { Ok(()) } else { Err(IdError::BadIdentityName(name.into())) }
}

/// Equality, order and hash by the folded spelling; print and `Debug` by the written one.
macro_rules! compared_without_case {
    ($name:ty) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.folded() == other.folded()
            }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.folded().cmp(other.folded())
            }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.folded().hash(state);
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

compared_without_case!(TargetId);
compared_without_case!(IdentityId);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SUB: &str = "/subscriptions/00000000-0000-0000-0000-00000000000A";

    fn vm(tail: &str) -> Result<TargetId, IdError> {
        format!("{SUB}/resourceGroups/shop/providers/Microsoft.Compute/{tail}").parse()
    }

    fn identity(tail: &str) -> Result<IdentityId, IdError> {
        format!("{SUB}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/{tail}").parse()
    }

    #[test]
    fn spellings_of_one_machine_are_one_machine() {
        let written = vm("virtualMachines/Web").expect("an id");
        let shouted: TargetId = written.as_str().to_uppercase().parse().expect("an id");
        let from_node: TargetId = format!("azure://{}", written.as_str()).parse().expect("a provider id");
        assert_eq!(written, shouted);
        assert_eq!(written, from_node);
        assert_eq!(from_node.as_str(), written.as_str());
        assert_eq!((written.name(), written.group(), written.kind()), ("Web", "shop", MachineKind::VirtualMachine));
        assert_eq!(written.subscription(), "00000000-0000-0000-0000-00000000000a");
    }

    #[test]
    fn letters_beyond_ascii_fold_too() {
        let id = |group: &str| {
            format!("{SUB}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/a").parse::<TargetId>()
        };
        assert_eq!(id("BÄR").expect("an id"), id("bär").expect("an id"));
    }

    #[rstest]
    #[case::trailing_slash("virtualMachines/web/", "ends with a slash")]
    #[case::empty_part("virtualMachines//web", "empty part")]
    #[case::query("virtualMachines/web?x=1", "query")]
    #[case::dots("virtualMachines/..", "dots")]
    #[case::blank("virtualMachines/my web", "blank")]
    #[case::control("virtualMachines/my\u{7}web", "control")]
    #[case::percent("virtualMachines/web%2f", "percent")]
    #[case::other_type("disks/web", "not of the type")]
    #[case::child("virtualMachines/web/extensions/x", "child resource")]
    #[case::instance("virtualMachineScaleSets/web/virtualMachines/0", "child resource")]
    #[case::no_name("virtualMachines", "no ARM resource id")]
    fn a_bad_target_is_refused_by_name(#[case] tail: &str, #[case] why: &str) {
        let error = vm(tail).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    }

    #[rstest]
    #[case::short("userAssignedIdentities/ab", "3 to 128")]
    #[case::first("userAssignedIdentities/-abc", "begin with")]
    #[case::other_type("workspaces/abc", "not of the type")]
    #[case::child("userAssignedIdentities/abc/federatedIdentityCredentials/x", "child resource")]
    fn a_bad_identity_is_refused_by_name(#[case] tail: &str, #[case] why: &str) {
        let error = identity(tail).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(vm(&format!("virtualMachines/{}", "a".repeat(64))).is_ok());
        assert!(vm(&format!("virtualMachines/{}", "a".repeat(65))).is_err());
        assert!(matches!("a".repeat(513).parse::<TargetId>(), Err(IdError::TooLong(513))));
        assert!(matches!(
            "/subscriptions/x/resourceGroups/g/providers/a/b/c".parse::<TargetId>(),
            Err(IdError::BadSubscription(_))
        ));
    }
}
