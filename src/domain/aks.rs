//! Whether a machine is AKS's to arrange: its upgrades and scaling rewrite identities.
use crate::ids::TargetId;
use crate::live::Live;

/// What tells that AKS manages a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AksSign {
    Tag,
    GroupName,
    GroupManagedBy,
}

/// The tags that AKS puts on its machines begin so.
pub const AKS_TAG_PREFIX: &str = "aks-managed-";

/// The sign by which a machine is known as AKS's, if any. `managed_by` is the resource group's, where it could be read.
#[must_use]
pub fn managed_by_aks(target: &TargetId, live: &Live, managed_by: Option<&str>) -> Option<AksSign> {
    if live.tagged_by_aks { Some(AksSign::Tag) } else { group_of_aks(target.group(), managed_by) }
}

/// The sign by which a resource group is known as one that AKS fills, if any.
#[must_use]
pub fn group_of_aks(group: &str, managed_by: Option<&str>) -> Option<AksSign> {
    let cluster =
        managed_by.is_some_and(|id| id.to_lowercase().contains("/microsoft.containerservice/managedclusters/"));
    if group.to_lowercase().starts_with("mc_") {
        Some(AksSign::GroupName)
    } else if cluster {
        Some(AksSign::GroupManagedBy)
    } else {
        None
    }
}
