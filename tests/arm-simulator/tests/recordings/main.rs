//! Sends the recorded requests of real clients and compares what matters of the answers.
//!
//! The recordings stay outside the repository: `ARM_RECORDINGS` names their folder.
mod recorded;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use arm_simulator::{Group, IdentitySeed, MachineSeed, Pace, Seeds, Settings, Throttling};
use recorded::{Recorded, Sort, identity_of};
use reqwest::Method;
use serde_json::{Map, Value, json};
use support::{Arm, Got, got};

/// What the recordings hold: 443 exchanges about machines, identities and their operations, less
/// 25 polls of writes to parts of a machine, which the simulator does not keep, and the departures.
const FLOOR: usize = 410;

/// What the service of 2017 did otherwise, in three recordings.
const DEPARTURES: usize = 8;

#[derive(Default, Debug)]
struct Tally {
    compared: usize,
    /// Of these, reads that planted a machine: they compare how it is shown, not what it became.
    first_sights: usize,
    /// Polls of writes to parts of a machine.
    unknown_polls: usize,
    /// Machines changed by somebody whom the recording does not show.
    unrecorded_writes: Vec<String>,
    /// What the service itself did otherwise at the time.
    departures: Vec<String>,
}

struct Replay {
    arm: Arm,
    file: String,
    operations: HashMap<String, String>,
    /// The last identity block that the recording showed, by folded id, until a write.
    shown: BTreeMap<String, Value>,
}

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ARM_RECORDINGS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: ARM_RECORDINGS names no folder");
    }
    folder
}

#[tokio::test]
async fn answers_as_the_real_service_did() {
    let Some(folder) = folder() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .filter(|path| !name(path).starts_with("ERRORS"))
        .collect();
    files.sort();
    let mut tally = Tally::default();
    for file in &files {
        replay(file, &mut tally).await;
    }
    println!(
        "{} exchanges of {} files compared, {} of them first sights; left out: {} polls, {} departures",
        tally.compared,
        files.len(),
        tally.first_sights,
        tally.unknown_polls,
        tally.departures.len()
    );
    assert!(tally.compared >= FLOOR, "only {} exchanges were compared", tally.compared);
    assert_eq!(tally.unrecorded_writes.len(), 1, "a policy's: {:?}", tally.unrecorded_writes);
    assert_eq!(tally.departures.len(), DEPARTURES, "{:?}", tally.departures);
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

async fn replay(file: &Path, tally: &mut Tally) {
    let settings = Settings { operations: Pace::Manual, throttling: Throttling::Off, ..Settings::default() };
    let arm = Arm::start(settings).await;
    // In 2020 a scale set's answer blanked every entry while an operation ran; since 2022 the new ones.
    let blanks = name(file).contains("vmss") && name(file).contains("-2020-");
    arm.sim.set(|settings| settings.vmss_blanks_all_while_updating = blanks);
    let mut replay = Replay { arm, file: name(file), operations: HashMap::new(), shown: BTreeMap::new() };
    let text = std::fs::read_to_string(file).expect("the recording can be read");
    for line in text.lines() {
        let recorded: Recorded = serde_json::from_str(line).expect("an exchange a line");
        match recorded.sort() {
            Some(Sort::Poll) => replay.poll(&recorded, tally).await,
            Some(Sort::Identity) => replay.identity(&recorded, tally).await,
            Some(Sort::Machine) => replay.machine(&recorded, tally).await,
            None => {}
        }
    }
}

impl Replay {
    fn place(&self, recorded: &Recorded) -> String {
        format!("{} #{} {} {}", self.file, recorded.seq, recorded.method, recorded.path())
    }

    async fn send(&self, recorded: &Recorded) -> Got {
        let url = format!("{}{}", self.arm.sim.arm_url(), recorded.target());
        let method: Method = recorded.method.parse().expect("a method");
        let mut request = self.arm.http.request(method, url).bearer_auth(&self.arm.token);
        if !recorded.request_body.is_null() {
            request = request.json(&recorded.request_body);
        }
        got(request.send().await.expect("an answer")).await
    }

    /// The group is there, as it was; and so is the resource, if the recording says so.
    fn prepare(&self, recorded: &Recorded) {
        let parts: Vec<&str> = recorded.path().split('/').collect();
        let (subscription, group) = (parts[2].to_owned(), parts[4].to_owned());
        let group = Group { subscription, name: group, ..Group::default() };
        let seeds = Seeds { groups: vec![group], ..Seeds::default() };
        self.arm.sim.sow(seeds).expect("the group is sown");
    }

    fn sow(&self, seeds: Seeds) {
        self.arm.sim.sow(seeds).expect("what was recorded can be sown");
    }

    fn exists(&self, path: &str) -> bool {
        let truth = self.arm.sim.truth(path);
        let path = path.to_lowercase();
        let machines = truth["machines"].as_array().into_iter().flatten();
        let identities = truth["identities"].as_array().into_iter().flatten();
        machines
            .map(|one| &one["id"])
            .chain(identities)
            .any(|id| id.as_str().is_some_and(|id| id.to_lowercase() == path))
    }

    async fn poll(&mut self, recorded: &Recorded, tally: &mut Tally) {
        let id = recorded.path().rsplit('/').next().unwrap_or_default();
        let Some(url) = self.operations.get(id).filter(|_| !recorded.response_body.is_null()) else {
            tally.unknown_polls += 1;
            return;
        };
        if recorded.response_body["status"] != "InProgress" {
            self.arm.sim.finish_operations();
        }
        let answer = self.arm.get_url(url).await;
        let place = self.place(recorded);
        assert_eq!(answer.status, recorded.status, "{place}");
        // In July 2017 two writes to one scale set ran side by side.
        if self.file.contains("-2017-07-") && answer.body["status"] != recorded.response_body["status"] {
            tally.departures.push(place);
            return;
        }
        assert_eq!(answer.body["status"], recorded.response_body["status"], "{place}");
        let keys = |body: &Value| -> Vec<String> {
            let mut keys: Vec<String> = body.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
            keys.sort();
            keys
        };
        assert_eq!(keys(&answer.body), keys(&recorded.response_body), "{place}");
        tally.compared += 1;
    }

    async fn identity(&mut self, recorded: &Recorded, tally: &mut Tally) {
        self.prepare(recorded);
        let was_there = recorded.status == 200;
        if was_there && !self.exists(recorded.path()) {
            let seed = IdentitySeed { id: recorded.path().to_owned(), ..IdentitySeed::default() };
            self.sow(Seeds { identities: vec![seed], ..Seeds::default() });
        }
        let answer = self.send(recorded).await;
        let place = self.place(recorded);
        assert_eq!(answer.status, recorded.status, "{place}: {}", answer.body);
        assert_eq!(answer.code(), recorded.response_body["error"]["code"].as_str().unwrap_or_default(), "{place}");
        for (header, there) in [("location", recorded.status == 201), ("azure-asyncoperation", false), ("etag", false)]
        {
            assert_eq!(answer.header(header).is_some(), there, "{place}: {header}");
        }
        if recorded.response_body.get("properties").is_some() {
            assert_eq!(answer.body["id"], recorded.response_body["id"], "{place}: the id's spelling");
            for key in ["principalId", "clientId", "tenantId"] {
                assert!(answer.body["properties"][key].is_string(), "{place}: {key}");
            }
            assert_eq!(answer.body["tags"], recorded.response_body["tags"], "{place}");
        }
        tally.compared += 1;
    }

    async fn machine(&mut self, recorded: &Recorded, tally: &mut Tally) {
        self.prepare(recorded);
        let key = recorded.path().to_lowercase();
        let place = self.place(recorded);
        let shows = identity_of(&recorded.response_body);
        // A read that differs from the one before with no write between was somebody else's doing.
        let foreign = !recorded.is_write() && self.shown.get(&key).is_some_and(|before| *before != shows);
        if foreign && recorded.succeeded() {
            tally.unrecorded_writes.push(place.clone());
        }
        if recorded.status == 200 && (foreign || !self.exists(recorded.path())) {
            self.plant(recorded);
            tally.first_sights += 1;
        }
        if recorded.is_write() || recorded.response_body["properties"]["provisioningState"] == "Succeeded" {
            self.arm.sim.finish_operations();
        }
        let answer = self.send(recorded).await;
        if let (Some(id), Some(url)) = (recorded.operation(), answer.header("azure-asyncoperation")) {
            self.operations.insert(id.to_owned(), url.to_owned());
        }
        if self.departs(recorded) {
            tally.departures.push(place);
        } else {
            self.compare(recorded, &answer, &place);
            tally.compared += 1;
        }
        if recorded.is_write() {
            self.shown.remove(&key);
        } else {
            self.shown.insert(key, shows);
        }
    }

    /// In December 2017 a PUT with `SystemAssigned` and no list kept the list; by April 2018 it did not.
    fn departs(&self, recorded: &Recorded) -> bool {
        let told = &recorded.response_body["identity"];
        self.file.contains("-2017-12-") && told["type"] == "SystemAssigned" && told.get("identityIds").is_some()
    }

    /// Makes the machine as the recorded answer shows it.
    fn plant(&self, recorded: &Recorded) {
        let body = &recorded.response_body;
        let identity = &body["identity"];
        let listed = identity["identityIds"].as_array().into_iter().flatten();
        let listed = listed.filter_map(|id| id.as_str().map(str::to_owned));
        let mapped = identity["userAssignedIdentities"].as_object().into_iter().flat_map(Map::keys);
        let orchestration = &body["properties"]["orchestrationMode"];
        let seed = json!({
            "id": recorded.path(),
            "location": body["location"],
            "system": identity.get("principalId").is_some(),
            "identities": listed.chain(mapped.cloned()).collect::<Vec<_>>(),
            "orchestration": if orchestration == "Flexible" { "Flexible" } else { "Uniform" },
        });
        let seed: MachineSeed = serde_json::from_value(seed).expect("a machine");
        self.sow(Seeds { machines: vec![seed], ..Seeds::default() });
    }

    fn compare(&self, recorded: &Recorded, answer: &Got, place: &str) {
        let body = &recorded.response_body;
        assert_eq!(answer.status, recorded.status, "{place}: {}", answer.body);
        assert_eq!(answer.code(), body["error"]["code"].as_str().unwrap_or_default(), "{place}");
        assert_eq!(identity_of(&answer.body), identity_of(body), "{place}");
        assert_eq!(answer.body["properties"]["provisioningState"], body["properties"]["provisioningState"], "{place}");
        assert_eq!(answer.body.get("etag").is_some(), body.get("etag").is_some(), "{place}: etag in the body");
        for header in ["etag", "azure-asyncoperation", "location"] {
            let there = recorded.response_headers.contains_key(header);
            assert_eq!(answer.header(header).is_some(), there, "{place}: header {header}");
        }
        // The other recordings were stripped of it.
        if self.file.starts_with("aso-") {
            let expected = recorded.response_headers.get("retry-after").map(String::as_str);
            assert_eq!(answer.header("retry-after"), expected, "{place}: Retry-After");
        }
    }
}
