//! The Lease object: what is read from it, and what is written.
use jiff::Timestamp as Wall;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use lanyard_domain::lease::{LEASE_FOR, Lease};
use std::time::Duration;

pub fn read(object: &Object) -> Lease {
    let spec = object.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Lease {
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        lasts: seconds.map_or(LEASE_FOR, Duration::from_secs),
    }
}

pub fn new(name: &str, me: &str, now: Wall) -> Object {
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    held(Object { metadata, spec: None }, me, now)
}

/// The same object, held by us: what people wrote beside it stays.
pub fn held(mut object: Object, me: &str, now: Wall) -> Object {
    let old = object.spec.take().unwrap_or_default();
    let mine = old.holder_identity.as_deref() == Some(me);
    let terms = old.lease_transitions.unwrap_or_default();
    object.spec = Some(LeaseSpec {
        holder_identity: Some(me.into()),
        lease_duration_seconds: i32::try_from(LEASE_FOR.as_secs()).ok(),
        acquire_time: if mine { old.acquire_time.clone() } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if mine { terms } else { terms.saturating_add(1) }),
        ..old
    });
    object
}

/// Nobody's: whoever sees it may take it at once.
pub fn released(mut object: Object, now: Wall) -> Object {
    let spec = object.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.renew_time = Some(MicroTime(now));
    object
}
