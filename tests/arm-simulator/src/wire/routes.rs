//! Paths of ARM, read without case.
use crate::id::{Kind, ResourceId, fold};

#[derive(Clone, Debug)]
pub struct Route {
    pub subscription: String,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum Place {
    Subscription,
    Group(String),
    Resource(ResourceId),
    ListOfGroup(Kind, String),
    ListOfSubscription(Kind),
    Operation(String),
    /// What the compute provider supports.
    ComputeProvider,
    /// What `Microsoft.Authorization` tells about a scope, which is folded.
    Rights(String),
    Locks(String),
    /// A path that exists in ARM, perhaps, but not here.
    Elsewhere,
}

impl Route {
    /// None: not even a subscription's path.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (&first, &subscription) = (parts.first()?, parts.get(1)?);
        if !first.eq_ignore_ascii_case("subscriptions") || subscription.is_empty() {
            return None;
        }
        Some(Self { subscription: subscription.to_owned(), place: place(subscription, &parts[2..]) })
    }
}

fn place(subscription: &str, rest: &[&str]) -> Place {
    let is = |part: &str, name: &str| part.eq_ignore_ascii_case(name);
    if let [scope @ .., providers, namespace, what] = rest
        && is(providers, "providers")
        && is(namespace, "Microsoft.Authorization")
    {
        let of_group = matches!(*scope, [groups, _] if is(groups, "resourceGroups"));
        let parts: Vec<&str> = ["", "subscriptions", subscription].iter().chain(scope).copied().collect();
        let scope = parts.join("/");
        let of_resource = ResourceId::parse(&scope).is_some();
        return match fold(what).as_str() {
            "permissions" if of_group || of_resource => Place::Rights(fold(&scope)),
            "locks" if of_group || of_resource || parts.len() == 3 => Place::Locks(fold(&scope)),
            _ => Place::Elsewhere,
        };
    }
    let found = match *rest {
        [] => Some(Place::Subscription),
        [groups, group] if is(groups, "resourceGroups") => Some(Place::Group(group.to_owned())),
        [providers, namespace] if is(providers, "providers") && is(namespace, "Microsoft.Compute") => {
            Some(Place::ComputeProvider)
        }
        [providers, namespace, plural] if is(providers, "providers") => {
            Kind::of(namespace, plural).map(Place::ListOfSubscription)
        }
        [groups, group, providers, namespace, plural] if is(groups, "resourceGroups") && is(providers, "providers") => {
            Kind::of(namespace, plural).map(|kind| Place::ListOfGroup(kind, group.to_owned()))
        }
        [groups, group, providers, namespace, plural, name]
            if is(groups, "resourceGroups") && is(providers, "providers") =>
        {
            Kind::of(namespace, plural).map(|kind| Place::Resource(ResourceId::new(subscription, group, kind, name)))
        }
        [providers, compute, locations, _, operations, id]
            if is(providers, "providers")
                && is(compute, "Microsoft.Compute")
                && is(locations, "locations")
                && is(operations, "operations") =>
        {
            Some(Place::Operation(id.to_owned()))
        }
        _ => None,
    };
    found.unwrap_or(Place::Elsewhere)
}

impl Place {
    /// Whether it is the compute provider that answers.
    pub fn is_of_compute(&self) -> bool {
        match self {
            Self::Resource(ResourceId { kind, .. }) | Self::ListOfGroup(kind, _) | Self::ListOfSubscription(kind) => {
                *kind != Kind::UserAssignedIdentity
            }
            Self::Operation(_) => true,
            Self::Subscription
            | Self::Group(_)
            | Self::ComputeProvider
            | Self::Rights(_)
            | Self::Locks(_)
            | Self::Elsewhere => false,
        }
    }
}

/// `%41` as `A`; what is no valid escape stays.
pub fn percent_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| path.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_broken_ones_left_alone() {
        assert_eq!(percent_decoded("/a%20b/%C3%A9%zz%"), "/a b/é%zz%");
    }

    #[test]
    fn a_machine_is_found_in_any_case() {
        let route =
            Route::parse("/Subscriptions/s/resourcegroups/g/PROVIDERS/microsoft.compute/virtualmachinescalesets/x");
        let place = route.map(|route| route.place);
        assert!(matches!(place, Some(Place::Resource(id)) if id.kind == Kind::VirtualMachineScaleSet));
    }
}
