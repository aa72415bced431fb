//! The admin door: what the Rust calls do, as JSON, for a simulator in a process of its own.
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::Fault;
use crate::id::fold;
use crate::journal::Exchange;
use crate::settings::Settings;
use crate::simulator::Shared;
use crate::state::foreign::ForeignAct;
use crate::state::restrictions::Restriction;
use crate::state::seed::{IdentitySeed, MachineSeed, Seeds};
use crate::state::{Group, Subscription, World};
use crate::wire::{Answer, Call, arm};

/// `{"resource": "/subscriptions/…", "act": {"add_identity": "/subscriptions/…"}}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    resource: String,
    act: ForeignAct,
}

type Told = anyhow::Result<Value>;

pub fn answer(shared: &Arc<Shared>, call: &Call) -> Answer {
    match told(shared, call) {
        Ok(Some(value)) => Answer::json(200, &value),
        Ok(None) => Answer::json(404, &json!({"error": "no such page; the crate's documentation lists them"})),
        Err(why) => Answer::json(400, &json!({"error": format!("{why:#}")})),
    }
}

fn told(shared: &Arc<Shared>, call: &Call) -> anyhow::Result<Option<Value>> {
    let path = call.path.trim_end_matches('/');
    if (call.method.as_str(), path) == ("POST", "/late/release") {
        return Ok(Some(release(shared)));
    }
    let mut world = shared.world();
    world.settle();
    let told = match (call.method.as_str(), path) {
        ("GET", "/endpoints") => json!(shared.endpoints),
        ("GET", "/journal") => journal(&world, call),
        ("GET", "/journal/latest") => json!({"seq": world.journal.latest()}),
        ("GET", "/operations") => operations(&world, call)?,
        ("GET", "/tally") => json!(world.journal.tally()),
        ("GET", "/sightings") => json!(world.sightings()),
        ("GET", "/truth") => world.truth(&call.parameter("path").unwrap_or_default()),
        ("GET", "/settings") => json!(world.settings),
        ("GET", "/faults") => {
            world.faults.armed().map(|(number, fault)| json!({"number": number, "fault": fault})).collect()
        }
        ("DELETE", "/faults") => {
            world.faults.clear(&call.parameter("path").unwrap_or_default());
            done()
        }
        ("DELETE", "/groups") => {
            let part = |name: &str| call.parameter(name).unwrap_or_default();
            json!({"done": world.remove_group(&part("subscription"), &part("name"))})
        }
        ("DELETE", "/subscriptions") => {
            let id = call.parameter("id").unwrap_or_default();
            json!({"done": world.subscriptions.remove(&fold(&id)).is_some()})
        }
        ("DELETE", "/restrictions") => {
            let scope = fold(&call.parameter("scope").unwrap_or_default());
            world.restrictions.retain(|one| !scope.is_empty() && fold(&one.scope) != scope);
            done()
        }
        ("POST", page) => return posted(&mut world, page, call).transpose(),
        _ => return Ok(None),
    };
    Ok(Some(told))
}

fn posted(world: &mut World, page: &str, call: &Call) -> Option<Told> {
    Some(match page {
        "/seeds" => read::<Seeds>(call).and_then(|seeds| world.sow(seeds)).map(|()| done()),
        "/subscriptions" => read(call).map(|one: Subscription| {
            world.declare_subscription(&one.id, &one.tenant);
            done()
        }),
        "/groups" => read(call).map(|group: Group| {
            world.sow_group(group);
            done()
        }),
        "/identities" => {
            read(call).and_then(|seed: IdentitySeed| world.sow_identity(&seed)).map(|id| json!({"id": id.to_string()}))
        }
        "/machines" => {
            read(call).and_then(|seed: MachineSeed| world.sow_machine(seed)).map(|id| json!({"id": id.to_string()}))
        }
        "/restrictions" => read(call).map(|restriction: Restriction| {
            world.restrictions.push(restriction);
            done()
        }),
        "/faults" => read(call).map(|fault: Fault| json!({"number": world.faults.arm(fault)})),
        "/foreign" => read(call).map(|foreign: Foreign| {
            let there = world.foreign(&fold(&foreign.resource), &foreign.act, "admin");
            json!({"done": there})
        }),
        "/settings" => settings(world, call),
        "/sightings" => {
            world.watch += 1;
            Ok(done())
        }
        "/operations/finish" => {
            for id in world.operations.running() {
                world.end_operation(&id);
            }
            Ok(done())
        }
        "/tokens/revoke" => {
            world.tokens.revoke_all();
            Ok(done())
        }
        "/tokens/expire" => {
            world.tokens.expire_all();
            Ok(done())
        }
        _ => return None,
    })
}

fn done() -> Value {
    json!({"done": true})
}

fn read<T: DeserializeOwned>(call: &Call) -> anyhow::Result<T> {
    Ok(serde_json::from_slice(&call.body)?)
}

/// What is named changes, the rest stays.
fn settings(world: &mut World, call: &Call) -> Told {
    let changes: serde_json::Map<String, Value> = read(call)?;
    let mut all = json!(world.settings);
    for (key, value) in changes {
        all[key] = value;
    }
    world.settings = serde_json::from_value::<Settings>(all)?;
    Ok(json!(world.settings))
}

fn journal(world: &World, call: &Call) -> Value {
    let since = call.parameter("since").and_then(|since| since.parse().ok()).unwrap_or_default();
    let path = fold(&call.parameter("path").unwrap_or_default());
    let method = call.parameter("method").unwrap_or_default();
    let wanted = |exchange: &&Exchange| {
        (method.is_empty() || exchange.method == method) && (path.is_empty() || fold(&exchange.path).contains(&path))
    };
    world.journal.since(since).filter(wanted).map(|exchange| json!(exchange)).collect()
}

fn operations(world: &World, call: &Call) -> anyhow::Result<Value> {
    let since = call.parameter("since").map(|since| since.parse()).transpose()?.unwrap_or_default();
    let (running, longest) = world.operations.begun_since(since);
    Ok(json!({"running": running, "longest_millis": longest.as_millis()}))
}

fn release(shared: &Shared) -> Value {
    let parked: Vec<u64> = shared.world().parked.iter().map(|(number, _)| *number).collect();
    for number in &parked {
        arm::arrive(shared, *number);
    }
    json!({"released": parked.len()})
}
