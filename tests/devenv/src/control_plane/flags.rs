//! How each part is started.
//!
//! Only what tests cannot see is left out: etcd does not wait for the disk, since its data dies with it,
//! and listens on a socket in the directory, which spares two ports. Watch cache, priority and fairness
//! and admission are as in production: what they change, tests must see (and they cost no start-up time).

/// Controllers that tests rely on: namespaces end, owners are collected, service accounts have tokens.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,serviceaccount-controller,\
    serviceaccount-token-controller,root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// etcd, run in the control plane's directory. What it advertises to other members is never used: there are none.
pub(super) fn etcd() -> Vec<String> {
    owned(&[
        "--data-dir=etcd",
        "--unsafe-no-fsync",
        "--listen-client-urls=unix://etcd.sock",
        "--advertise-client-urls=http://localhost:2379",
        "--listen-peer-urls=unix://peer.sock",
        "--initial-advertise-peer-urls=http://localhost:2380",
        "--initial-cluster=default=http://localhost:2380",
    ])
}

/// kube-apiserver. Without the controller manager nothing makes the service accounts that admission asks for.
pub(super) fn api_server(port: u16, controller_manager: bool) -> Vec<String> {
    let mut flags = owned(&[
        "--etcd-servers=unix://etcd.sock",
        "--bind-address=127.0.0.1",
        "--cert-dir=.",
        "--tls-cert-file=server.crt",
        "--tls-private-key-file=server.key",
        "--client-ca-file=ca.crt",
        "--authorization-mode=RBAC",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=service-accounts.pub",
        "--service-account-signing-key-file=service-accounts.key",
        "--profiling=false",
        // Off by default, on in some places: who sets an owner must have the rights that it asks for.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
    ]);
    flags.push(format!("--secure-port={port}"));
    if !controller_manager {
        flags.push("--disable-admission-plugins=ServiceAccount".into());
    }
    flags
}

/// kube-controller-manager, serving nothing itself.
pub(super) fn controller_manager() -> Vec<String> {
    let mut flags = owned(&[
        "--kubeconfig=controller-manager.kubeconfig",
        "--leader-elect=false",
        "--use-service-account-credentials",
        "--service-account-private-key-file=service-accounts.key",
        "--root-ca-file=ca.crt",
        "--secure-port=0",
    ]);
    flags.push(format!("--controllers={CONTROLLERS}"));
    flags
}

fn owned(flags: &[&str]) -> Vec<String> {
    flags.iter().map(ToString::to_string).collect()
}
