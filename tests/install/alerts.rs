//! The alerts, judged by Prometheus' own tool: each one fires when it should, and is silent when it should be.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use devenv::parts::{Part, Parts};
use serde_json::{Value, json};

use crate::render::deploy;

/// What is scraped, minute by minute, and what fires after so many minutes.
struct Case {
    alert: &'static str,
    series: &'static [(&'static str, &'static str)],
    minutes: u32,
    /// Labels beside the severity of each alert that fires; none: silent.
    fires: &'static [&'static str],
}

const LEADS: (&str, &str) = (r#"lanyard_leader{namespace="n",instance="a"}"#, "1x120");
const STANDS_BY: (&str, &str) = (r#"lanyard_leader{namespace="n",instance="b"}"#, "0x120");

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { alert: "LanyardAbsent", series: &[], minutes: 6, fires: &["{}"] },
    Case { alert: "LanyardAbsent", series: &[STANDS_BY], minutes: 6, fires: &[] },
    Case { alert: "LanyardNoLeader", series: &[STANDS_BY], minutes: 3, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardNoLeader", series: &[STANDS_BY], minutes: 1, fires: &[] },
    Case { alert: "LanyardNoLeader", series: &[LEADS, STANDS_BY], minutes: 3, fires: &[] },
    Case { alert: "LanyardTwoLeaders", series: &[LEADS, (r#"lanyard_leader{namespace="n",instance="b"}"#, "1x120")], minutes: 3, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardTwoLeaders", series: &[LEADS, (r#"lanyard_leader{namespace="other",instance="b"}"#, "1x120")], minutes: 3, fires: &[] },
    Case { alert: "LanyardReplicaMissing", series: &[LEADS], minutes: 16, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardReplicaMissing", series: &[LEADS, STANDS_BY], minutes: 16, fires: &[] },
    Case { alert: "LanyardChangesWait", series: &[LEADS, (r#"lanyard_queue_oldest_seconds{namespace="n",instance="a",class="Change"}"#, "400x120")], minutes: 6, fires: &[r#"{"namespace":"n"}"#] },
    // A replica that stands by visits nothing, and says nothing of it.
    Case { alert: "LanyardChangesWait", series: &[LEADS, STANDS_BY, (r#"lanyard_queue_oldest_seconds{namespace="n",instance="b",class="Change"}"#, "400x120")], minutes: 6, fires: &[] },
    Case { alert: "LanyardChangesWait", series: &[LEADS, (r#"lanyard_queue_oldest_seconds{namespace="n",instance="a",class="Drift"}"#, "4000x120")], minutes: 6, fires: &[] },
    Case { alert: "LanyardCredentialFails", series: &[(r#"lanyard_visits_total{namespace="n",instance="a",end="CredentialRejected"}"#, "0+1x120")], minutes: 15, fires: &[r#"{"namespace":"n","end":"CredentialRejected"}"#] },
    Case { alert: "LanyardCredentialFails", series: &[(r#"lanyard_visits_total{namespace="n",instance="a",end="AsPlanned"}"#, "0+1x120")], minutes: 15, fires: &[] },
    Case { alert: "LanyardNotPermitted", series: &[(r#"lanyard_visits_total{namespace="n",instance="a",end="AssignRefused"}"#, "0+1x120")], minutes: 20, fires: &[r#"{"namespace":"n","end":"AssignRefused"}"#] },
    Case { alert: "LanyardNotPermitted", series: &[(r#"lanyard_visits_total{namespace="n",instance="a",end="AssignRefused"}"#, "7x120")], minutes: 20, fires: &[] },
    Case { alert: "LanyardKubernetesRefuses", series: &[(r#"lanyard_visits_total{namespace="n",instance="a",end="KubernetesRefused"}"#, "0+1x120")], minutes: 15, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardKubernetesRefuses", series: &[(r#"lanyard_visits_total{namespace="n",instance="a",end="Throttled"}"#, "0+1x120")], minutes: 15, fires: &[] },
    Case { alert: "LanyardArmFails", series: &[(r#"lanyard_arm_requests_total{namespace="n",instance="a",status="200"}"#, "0+80x120"), (r#"lanyard_arm_requests_total{namespace="n",instance="a",status="503"}"#, "0+20x120")], minutes: 20, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardArmFails", series: &[(r#"lanyard_arm_requests_total{namespace="n",instance="a",status="200"}"#, "0+98x120"), (r#"lanyard_arm_requests_total{namespace="n",instance="a",status="none"}"#, "0+2x120")], minutes: 20, fires: &[] },
    Case { alert: "LanyardThrottled", series: &[(r#"lanyard_arm_requests_total{namespace="n",instance="a",status="200"}"#, "0+100x120"), (r#"lanyard_arm_throttled_total{namespace="n",instance="a",bucket="vm-gets"}"#, "0+1x120")], minutes: 25, fires: &[r#"{"namespace":"n","bucket":"vm-gets"}"#] },
    Case { alert: "LanyardThrottled", series: &[(r#"lanyard_arm_requests_total{namespace="n",instance="a",status="200"}"#, "0+10000x120"), (r#"lanyard_arm_throttled_total{namespace="n",instance="a",bucket="vm-gets"}"#, "0+1x120")], minutes: 25, fires: &[] },
    Case { alert: "LanyardRemovalsHeld", series: &[(r#"lanyard_removals_held_total{namespace="n",instance="a"}"#, "0+1x120")], minutes: 20, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardRemovalsHeld", series: &[(r#"lanyard_removals_held_total{namespace="n",instance="a"}"#, "9x120")], minutes: 20, fires: &[] },
    Case { alert: "LanyardContested", series: &[(r#"lanyard_contested_total{namespace="n",instance="a"}"#, "0+1x120")], minutes: 20, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardContested", series: &[(r#"lanyard_contested_total{namespace="n",instance="a"}"#, "9x120")], minutes: 20, fires: &[] },
    Case { alert: "LanyardAssignmentsStalled", series: &[LEADS, (r#"lanyard_assignments_stalled{namespace="n",instance="a",reason="Conflict"}"#, "2x120")], minutes: 16, fires: &[r#"{"namespace":"n","reason":"Conflict"}"#] },
    Case { alert: "LanyardAssignmentsStalled", series: &[LEADS, STANDS_BY, (r#"lanyard_assignments_stalled{namespace="n",instance="b",reason="Conflict"}"#, "2x120")], minutes: 16, fires: &[] },
    Case { alert: "LanyardManyNotReady", series: &[LEADS, (r#"lanyard_assignments{namespace="n",instance="a",ready="True"}"#, "80x120"), (r#"lanyard_assignments{namespace="n",instance="a",ready="False"}"#, "20x120")], minutes: 31, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardManyNotReady", series: &[LEADS, (r#"lanyard_assignments{namespace="n",instance="a",ready="True"}"#, "98x120"), (r#"lanyard_assignments{namespace="n",instance="a",ready="False"}"#, "2x120")], minutes: 31, fires: &[] },
    Case { alert: "LanyardUnverified", series: &[LEADS, (r#"lanyard_targets_unverified{namespace="n",instance="a"}"#, "3x120")], minutes: 61, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardUnverified", series: &[LEADS, (r#"lanyard_targets_unverified{namespace="n",instance="a"}"#, "3x20 0x100")], minutes: 61, fires: &[] },
    Case { alert: "LanyardWatchFails", series: &[(r#"lanyard_watch_failures_total{namespace="n",instance="a",resource="identitytargets"}"#, "0+2x120")], minutes: 40, fires: &[r#"{"namespace":"n","resource":"identitytargets"}"#] },
    Case { alert: "LanyardWatchFails", series: &[(r#"lanyard_watch_failures_total{namespace="n",instance="a",resource="identitytargets"}"#, "0 0 1 1x120")], minutes: 40, fires: &[] },
    Case { alert: "LanyardVersionsDiffer", series: &[(r#"lanyard_build_info{namespace="n",instance="a",version="0.1.0"}"#, "1x120"), (r#"lanyard_build_info{namespace="n",instance="b",version="0.2.0"}"#, "1x120")], minutes: 61, fires: &[r#"{"namespace":"n"}"#] },
    Case { alert: "LanyardVersionsDiffer", series: &[(r#"lanyard_build_info{namespace="n",instance="a",version="0.1.0"}"#, "1x120"), (r#"lanyard_build_info{namespace="n",instance="b",version="0.1.0"}"#, "1x120")], minutes: 61, fires: &[] },
];

fn promtool(arguments: &[&str], folder: &std::path::Path) -> Result<Output> {
    let program = Parts::from_environment().find(Part::Promtool)?;
    Command::new(program).args(arguments).current_dir(folder).output().context("promtool cannot be run")
}

fn passes(output: &Output) -> Result<()> {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}");
    Ok(())
}

/// The rules as Prometheus takes them, without the operator around them.
fn rules() -> Result<Value> {
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(deploy("components/alerts/rules.yaml"))?)?;
    Ok(rules["spec"].clone())
}

fn severity<'a>(rules: &'a Value, alert: &str) -> Result<&'a Value> {
    let mut all = rules["groups"][0]["rules"].as_array().into_iter().flatten();
    Ok(&all.find(|rule| rule["alert"] == alert).with_context(|| format!("no alert {alert}"))?["labels"]["severity"])
}

fn test_of(case: &Case, rules: &Value) -> Result<Value> {
    let series = case.series.iter().map(|(series, values)| json!({"series": series, "values": values}));
    let mut expected = Vec::new();
    for labels in case.fires {
        let mut labels: Value = serde_json::from_str(labels)?;
        labels["severity"] = severity(rules, case.alert)?.clone();
        expected.push(json!({"exp_labels": labels}));
    }
    let fires = json!({"eval_time": format!("{}m", case.minutes), "alertname": case.alert, "exp_alerts": expected});
    Ok(json!({"interval": "1m", "input_series": series.collect::<Vec<_>>(), "alert_rule_test": [fires]}))
}

#[test]
fn prometheus_takes_the_rules() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // JSON is YAML.
    std::fs::write(folder.path().join("rules.yaml"), rules()?.to_string())?;
    passes(&promtool(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"], folder.path())?)
}

#[test]
fn each_alert_fires_when_it_should_and_is_silent_when_it_should_be() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut rules = rules()?;
    let mut alerts = BTreeSet::new();
    for rule in rules["groups"][0]["rules"].as_array_mut().context("no rules")? {
        // Texts are for people: promtool would compare them to the letter.
        rule.as_object_mut().context("no rule")?.remove("annotations");
        alerts.insert(rule["alert"].as_str().context("no name")?.to_owned());
    }
    for fires in [true, false] {
        let covered = CASES.iter().filter(|case| case.fires.is_empty() != fires).map(|case| case.alert.to_owned());
        assert_eq!(covered.collect::<BTreeSet<_>>(), alerts, "each alert has a case in which it fires: {fires}");
    }
    let tests = CASES.iter().map(|case| test_of(case, &rules)).collect::<Result<Vec<_>>>()?;
    let tests = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests});
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string())?;
    std::fs::write(folder.path().join("tests.yaml"), tests.to_string())?;
    passes(&promtool(&["test", "rules", "tests.yaml"], folder.path())?)
}

#[test]
fn the_program_that_draws_the_dashboard_passes_its_own_tests() -> Result<()> {
    let module = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prometheus");
    let go = ["test", "-trimpath", "./picture"];
    let tested = Command::new("go").args(go).env("CGO_ENABLED", "0").env("GOWORK", "off").current_dir(module).output();
    passes(&tested.context("go cannot be run")?)
}
