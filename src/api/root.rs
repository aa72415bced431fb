//! Cluster-scoped kinds that only the controller writes. They are written by hand: the derive knows `spec` and `status`
//! alone, and gives a status its subresource.

/// Makes a type with `metadata` a resource, of the `KIND` and `PLURAL` of its module.
macro_rules! cluster_scoped {
    ($kind:ident) => {
        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::ClusterResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                KIND.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                crate::api::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                crate::api::VERSION.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                PLURAL.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(super) use cluster_scoped;
