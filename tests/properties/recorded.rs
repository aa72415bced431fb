//! From each recorded state of a machine to the one that a recorded PATCH made of it: the planner's own PATCH has that effect.
//!
//! The recordings stay outside the repository: `ARM_RECORDINGS` names their folder.
use crate::kit::{NOTHING_SAID, claim, clear, complete, live, record};
use crate::merge::ArmBlock;
use lanyard_domain::audit::audit;
use lanyard_domain::judge::Memory;
use lanyard_domain::live::SystemIdentity;
use lanyard_domain::{Bounds, Claim, Edit, Ensure, Facts, Fresh, IdentityId, Live, Patch, Principal, SystemWish, plan};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;

/// The recorded requests that change identity blocks between two states that the recording shows.
const FLOOR: usize = 20;

/// The identity block of a machine's answer; nothing in the form of 2017, which replaces.
fn block(body: &Value) -> Option<ArmBlock> {
    body.pointer("/properties/provisioningState")?;
    let Some(identity) = body.get("identity").filter(|identity| !identity.is_null()) else {
        return Some(ArmBlock::default());
    };
    if identity.get("identityIds").is_some() {
        return None;
    }
    let kind = identity.get("type")?.as_str()?;
    let user = identity.get("userAssignedIdentities").and_then(Value::as_object).into_iter().flatten();
    Some(ArmBlock::new(kind.contains("SystemAssigned"), user.map(|(id, _)| id)))
}

/// Somebody who wants exactly this, and nothing else.
fn wanting(before: &ArmBlock, after: &ArmBlock) -> Claim {
    let of = |id: &String, ensure| (IdentityId::told_by_arm(id), ensure);
    let present = after.user.iter().map(|id| of(id, Ensure::Present));
    let absent = before.user.difference(&after.user).map(|id| of(id, Ensure::Absent));
    let system = if after.system { SystemWish::Enabled } else { SystemWish::Disabled };
    Claim { user: present.chain(absent).collect(), system, ..claim("recorded", "") }
}

fn shown(block: &ArmBlock) -> Live {
    let user = block.user.iter().map(|id| (IdentityId::told_by_arm(id), Principal::default()));
    Live { user: user.collect(), system: block.system.then(SystemIdentity::default), ..live("m1", 1, "") }
}

/// The planner's way from one block to the other.
fn planned(before: &ArmBlock, after: &ArmBlock) -> Option<Patch> {
    let shown = shown(before);
    let (record, _) = clear(&record("m1", ""), &shown, &mut Memory::default());
    let claims = complete(vec![wanting(before, after)], &record);
    let (fresh, bounds) = (Fresh::answered(shown.clone()), Bounds::default());
    let patch =
        plan(Facts { claims: &claims, record: &record, live: &fresh, bounds: &bounds, identities: &NOTHING_SAID })
            .patch?;
    audit(&patch.body().to_string(), Some("1"), &claims, &record, &shown, &NOTHING_SAID).expect("allowed");
    Some(patch)
}

fn check(before: &ArmBlock, after: &ArmBlock, told: &str) {
    let patch = planned(before, after);
    let reached = patch.as_ref().map_or_else(|| Ok(before.clone()), |patch| before.patched(&patch.body()));
    assert_eq!(reached.as_ref(), Ok(after), "{told}");
    assert_eq!(patch.is_none(), before == after, "{told}: no PATCH when satisfied");
    for (id, edit) in patch.iter().flat_map(|patch| &patch.edits) {
        assert_eq!(before.user.contains(id.folded()), *edit == Edit::Detach, "{told}: {id} need not be named");
    }
}

fn files() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("ARM_RECORDINGS") else {
        eprintln!("skipped: ARM_RECORDINGS names no folder");
        return Vec::new();
    };
    let entries =
        std::fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    let recording = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        path.extension().is_some_and(|end| end == "jsonl") && !name.starts_with("ERRORS")
    };
    entries.filter(recording).collect()
}

#[test]
fn the_planners_patch_has_the_recorded_effect() {
    let files = files();
    let (mut transitions, mut identity) = (0, 0);
    for file in &files {
        let mut known: HashMap<String, ArmBlock> = HashMap::new();
        for line in std::fs::read_to_string(file).expect("readable").lines() {
            let exchange: Value = serde_json::from_str(line).expect("an exchange a line");
            let url = exchange["url"].as_str().unwrap_or_default().to_lowercase();
            let path = url.split('?').next().unwrap_or_default().to_owned();
            let place = format!("{} #{}", file.display(), exchange["seq"]);
            let succeeded = exchange["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
            let after = block(&exchange["response_body"]).filter(|_| succeeded);
            let sent = &exchange["request_body"];
            if exchange["method"] == "PATCH"
                && let (Some(before), Some(after)) = (known.get(&path), &after)
            {
                transitions += 1;
                check(before, after, &place);
                if sent["identity"]["type"].is_string() {
                    identity += 1;
                    assert_eq!(before.patched(sent).as_ref(), Ok(after), "{place}: the merge as it was recorded");
                }
            }
            match after {
                Some(after) => known.insert(path, after),
                None if exchange["method"] == "GET" => None,
                None => known.remove(&path),
            };
        }
    }
    println!("{transitions} recorded PATCHes planned anew, {identity} of them of identities, in {} files", files.len());
    assert!(files.is_empty() || identity >= FLOOR, "only {identity} were found");
}

/// The same without any recording: every block of three ids to every other.
#[test]
fn from_any_block_to_any_other_is_one_patch_of_what_changes() {
    let ids = ["a", "b", "c"].map(|name| crate::kit::id(name).folded().to_owned());
    let all: Vec<ArmBlock> = (0..16_u8)
        .map(|bits| {
            ArmBlock::new(bits & 8 != 0, ids.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, id)| id))
        })
        .collect();
    for before in &all {
        for after in &all {
            check(before, after, &format!("{before:?} to {after:?}"));
        }
    }
}
