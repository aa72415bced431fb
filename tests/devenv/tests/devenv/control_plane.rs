use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::Result;
use devenv::control_plane::{ControlPlane, ControlPlaneError, Options};
use devenv::parts::{Part, Parts};
use devenv::world::World;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams, ResourceExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};

use crate::script;

pub const CRD: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.devenv.lanyard.dev}
spec:
  group: devenv.lanyard.dev
  names: {kind: Lamp, plural: lamps, singular: lamp}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              watts: {type: integer}
            x-kubernetes-validations:
            - rule: self.watts < 100
              message: too bright
";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> Output {
    plane.kubectl(arguments.iter().copied()).await.expect("kubectl runs")
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }
}

#[tokio::test]
async fn kubectl_applies_a_definition_whose_rules_then_hold() -> Result<()> {
    let world = World::start().await?;
    let plane = world.control_plane();
    let file = |name: &str, text: &str| {
        let path = plane.directory().join(name);
        fs::write(&path, text).map(|()| path.display().to_string())
    };
    let applied = kubectl(plane, &["apply", "-f", &file("lamp-crd.yaml", CRD)?]).await;
    assert!(applied.status.success(), "{}", text(&applied));
    let established = ["wait", "--for=condition=Established", "crd/lamps.devenv.lanyard.dev"];
    assert!(kubectl(plane, &established).await.status.success());

    let lamp = "apiVersion: devenv.lanyard.dev/v1\nkind: Lamp\nmetadata: {name: desk}\nspec: {watts: 150}\n";
    let refused = kubectl(plane, &["apply", "-f", &file("lamp.yaml", lamp)?]).await;
    assert!(text(&refused).contains("too bright"), "{}", text(&refused));
    let explained = kubectl(plane, &["explain", "lamps.spec"]).await;
    assert!(text(&explained).contains("watts"), "{}", text(&explained));
    Ok(())
}

#[tokio::test]
async fn namespaces_end_with_what_is_in_them() -> Result<()> {
    let world = World::start().await?;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    let map = ConfigMap { metadata: named("settings"), ..ConfigMap::default() };
    maps.create(&PostParams::default(), &map).await?;

    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let uid = namespaces.get(&world.namespace).await?.uid().unwrap_or_default();
    namespaces.delete(&world.namespace, &DeleteParams::default()).await?;
    await_condition(namespaces, &world.namespace, conditions::is_deleted(&uid)).await?;
    assert!(maps.get_opt("settings").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn others_have_the_rights_that_they_have_and_no_more() -> Result<()> {
    let world = World::start().await?;
    let plane = world.control_plane();
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), &world.namespace);
    await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some()).await?;

    let token = plane.kubeconfig_of_service_account(&world.namespace, "default").await?;
    let expected = format!("system:serviceaccount:{}:default", world.namespace);
    assert_eq!(who_am_i(plane, &token).await?, expected);
    let impersonated = plane.kubeconfig_as("ada@example.com", &["operators"])?;
    assert_eq!(who_am_i(plane, &impersonated).await?, "ada@example.com");
    for config in [&token, &impersonated] {
        let maps: Api<ConfigMap> = Api::namespaced(client_of(config).await?, &world.namespace);
        let refused = maps.list(&ListParams::default()).await.expect_err("no role is bound");
        assert!(matches!(&refused, kube::Error::Api(status) if status.is_forbidden()), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_was_stopped_comes_back_where_it_was() -> Result<()> {
    let plane = ControlPlane::start(Options { controller_manager: false }).await?;
    let namespaces: Api<Namespace> = Api::all(plane.client().await?);
    let kept = Namespace { metadata: named("kept"), ..Namespace::default() };
    namespaces.create(&PostParams::default(), &kept).await?;

    plane.stop_api_server()?;
    assert!(namespaces.get("kept").await.is_err());
    plane.start_api_server().await?;
    namespaces.get("kept").await?;
    Ok(())
}

#[tokio::test]
async fn a_part_that_does_not_come_up_is_named_with_its_last_words() -> Result<()> {
    let assets = tempfile::TempDir::new()?;
    script::write(&assets.path().join("etcd"), "exec sleep 600");
    script::write(&assets.path().join("kube-apiserver"), "echo no such flag; exit 3");
    let (chosen, cache) = (assets.path().to_path_buf(), assets.path().join("cache"));
    let parts = Parts { assets: Some(chosen), cache, ..Parts::from_environment() };
    let failed = ControlPlane::start_with(Options::default(), parts).await;
    let error = failed.expect_err("it cannot come up");
    let ControlPlaneError::Ended { part: "kube-apiserver", log, last } = error else {
        anyhow::bail!("another error: {error}");
    };
    assert_eq!(last, "no such flag");
    assert_eq!(fs::read_to_string(log)?, "no such flag\n", "the log is still there to be read");
    Ok(())
}

#[tokio::test]
async fn a_port_that_somebody_takes_first_is_given_up_for_another() -> Result<()> {
    let assets = tempfile::TempDir::new()?;
    let server = Parts::from_environment().find(Part::KubeApiserver)?;
    let taken = "echo 'listen tcp 127.0.0.1: bind: address already in use'; exit 1";
    let first_refused = format!("[ -e tried ] || {{ touch tried; {taken}; }}\nexec '{}' \"$@\"", server.display());
    script::write(&assets.path().join("kube-apiserver"), &first_refused);
    let etcd = Parts::from_environment().find(Part::Etcd)?;
    script::write(&assets.path().join("etcd"), &format!("exec '{}' \"$@\"", etcd.display()));

    let parts = Parts { assets: Some(assets.path().to_path_buf()), ..Parts::from_environment() };
    let plane = ControlPlane::start_with(Options { controller_manager: false }, parts).await?;
    assert!(plane.directory().join("tried").exists(), "the first port was refused");
    plane.client().await?.apiserver_version().await?;
    Ok(())
}

async fn client_of(kubeconfig: &Path) -> Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

async fn who_am_i(plane: &ControlPlane, kubeconfig: &Path) -> Result<String> {
    let flag = format!("--kubeconfig={}", kubeconfig.display());
    let answer = kubectl(plane, &["auth", "whoami", &flag, "-o=jsonpath={.status.userInfo.username}"]).await;
    anyhow::ensure!(answer.status.success(), text(&answer));
    Ok(text(&answer))
}
