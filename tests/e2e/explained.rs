//! What people are told of each write, and that trouble which lasts is told once.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use arm_simulator::{Effect, Fault, Machine, Settings};
use lanyard::api::ALLOW_DEFAULT_IDENTITY_CHANGE;
use lanyard::api::assignment::{Mode, SystemAssigned};
use lanyard::domain::reason::Reason;
use serde_json::{Map, Value, json};

use crate::harness::{Declared, Own, Stage, asked, assignment, sent};

/// The body that status shows for an assignment in `Observe`.
async fn shown(stage: &Stage<'_>, name: &str) -> Result<String> {
    stage.until_not_ready(name, Reason::ChangesPending).await?;
    let plan = stage.status(name).await?.and_then(|status| status.plan);
    plan.and_then(|plan| plan.patch).context("no body in the plan")
}

/// The bodies that left, to the byte: the simulator keeps the order of what it parsed, and how long it was.
fn bodies(stage: &Stage<'_>, machine: &Machine) -> Vec<(String, usize)> {
    let journal = stage.arm.journal_of(&stage.subscription);
    let changes = journal.iter().filter(|call| call.is("PATCH", &machine.id()));
    let changes = changes.filter(|call| call.request_body.get("identity").is_some());
    changes.map(|call| (call.request_body.to_string(), call.request_bytes)).collect()
}

#[tokio::test]
async fn enforce_sends_what_observe_showed_byte_for_byte() -> Result<()> {
    let stage = Stage::shared().await?;
    let bare = stage.vm("bare").create();
    let mixed = stage.vm("mixed").with_system().with_identity("legacy").with_identity("zeta").create();
    let last = stage.vm("last").with_identity("legacy").create();
    let off = stage.scale_set("off").with_system().with_identity("legacy").create();
    let shapes = [
        (&bare, assignment("bare").on(&bare).present("shop-queue").present("shop-db").system(SystemAssigned::Enabled)),
        (&mixed, assignment("mixed").on(&mixed).absent("legacy").present("shop-db").present("zeta")),
        (&last, assignment("last").on(&last).absent("legacy")),
        (&off, assignment("off").on(&off).system(SystemAssigned::Disabled).present("shop-db")),
    ];
    let mut all = BTreeMap::new();
    for (machine, declared) in shapes {
        let name = declared.name().to_owned();
        stage.declare(declared.mode(Mode::Observe)).await?;
        all.insert(name.clone(), shown(&stage, &name).await?);
        assert!(machine.patches().is_empty(), "{name}: not even a probe");
    }
    for (name, machine) in [("bare", &bare), ("mixed", &mixed), ("last", &last), ("off", &off)] {
        stage.edit(name, |it| it.mode(Mode::Enforce)).await?;
        stage.until_ready(name).await?;
        let body = all.remove(name).context("shown")?;
        let length = body.len();
        assert_eq!(bodies(&stage, machine), [(body, length)], "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_change_of_the_default_identity_is_in_the_plan_before_and_a_condition_after() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("legacy").present("shop-db").mode(Mode::Observe)).await?;
    stage.until_not_ready("web", Reason::ChangesPending).await?;
    let plan = stage.status("web").await?.and_then(|status| status.plan).context("no plan")?;
    let change = plan.change.default_identity.context("the plan does not say so")?;
    assert_eq!((change.before, change.after.as_str()), (stage.identity_id("legacy"), "None"));
    assert!(stage.condition("web", "DefaultIdentityChanged").await?.is_none());

    stage.edit("web", |it| it.mode(Mode::Enforce)).await?;
    stage.until_ready("web").await?;
    stage.until_event("DefaultIdentityChanged", "legacy").await?;
    let condition = stage.condition("web", "DefaultIdentityChanged").await?.context("no condition")?;
    assert_eq!(condition.status, "True");
    assert!(condition.message.contains("got legacy and now get none"), "{}", condition.message);
    let target = stage.target(&vm).await?.and_then(|target| target.status).context("no view")?;
    assert_eq!(target.default_identity.as_deref(), Some("None"));
    assert!(target.last_write.is_some_and(|write| write.change.default_identity.is_some()));

    // It lasts from visit to visit, until the default is another one again.
    stage.look_through("web", &vm).await?;
    assert!(stage.condition("web", "DefaultIdentityChanged").await?.is_some());
    vm.enable_system_as_stranger();
    stage.look("web").await?;
    let over = async || Ok(stage.condition("web", "DefaultIdentityChanged").await?.is_none());
    stage.until("the condition to end", over).await
}

#[tokio::test]
async fn block_waits_for_the_annotation_and_does_the_rest() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_system().with_identity("legacy").create();
    let declared = assignment("web").on(&vm).system(SystemAssigned::Disabled).present("shop-db").absent("legacy");
    stage.declare(declared.blocking_default_change()).await?;
    let message = stage.until_not_ready("web", Reason::DefaultIdentityChange).await?;
    assert!(message.contains(ALLOW_DEFAULT_IDENTITY_CHANGE), "{message}");
    let swapped = async || Ok(vm.identities() == ["shop-db"]);
    stage.until("all that leaves the default to be done", swapped).await?;
    assert!(vm.system_principal().is_some());
    let held = async || {
        let plan = stage.status("web").await?.and_then(|status| status.plan);
        let change = plan.and_then(|plan| plan.change.default_identity);
        Ok(change.is_some_and(|change| change.before == "SystemAssigned"))
    };
    stage.until("the plan to say what is held", held).await?;

    stage.annotate("web", ALLOW_DEFAULT_IDENTITY_CHANGE, "true").await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.system_principal(), None);
    assert_eq!(sent(&vm).len(), 2, "{:?}", sent(&vm));

    // Undeclaring is held as well; a deletion is not.
    let alone = stage.vm("alone").create();
    stage.declare(assignment("alone").on(&alone).present("shop-db").blocking_default_change()).await?;
    stage.until_ready("alone").await?;
    stage.edit("alone", |it| it.without("shop-db")).await?;
    stage.until_not_ready("alone", Reason::DefaultIdentityChange).await?;
    assert_eq!(alone.identities(), ["shop-db"]);
    stage.delete("alone").await?;
    stage.until_gone("alone").await?;
    assert!(alone.identities().is_empty());
    Ok(())
}

/// The lines of an audit log.
fn lines(path: &std::path::Path) -> Result<Vec<Map<String, Value>>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn every_write_leaves_one_audit_line_in_a_stream_of_its_own_whatever_its_outcome() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let path = own.control_plane()?.scratch().path().join(format!("{}-audit.log", stage.namespace));
    let _controller = own.start(&[&format!("--audit-log={}", path.display()), "--log-level=warn"])?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let on_patch = |skip, effect| stage.arm.fault(Fault::new("PATCH", &vm.id(), effect).skip(skip));
    let answer = |status, code| Effect::Answer {
        status,
        headers: vec![],
        body: json!({"error": {"code": code, "message": "no"}}),
    };

    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    on_patch(0, answer(412, "PreconditionFailed"));
    on_patch(1, answer(503, "ServiceUnavailable"));
    on_patch(2, Effect::LoseReply {});
    stage.edit("web", |it| it.present("shop-queue").without("shop-db")).await?;
    stage.until_ready("web").await?;

    let written = asked(&vm).len();
    let all = async || Ok(lines(&path)?.len() >= written);
    stage.until("a line for each write", all).await?;
    let lines = lines(&path)?;
    let text =
        |line: &Map<String, Value>, key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!(lines.len(), written, "one each, and the probe is no write: {lines:#?}");
    let outcomes: Vec<String> = lines.iter().map(|line| text(line, "outcome")).collect();
    assert_eq!(outcomes[0], "Succeeded", "{outcomes:?}");
    assert!(["Refused", "Unknown"].iter().all(|wanted| outcomes.iter().any(|one| one == wanted)), "{outcomes:?}");
    for line in &lines {
        assert_eq!(text(line, "target"), "audit");
        assert_eq!(text(line, "assignments"), format!("{}/web", stage.namespace));
        assert!(text(line, "managers").starts_with(&format!("{}/web=", stage.namespace)), "{line:?}");
        assert!(text(line, "machine").eq_ignore_ascii_case(&vm.id()) && text(line, "before").contains("legacy"));
        assert!(text(line, "if_match").starts_with('"') && text(line, "patch").contains("UserAssigned"));
        assert!(!text(line, "client_request_id").is_empty() && line["took_ms"].is_u64());
        assert_eq!(text(line, "outcome") == "Succeeded", text(line, "error").is_empty(), "{line:?}");
    }
    let first = &lines[0];
    assert!(!text(first, "correlation_id").is_empty(), "{first:?}");
    assert!(text(first, "after").contains("shop-db") && text(first, "after").contains("legacy"));
    assert_ne!(text(first, "etag_after"), text(first, "if_match"));
    assert!(!crate::harness::tail(&stage.log, "", usize::MAX).contains("identities patched"), "not among the rest");
    Ok(())
}

#[tokio::test]
async fn a_retry_storm_is_no_event_storm() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let answer = |status, code: &str| Effect::Answer {
        status,
        headers: vec![("x-ms-correlation-request-id".into(), uuid::Uuid::new_v4().to_string())],
        body: json!({"error": {"code": code, "message": format!("try {}", uuid::Uuid::new_v4())}}),
    };
    // Reads that fail in several ways, in turn, time and again.
    for round in 0..30 {
        let effect = match round % 3 {
            0 => answer(500, "InternalServerError"),
            1 => answer(403, "AuthorizationFailed"),
            _ => Effect::LoseRequest {},
        };
        stage.arm.fault(Fault::new("GET", &vm.id(), effect).skip(round));
    }
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    for _ in 0..15 {
        let before = stage.calls("GET", &vm);
        stage.look("web").await?;
        stage.until("another try", async || Ok(stage.calls("GET", &vm) > before)).await?;
    }
    let events = stage.events().await?;
    let warned: Vec<_> = events.iter().filter(|event| !event.contains("attached shop-db")).collect();
    assert!((1..=4).contains(&warned.len()), "{} tries, {warned:#?}", stage.calls("GET", &vm));

    stage.arm.clear_faults_of(&vm.id());
    stage.look("web").await?;
    stage.until_ready("web").await
}

#[tokio::test]
async fn people_hear_before_a_write_that_may_start_a_rollout() -> Result<()> {
    let stage = Stage::shared().await?;
    let rolling = json!({
        "upgradePolicy": {"mode": "Automatic"},
        "virtualMachineProfile": {"storageProfile": {"imageReference": {"version": "latest"}}},
    });
    let (set, calm) = (stage.scale_set("rolling").properties(&rolling).create(), stage.scale_set("calm").create());
    for machine in [&set, &calm] {
        let name = machine.name();
        stage.declare(Declared::present(assignment(name).on(machine), "shop-db")).await?;
        stage.until_ready(name).await?;
    }
    stage.until_event("RolloutPossible", "rolling").await?;
    stage.edit("rolling", |it| it.present("shop-queue")).await?;
    stage.until_ready("rolling").await?;
    let events = stage.events().await?;
    assert_eq!(events.iter().filter(|event| event.starts_with("RolloutPossible")).count(), 1, "{events:#?}");
    Ok(())
}
