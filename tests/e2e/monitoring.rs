//! What the alerts and the dashboard ask for is there: held against a scrape of a running controller.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, Machine, Settings};
use devenv::picture;
use kube::api::{Api, PostParams};
use lanyard::api::UserAssignedIdentity;
use lanyard::domain::reason::Reason;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{ApiProxy, Asked, Controller, GROUP, Own, Trouble, assignment};

/// What the running controller tells Prometheus.
pub async fn scrape(controller: &Controller) -> Result<String> {
    let answer = ask(controller, "/metrics").await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without headers")?;
    Ok(body.to_owned())
}

/// Its whole answer to a GET of this path.
pub async fn ask(controller: &Controller, path: &str) -> Result<String> {
    let log = std::fs::read_to_string(&controller.log)?;
    let starts = log.lines().rev().find(|line| line.contains(r#""listen""#)).context("it does not listen yet")?;
    let starts: Value = serde_json::from_str(starts)?;
    let mut stream = tokio::net::TcpStream::connect(starts["listen"].as_str().context("it listens nowhere")?).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: lanyard\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The names of series that there can be, by the kinds that the scrape declares.
fn series(scraped: &str) -> BTreeSet<String> {
    let declared = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let each = declared.flat_map(|(name, kind)| match kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["bucket", "count", "sum"].map(|part| format!("{name}_{part}")).to_vec(),
        _ => vec![name.to_owned()],
    });
    each.collect()
}

/// The values of each label of each series that was scraped.
fn labels(scraped: &str) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut all = BTreeMap::<_, BTreeSet<_>>::new();
    for line in scraped.lines().filter(|line| line.starts_with("lanyard_")) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((inside, _)) = rest.rsplit_once('}') else { continue };
        for pair in inside.split("\",") {
            let Some((label, value)) = pair.split_once("=\"") else { continue };
            let value = value.trim_end_matches('"').to_owned();
            all.entry((name.to_owned(), label.to_owned())).or_default().insert(value);
        }
    }
    all
}

/// A series that an expression reads, and what it asks of its labels.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    name: String,
    matchers: Vec<(String, String)>,
}

fn reads(expression: &str) -> Vec<Read> {
    let mut all = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find("lanyard_") {
        rest = &rest[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let inside = after.strip_prefix('{').and_then(|after| after.split_once('}')).map_or("", |(inside, _)| inside);
        let matcher = |text: &str| {
            let (label, value) = text.split_once('=')?;
            let value = value.trim_start_matches('~').trim_matches('"');
            Some((label.trim_end_matches('!').to_owned(), value.to_owned()))
        };
        let matchers = inside.split(',').filter_map(matcher).collect();
        all.push(Read { name: name.to_owned(), matchers });
        rest = after;
    }
    all
}

#[test]
fn what_an_expression_reads_is_told() {
    let read = reads(r#"sum by (a) (rate(lanyard_x_total{a=~"B|C",d!="E"}[5m])) and on (i) lanyard_leader == 1"#);
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let expected = [
        Read { name: "lanyard_x_total".into(), matchers: vec![pair("a", "B|C"), pair("d", "E")] },
        Read { name: "lanyard_leader".into(), matchers: vec![] },
    ];
    assert_eq!(read, expected);
}

fn component(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/components").join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Every expression, with the name of who asks.
fn expressions() -> Result<Vec<(String, String)>> {
    let rules: Value = serde_saphyr::from_str(&component("alerts/rules.yaml")?)?;
    let rules = rules["spec"]["groups"][0]["rules"].as_array().context("no rules")?;
    let rule = |it: &Value| Some((it["alert"].as_str()?.to_owned(), it["expr"].as_str()?.to_owned()));
    let dashboard: Value = serde_json::from_str(&component("dashboard/dashboard.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.filter_map(move |target| Some((title.to_owned(), target["expr"].as_str()?.to_owned())))
    });
    Ok(rules.iter().filter_map(rule).chain(queries).collect())
}

/// Labels that Prometheus gives to whatever it scrapes.
const OF_THE_SCRAPE: [&str; 2] = ["namespace", "instance"];

/// What no run of a test brings about: values of labels that are documented, and names of reasons.
fn is_known(label: &str, value: &str) -> bool {
    match label {
        "end" => Reason::iter().any(|reason| reason.as_str() == value) || value == "AsPlanned",
        "class" => ["Change", "Deletion", "Retry", "Waiting", "Drift"].contains(&value),
        "status" => value == "5.." || value == "none",
        "ready" => ["True", "False", "Unknown"].contains(&value),
        _ => false,
    }
}

/// Machines enough that a process which begins reads them by lists.
const FLEET: usize = 12;

/// A controller that has read a list, and whose watches broke once.
async fn well_travelled(own: &Own, way: &ApiProxy) -> Result<Controller> {
    let stage = own.stage()?;
    let first = own.start(&[])?;
    let fleet: Vec<_> = (0..FLEET).map(|number| stage.vm(&format!("m{number}")).create()).collect();
    for machine in &fleet {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
    }
    for machine in &fleet {
        stage.until_ready(machine.name()).await?;
    }
    first.terminate().await?;
    let controller = own.start_by(&way.kubeconfig, &[])?;
    let swept = async || Ok(scrape(&controller).await.is_ok_and(|text| text.contains("lanyard_sweep_entries_total{")));
    stage.until("the fleet to be read by a list", swept).await?;
    let watch = |asked: &Asked| asked.verb == "watch" && asked.is_about_machines();
    way.once(watch, Trouble::WatchError(500));
    way.break_watches().await?;
    let broke = async || Ok(scrape(&controller).await?.contains("lanyard_watch_failures_total{"));
    stage.until("the watches to be resumed", broke).await?;
    Ok(controller)
}

/// Attached and taken off, throttled on the way, an identity that is an object, and something that needs a person.
async fn something_of_all(own: &Own) -> Result<Machine> {
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.arm.fault(Fault::new("GET", &vm.id(), Effect::Throttle { retry_after_secs: Some(1) }));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.edit("web", |it| it.without("shop-db").present("shop-queue")).await?;
    stage.until_ready("web").await?;
    stage.declare(assignment("ops").on(&vm).absent("shop-queue")).await?;
    stage.until_not_ready("ops", Reason::Conflict).await?;
    let cache = stage.arm.identity(&stage.subscription, GROUP, "shop-cache").create();
    let cache = serde_json::from_value(json!({"metadata": {"name": "cache"}, "spec": {"resourceId": cache.id()}}))?;
    let identities: Api<UserAssignedIdentity> = Api::namespaced(stage.client.clone(), &stage.namespace);
    identities.create(&PostParams::default(), &cache).await?;
    Ok(vm)
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_a_running_controller_tells() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let way = ApiProxy::open(own.client.clone(), own.control_plane()?.directory()).await?;
    let controller = well_travelled(&own, &way).await?;
    something_of_all(&own).await?;
    // The watch brings the status that a visit has written back to who counts it.
    let awaited =
        ["lanyard_assignments_stalled{reason=\"Conflict\"} 2", "lanyard_identity_visits_total{end=\"AsPlanned\"}"];
    let told = async || {
        let scraped = scrape(&controller).await?;
        Ok(awaited.iter().all(|sample| scraped.contains(sample)))
    };
    own.stage()?.until("both assignments to be counted as stalled, and a visit to the identity", told).await?;
    let scraped = scrape(&controller).await?;
    let (series, labels) = (series(&scraped), labels(&scraped));
    ensure!(series.len() > 20, "{series:?}");

    let mut asked = BTreeSet::new();
    for (who, expression) in expressions()? {
        let reads = reads(&expression);
        ensure!(!reads.is_empty() && reads.iter().all(|read| series.contains(&read.name)), "{who}: {expression}");
        for (label, values) in reads.iter().flat_map(|read| &read.matchers) {
            let added = OF_THE_SCRAPE.contains(&label.as_str());
            let ours = labels.keys().any(|(_, known)| known == label);
            ensure!(ours || added, "{who}: no series has a label {label}");
            let known = values.split('|').all(|value| added || is_known(label, value));
            ensure!(known, "{who}: {label} is never {values}");
        }
        asked.extend(reads.into_iter().map(|read| read.name));
    }
    let told_to_nobody: Vec<&String> = series
        .iter()
        .filter(|name| name.starts_with("lanyard_") && !name.ends_with("_sum") && !name.ends_with("_count"))
        .filter(|name| !asked.contains(*name))
        .collect();
    ensure!(told_to_nobody.is_empty(), "neither an alert nor a panel shows {told_to_nobody:?}");

    for sample in [
        "lanyard_identity_changes_total{change=\"attached\"} 2",
        "lanyard_identity_changes_total{change=\"detached\"} 1",
        "lanyard_patches_total{outcome=\"Succeeded\"}",
        "lanyard_visits_total{end=\"AsPlanned\"}",
        "lanyard_visit_duration_seconds_count",
        "lanyard_drift_repairs_total",
        "lanyard_assignments{ready=\"False\"} 2",
        "lanyard_assignments{ready=\"True\"} 12",
        concat!("lanyard_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        ensure!(scraped.contains(sample), "{sample} is not in:\n{scraped}");
    }
    every_panel_is_drawn(&scraped)
}

/// Prometheus itself answers what the panels ask, of a scrape and another a little later.
fn every_panel_is_drawn(scraped: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for time in ["1700000000000", "1700000015000"] {
        std::fs::write(folder.path().join(format!("{time}.prom")), scraped)?;
    }
    let out = folder.path().join("dashboard.svg");
    picture::draw(folder.path(), &out)?;
    let drawn = std::fs::read_to_string(out)?;
    let dashboard: Value = serde_json::from_str(&component("dashboard/dashboard.json")?)?;
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().context("a panel without a title")?;
        ensure!(drawn.contains(&format!(">{}<", title.replace('\'', "&#39;"))), "{title} is not drawn");
    }
    ensure!(drawn.matches(">No data<").count() < 8, "{drawn}");
    Ok(())
}

#[test]
fn every_metric_is_documented_and_every_alert_has_its_section() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (book, manual) = (
        std::fs::read_to_string(root.join("docs/runbook.md"))?,
        std::fs::read_to_string(root.join("docs/controller.md"))?,
    );
    for (_, expression) in expressions()? {
        for read in reads(&expression) {
            let name = read.name.trim_end_matches("_bucket");
            ensure!(manual.contains(&format!("`{name}`")), "docs/controller.md does not say what {name} is");
        }
    }
    let rules: Value = serde_saphyr::from_str(&component("alerts/rules.yaml")?)?;
    let rules = rules["spec"]["groups"][0]["rules"].as_array().context("no rules")?;
    let mut alerts = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().context("no name")?;
        let section = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], section, "{name}");
        let text = book.split(&format!("\n## {name}\n")).nth(1).with_context(|| format!("no section {name}"))?;
        let text = text.split("\n## ").next().unwrap_or_default();
        ensure!(text.lines().any(|line| line.starts_with("- ")), "{name}: nothing to do");
        alerts.insert(name);
    }
    let sections = book.lines().filter_map(|line| line.strip_prefix("## "));
    let about_nothing: Vec<&str> = sections.filter(|section| !alerts.contains(section)).collect();
    ensure!(about_nothing.is_empty(), "there are no such alerts: {about_nothing:?}");
    Ok(())
}
