//! What ARM counts together, and how much of it there is.
use crate::{MachineKind, TargetId};
use std::fmt;
use std::sync::Arc;

/// What ARM, or the compute provider behind it, counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::VariantArray)]
pub enum Bucket {
    // ARM's own, by subscription and principal.
    SubscriptionReads,
    SubscriptionWrites,
    SubscriptionDeletes,
    // The compute provider's, by subscription and region. We know of no region before the first read, so that all
    // regions of a subscription are counted as one: never too much, at worst too little.
    VmGets,
    ScaleSetGets,
    VmUpdates,
    ScaleSetUpdates,
    VmLists,
    ScaleSetLists,
    AllOperationGets,
    // The compute provider's, by machine or operation.
    ResourceGets,
    ResourceUpdates,
    OperationGets,
}

/// How much a bucket holds, and what flows in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub capacity: f64,
    pub per_second: f64,
}

const fn a_minute(capacity: f64, refill: f64) -> Limit {
    Limit { capacity, per_second: refill / 60.0 }
}

impl Bucket {
    /// What is documented of it.
    #[must_use]
    pub const fn limit(self) -> Limit {
        match self {
            Self::SubscriptionReads => Limit { capacity: 250.0, per_second: 25.0 },
            Self::SubscriptionWrites | Self::SubscriptionDeletes => Limit { capacity: 200.0, per_second: 10.0 },
            Self::VmGets => a_minute(24_000.0, 8_000.0),
            Self::ScaleSetGets => a_minute(2_400.0, 800.0),
            Self::VmUpdates | Self::ScaleSetUpdates => a_minute(1_500.0, 500.0),
            Self::VmLists => a_minute(900.0, 300.0),
            Self::ScaleSetLists => a_minute(1_080.0, 360.0),
            Self::AllOperationGets => a_minute(15_000.0, 5_000.0),
            Self::ResourceGets => a_minute(36.0, 12.0),
            Self::ResourceUpdates => a_minute(12.0, 4.0),
            Self::OperationGets => a_minute(45.0, 15.0),
        }
    }

    /// A label for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionReads => "subscription-reads",
            Self::SubscriptionWrites => "subscription-writes",
            Self::SubscriptionDeletes => "subscription-deletes",
            Self::VmGets => "vm-gets",
            Self::ScaleSetGets => "scale-set-gets",
            Self::VmUpdates => "vm-updates",
            Self::ScaleSetUpdates => "scale-set-updates",
            Self::VmLists => "vm-lists",
            Self::ScaleSetLists => "scale-set-lists",
            Self::AllOperationGets => "all-operation-gets",
            Self::ResourceGets => "resource-gets",
            Self::ResourceUpdates => "resource-updates",
            Self::OperationGets => "operation-gets",
        }
    }

    /// All machines of a subscription draw on it.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        match self {
            Self::ResourceGets | Self::ResourceUpdates | Self::OperationGets => false,
            Self::SubscriptionReads
            | Self::SubscriptionWrites
            | Self::SubscriptionDeletes
            | Self::VmGets
            | Self::ScaleSetGets
            | Self::VmUpdates
            | Self::ScaleSetUpdates
            | Self::VmLists
            | Self::ScaleSetLists
            | Self::AllOperationGets => true,
        }
    }

    /// Counted by ARM itself, before any provider sees the request.
    #[must_use]
    pub const fn is_arms_own(self) -> bool {
        matches!(self, Self::SubscriptionReads | Self::SubscriptionWrites | Self::SubscriptionDeletes)
    }

    /// The bucket that a policy of `Microsoft.Compute` speaks of, as headers and refusals name it.
    ///
    /// Policies that count something else (whole scale sets' instances, the windows of 3 and 30 minutes of former
    /// years) are no buckets of ours.
    #[must_use]
    pub fn of_policy(name: &str) -> Option<Self> {
        const POLICIES: [(&str, Bucket); 12] = [
            ("LowCostGetResource", Bucket::ResourceGets),
            ("GetVMScaleSetResource", Bucket::ResourceGets),
            ("UpdateVMResource", Bucket::ResourceUpdates),
            ("VMScaleSetActionsResource", Bucket::ResourceUpdates),
            ("GetOperationResource", Bucket::OperationGets),
            ("LowCostGetSubscriptionMaximum", Bucket::VmGets),
            ("GetVMScaleSetSubscriptionMaximum", Bucket::ScaleSetGets),
            ("UpdateVMSubscriptionMaximum", Bucket::VmUpdates),
            ("VMScaleSetActionsSubscriptionMaximum", Bucket::ScaleSetUpdates),
            ("HighCostGetSubscriptionMaximum", Bucket::VmLists),
            ("HighCostGetVMScaleSetSubscriptionMaximum", Bucket::ScaleSetLists),
            ("GetOperationSubscriptionMaximum", Bucket::AllOperationGets),
        ];
        let name = name.trim().rsplit('/').next().unwrap_or_default();
        POLICIES.iter().find(|(policy, _)| policy.eq_ignore_ascii_case(name)).map(|(_, bucket)| *bucket)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SubscriptionReads => "the subscription (reads)",
            Self::SubscriptionWrites => "the subscription (writes)",
            Self::SubscriptionDeletes => "the subscription (deletes)",
            Self::VmGets => "the subscription's VMs (reads)",
            Self::ScaleSetGets => "the subscription's scale sets (reads)",
            Self::VmUpdates => "the subscription's VMs (updates)",
            Self::ScaleSetUpdates => "the subscription's scale sets (updates)",
            Self::VmLists => "the subscription's VMs (lists)",
            Self::ScaleSetLists => "the subscription's scale sets (lists)",
            Self::AllOperationGets => "the subscription's operations",
            Self::ResourceGets => "the target (reads)",
            Self::ResourceUpdates => "the target (updates)",
            Self::OperationGets => "the operation",
        })
    }
}

/// One bucket of one subscription, machine or operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub bucket: Bucket,
    of: Arc<str>,
}

impl Key {
    /// Whose bucket it is: a subscription, a machine or an operation.
    #[must_use]
    pub fn of(&self) -> &str {
        &self.of
    }

    fn of_subscription(bucket: Bucket, subscription: &str) -> Self {
        Self { bucket, of: subscription.to_ascii_lowercase().into() }
    }

    /// What a read of anything in a subscription draws on.
    #[must_use]
    pub fn reads(subscription: &str) -> Vec<Self> {
        vec![Self::of_subscription(Bucket::SubscriptionReads, subscription)]
    }

    /// What a write to anything in a subscription draws on.
    #[must_use]
    pub fn writes(subscription: &str) -> Vec<Self> {
        vec![Self::of_subscription(Bucket::SubscriptionWrites, subscription)]
    }

    /// What a deletion of anything in a subscription draws on.
    #[must_use]
    pub fn deletes(subscription: &str) -> Vec<Self> {
        vec![Self::of_subscription(Bucket::SubscriptionDeletes, subscription)]
    }

    /// What a GET of a machine draws on. Like all of these: the widest first, the narrowest last.
    #[must_use]
    pub fn get(target: &TargetId) -> Vec<Self> {
        let provider = match target.kind() {
            MachineKind::VirtualMachine => Bucket::VmGets,
            MachineKind::ScaleSet => Bucket::ScaleSetGets,
        };
        Self::of_target(target, [Bucket::SubscriptionReads, provider], Bucket::ResourceGets)
    }

    /// What a PATCH of a machine draws on.
    #[must_use]
    pub fn update(target: &TargetId) -> Vec<Self> {
        let provider = match target.kind() {
            MachineKind::VirtualMachine => Bucket::VmUpdates,
            MachineKind::ScaleSet => Bucket::ScaleSetUpdates,
        };
        Self::of_target(target, [Bucket::SubscriptionWrites, provider], Bucket::ResourceUpdates)
    }

    /// What a page of a list of machines draws on, of a group or of the whole subscription.
    #[must_use]
    pub fn list(subscription: &str, kind: MachineKind) -> Vec<Self> {
        let provider = match kind {
            MachineKind::VirtualMachine => Bucket::VmLists,
            MachineKind::ScaleSet => Bucket::ScaleSetLists,
        };
        [Bucket::SubscriptionReads, provider].map(|bucket| Self::of_subscription(bucket, subscription)).into()
    }

    /// What a poll of an operation draws on. `operation` names it, the same at each poll.
    #[must_use]
    pub fn poll(subscription: &str, operation: &str) -> Vec<Self> {
        let shared = [Bucket::SubscriptionReads, Bucket::AllOperationGets];
        let narrow = Self { bucket: Bucket::OperationGets, of: operation.into() };
        shared.map(|bucket| Self::of_subscription(bucket, subscription)).into_iter().chain([narrow]).collect()
    }

    fn of_target(target: &TargetId, shared: [Bucket; 2], narrow: Bucket) -> Vec<Self> {
        let narrow = Self { bucket: narrow, of: target.folded().into() };
        let shared = shared.map(|bucket| Self::of_subscription(bucket, target.subscription()));
        shared.into_iter().chain([narrow]).collect()
    }
}
