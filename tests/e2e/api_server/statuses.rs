//! Statuses and finalizers that are not taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rstest::rstest;
use serde_json::json;
use tokio::sync::Notify;

use super::{Troubled, lasts, log_lines, no_storm, quick};
use crate::harness::{Asked, Own, Stage, Trouble, assignment};

#[rstest]
#[case::conflict(Trouble::Refused(409, "Conflict"))]
#[case::done_without_a_word(Trouble::LoseAnswer)]
#[case::lost(Trouble::LoseRequest)]
#[tokio::test]
async fn trouble_with_every_second_status_costs_nothing(#[case] trouble: Trouble) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let since = (Instant::now(), log_lines(&it.stage));
    let conflict = it.api.trouble(Asked::writes_status, 2, usize::MAX, trouble);
    let mut names = ["shop-db", "shop-queue"];
    for _ in 0..3 {
        it.change(names[0], names[1]).await?;
        it.until_both_have(names[1]).await?;
        names.swap(0, 1);
    }
    ensure!(it.api.met(conflict) >= 6, "{} writes of a status", it.api.met(conflict));
    no_storm(&it, since.0, since.1)?;
    it.sent_exactly(4)?;
    it.ends_well().await
}

#[tokio::test]
async fn a_status_that_was_given_up_does_not_land_on_a_newer_one() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let arrives = Arc::new(Notify::new());
    it.api.once(Asked::writes_status, Trouble::Late(arrives.clone()));
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.change("shop-queue", "shop-db").await?;
    it.until_both_have("shop-db").await?;

    arrives.notify_one();
    it.stage.until("the late status to have come", async || Ok(it.api.landed() == 1)).await?;
    for machine in it.machines() {
        let ready = it.stage.condition(machine.name(), "Ready").await?;
        ensure!(ready.is_some_and(|ready| ready.status == "True"), "{} has an old status", machine.name());
    }
    it.sent_exactly(3)?;
    it.ends_well().await
}

#[tokio::test]
async fn in_the_ordinary_case_no_status_is_written_twice() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let before = it.api.count(Asked::writes_status);
    ensure!(before == it.machines().len(), "{before} writes of a status for two new assignments");
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    let after = it.api.count(Asked::writes_status) - before;
    ensure!(after == it.machines().len(), "{after} writes of a status for two changes");
    it.ends_well().await
}

/// What a policy engine or a webhook does that knows no such status.
async fn refuse_all_statuses(stage: &Stage<'_>) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-status"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["lanyard.dev"], "apiVersions": ["*"], "operations": ["UPDATE"],
                "resources": ["identityassignments/status"],
            }]},
            "validations": [{"expression": "false", "message": "no status here"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-status"},
        "spec": {"policyName": "no-status", "validationActions": ["Deny"]},
    });
    let by = PatchParams::apply("test").force();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(stage.client.clone());
    policies.patch("no-status", &by, &Patch::Apply(policy)).await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(stage.client.clone());
    bindings.patch("no-status", &by, &Patch::Apply(binding)).await?;
    let probe = Patch::Merge(json!({"status": {"summary": {"user": "?"}}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let refused = async || Ok(stage.assignments().patch_status("web", &dry, &probe).await.is_err());
    stage.until("the policy to be in force", refused).await
}

async fn take_statuses_again(client: &kube::Client) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings.delete("no-status", &DeleteParams::default()).await?;
    policies.delete("no-status", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_that_refuses_every_status_stops_no_work() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    refuse_all_statuses(&it.stage).await?;
    let since = (Instant::now(), log_lines(&it.stage));
    it.change("shop-db", "shop-queue").await?;
    let done = async || Ok(it.machines().iter().all(|machine| machine.identities() == ["legacy", "shop-queue"]));
    it.stage.until("the change to be made all the same", done).await?;
    let settled = async || {
        let records = [it.stage.record(&it.web).await?, it.stage.record(&it.pool).await?];
        Ok(records.iter().all(|record| record.intent.is_none()))
    };
    it.stage.until("the records to be settled", settled).await?;
    lasts(Duration::from_secs(5)).await;
    no_storm(&it, since.0, since.1)?;
    it.sent_exactly(2)?;
    take_statuses_again(&own.client).await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}

#[rstest]
#[case::invalid(Trouble::Refused(422, "Invalid"), 3)]
#[case::conflict(Trouble::Refused(409, "Conflict"), 3)]
#[case::done_without_a_word(Trouble::LoseAnswer, 2)]
#[tokio::test]
async fn a_finalizer_that_is_refused_is_set_and_taken_off_later(
    #[case] trouble: Trouble,
    #[case] times: usize,
) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let refused = it.api.always(Asked::writes_finalizers, trouble);
    let vm = it.stage.vm("new").with_identity("legacy").create();
    it.stage.declare(assignment("new").on(&vm).present("shop-db")).await?;
    it.stage.until_ready("new").await?;
    it.stage.delete("pool").await?;
    it.stage.until("what it attached to go", async || Ok(it.pool.identities() == ["legacy"])).await?;
    let tried = async || Ok(it.api.met(refused) >= times);
    it.stage.until("the finalizers to be refused", tried).await?;
    // Where it has no finalizer it goes at once, and is cleaned up after all the same.
    it.stage.delete("new").await?;
    it.stage.until("what was attached to go", async || Ok(vm.identities() == ["legacy"])).await?;
    it.api.end(refused);
    it.stage.until_gone("pool").await?;
    it.stage.until_gone("new").await?;
    super::exactly(&it.pool, 2)?;
    super::exactly(&vm, 2)
}

#[rstest]
#[case::refused(Trouble::Refused(403, "Forbidden"))]
#[case::never_answered(Trouble::Hang)]
#[tokio::test]
async fn events_that_are_not_taken_hold_up_no_change_of_another_machine(#[case] trouble: Trouble) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let refused = it.api.always(|asked| asked.path.contains("/events"), trouble);
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.stage.until("an Event for each", async || Ok(it.api.met(refused) >= 2)).await?;
    let since = Instant::now();
    let vm = it.stage.vm("new").create();
    it.stage.declare(assignment("new").on(&vm).present("shop-db")).await?;
    it.stage.until_ready("new").await?;
    ensure!(since.elapsed() < Duration::from_secs(10), "it took {:?}", since.elapsed());
    it.api.end(refused);
    it.sent_exactly(2)?;
    it.ends_well().await
}
