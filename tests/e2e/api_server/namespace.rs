//! A namespace that goes with all that is in it.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use lanyard::api::assignment::SystemAssigned;

use crate::harness::{Stage, assignment};

/// Nothing new may be made there meanwhile, Events neither.
#[tokio::test]
async fn a_namespace_with_many_assignments_goes_and_takes_along_what_they_attached() -> Result<()> {
    let stage = Stage::shared().await?;
    let names: Vec<String> = (0..6).map(|n| format!("vm-{n}")).collect();
    let machines: Vec<_> = names.iter().map(|name| stage.vm(name).with_identity("legacy").create()).collect();
    try_join_all(machines.iter().map(async |vm| {
        let wanted = |who: &str, id: &str| assignment(&format!("{who}-{}", vm.name())).on(vm).present(id);
        stage.declare(wanted("a", "shop-db").present("legacy").system(SystemAssigned::Enabled)).await?;
        stage.declare(wanted("b", "shop-queue")).await?;
        stage.until_ready(&format!("a-{}", vm.name())).await?;
        stage.until_ready(&format!("b-{}", vm.name())).await
    }))
    .await?;

    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
    let gone = async || Ok(namespaces.get_opt(&stage.namespace).await?.is_none());
    stage.until("the namespace to be gone", gone).await?;
    for vm in &machines {
        ensure!(vm.identities() == ["legacy"], "{}: {:?}", vm.name(), vm.identities());
        ensure!(vm.system_principal().is_some(), "the system identity is only ever switched off by name");
        let forgotten = async || Ok(stage.target(vm).await?.is_none());
        stage.until("the record to go with the last claim", forgotten).await?;
        let removed: Vec<_> = vm.history().into_iter().flat_map(|change| change.removed).collect();
        ensure!(removed.len() == 2, "{removed:?}");
    }
    Ok(())
}
