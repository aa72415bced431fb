//! This version, where an older one has worked: it reads what that wrote, and finds nothing to do.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Seeds, Settings};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use lanyard::api::{IdentityAssignment, IdentityRecord, IdentityTarget, UserAssignedIdentity};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{FLAGS, NAMESPACE, conditions, folder, frozen};
use crate::harness::{Own, assignment};
use crate::monitoring::scrape;

/// States of which something has ended meanwhile: the operation, and the contest.
const GOES_ON: [&str; 2] = ["applying", "contested"];

fn round_trip<K: Serialize + DeserializeOwned>(object: &Value) -> Result<Value> {
    Ok(serde_json::to_value(serde_json::from_value::<K>(object.clone())?)?)
}

#[test]
fn what_an_older_version_wrote_is_read_and_written_back_as_it_was() -> Result<()> {
    let mut kinds = BTreeMap::<String, usize>::new();
    for (state, objects) in frozen(NAMESPACE)? {
        for object in objects {
            let kind = object["kind"].as_str().context("no kind")?.to_owned();
            let again = match kind.as_str() {
                "IdentityAssignment" => round_trip::<IdentityAssignment>(&object),
                "UserAssignedIdentity" => round_trip::<UserAssignedIdentity>(&object),
                "IdentityTarget" => round_trip::<IdentityTarget>(&object),
                _ => round_trip::<IdentityRecord>(&object),
            };
            let again = again.with_context(|| format!("{state}: {object:#}"))?;
            assert_eq!(again, object, "{state}");
            *kinds.entry(kind).or_default() += 1;
        }
    }
    ensure!(kinds.len() == 4, "{kinds:?}");
    Ok(())
}

fn api(own: &Own, kind: &str) -> Result<Api<DynamicObject>> {
    let (client, namespace) = (own.client.clone(), &own.namespace);
    let erased = |resource| Api::namespaced_with(client.clone(), namespace, &resource);
    Ok(match kind {
        "IdentityAssignment" => erased(ApiResource::erase::<IdentityAssignment>(&())),
        "UserAssignedIdentity" => erased(ApiResource::erase::<UserAssignedIdentity>(&())),
        "IdentityTarget" => Api::all_with(client, &ApiResource::erase::<IdentityTarget>(&())),
        "IdentityRecord" => Api::all_with(client, &ApiResource::erase::<IdentityRecord>(&())),
        other => anyhow::bail!("what is a {other}?"),
    })
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The object as a backup brings it back: without what the API server gives.
fn bare(object: &Value) -> Result<DynamicObject> {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().context("no metadata")?;
    let given = ["uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp"];
    for field in given.into_iter().chain(["deletionGracePeriodSeconds"]) {
        metadata.remove(field);
    }
    Ok(serde_json::from_value(object)?)
}

/// The status, about the generation that the object has here if it was about the one that it had there.
fn status_here(object: &Value, generation: i64) -> Value {
    let mut status = object["status"].clone();
    let there = &object["metadata"]["generation"];
    if &status["observedGeneration"] == there {
        status["observedGeneration"] = generation.into();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["observedGeneration"] = generation.into();
        }
    }
    status
}

/// Everything that was frozen, in this cluster; no controller runs yet.
async fn thaw(own: &Own, objects: &[Value]) -> Result<()> {
    let of_people = |object: &&Value| object["metadata"]["namespace"].is_string();
    let mut uids = Vec::new();
    for object in objects.iter().filter(of_people) {
        let api = api(own, object["kind"].as_str().unwrap_or_default())?;
        let made = api.create(&PostParams::default(), &bare(object)?).await?;
        let uid = object["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        uids.push((uid, made.metadata.uid.context("no uid")?));
        if object["metadata"]["deletionTimestamp"].is_string() {
            api.delete(name(object), &DeleteParams::default()).await?;
        }
        let mut now = api.get(name(object)).await?;
        now.data["status"] = status_here(object, now.metadata.generation.unwrap_or_default());
        api.replace_status(name(object), &PostParams::default(), &now).await?;
    }
    for object in objects.iter().filter(|object| !of_people(object)) {
        let renamed = uids.iter().fold(object.to_string(), |text, (there, here)| text.replace(there, here));
        let api = api(own, object["kind"].as_str().unwrap_or_default())?;
        api.create(&PostParams::default(), &bare(&serde_json::from_str(&renamed)?)?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn where_an_older_version_worked_this_one_finds_nothing_to_write() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let arm: Seeds = serde_json::from_str(&std::fs::read_to_string(folder().join("arm.json"))?)?;
    let subscription = arm.subscriptions.first().context("no subscription")?.id.clone();
    own.arm.sow(arm)?;
    let states = frozen(&own.namespace)?;
    let objects: Vec<Value> = states.values().flatten().cloned().collect();
    thaw(&own, &objects).await?;

    let controller = own.start(&FLAGS)?;
    let stage = own.stage()?;
    // All are known, every machine was read, and nobody is at work.
    let declared = objects.iter().filter(|it| it["kind"] == "IdentityAssignment").count();
    let journal = || own.arm.journal_of(&subscription);
    let rests = async || {
        let Ok(text) = scrape(&controller).await else { return Ok(false) };
        let says = |line: &str| text.lines().any(|it| it == line);
        let counted = text.lines().filter_map(|line| line.strip_prefix("lanyard_assignments{")?.split(' ').nth(1));
        let known: usize = counted.filter_map(|count| count.parse::<usize>().ok()).sum();
        let read = journal().iter().any(|call| call.method == "GET");
        let rests = says("lanyard_targets_unverified 0") && says("lanyard_targets_under_way 0");
        Ok(known == declared && read && rests)
    };
    stage.until("every machine to be verified", rests).await?;
    stage.until_ready("applying").await?;
    // Whoever asks has his machine looked at once more.
    for object in objects.iter().filter(|it| it["kind"] == "IdentityAssignment") {
        stage.look(name(object)).await?;
    }
    let vm = stage.vm("after").create();
    stage.declare(assignment("after").on(&vm).present("shop-db")).await?;
    stage.until_ready("after").await?;

    let written: Vec<_> = journal().into_iter().filter(|call| call.method != "GET").collect();
    ensure!(written.is_empty(), "written: {written:#?}");
    for (state, objects) in states.iter().filter(|(state, _)| !GOES_ON.contains(&state.as_str())) {
        for object in objects {
            let api = api(&own, object["kind"].as_str().unwrap_or_default())?;
            let now = serde_json::to_value(api.get(name(object)).await?)?;
            assert_eq!(conditions(&now), conditions(object), "{state}: {}", name(object));
        }
    }
    Ok(())
}
