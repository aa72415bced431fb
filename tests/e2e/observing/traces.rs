//! One trace leads from a change to Ready, with each request to ARM in it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, Listener, Machine, SECRET, Settings};

use super::collector::{Collector, Span};
use super::{lines, says, told};
use crate::faults::error;
use crate::harness::{Own, Stage, assignment};

/// The whole trace of a change of this object, once its first span has come: then all the others have ended.
async fn trace_of(stage: &Stage<'_>, collector: &Collector, object: &str) -> Result<(Span, Vec<Span>)> {
    let changed = format!("{}/{object}", stage.namespace);
    let whole = async || {
        let spans = collector.spans();
        let root = spans.iter().find(|span| span.name == "change" && span.says("lanyard.changed") == changed);
        Ok(root.cloned().map(|root| {
            let parts = spans.into_iter().filter(|span| span.trace == root.trace && span.id != root.id).collect();
            (root, parts)
        }))
    };
    let found = stage.until_some(&format!("the trace of {changed}"), whole).await;
    found.with_context(|| format!("there are {:#?}", collector.spans()))
}

/// The names from a span up to the root.
fn path(span: &Span, all: &[Span]) -> Vec<String> {
    let mut path = vec![span.name.clone()];
    let mut parent = &span.parent;
    while let Some(next) = all.iter().find(|span| span.id == *parent) {
        path.push(next.name.clone());
        parent = &next.parent;
    }
    path
}

/// From then on a change begins with the watch's event.
async fn leads(stage: &Stage<'_>) -> Result<()> {
    stage.until("it to lead", async || Ok(told(&stage.log, "visits begin") > 0)).await
}

/// What ARM was asked about this machine: the ids that the client gave each request.
fn asked_of_arm(stage: &Stage<'_>, machine: &Machine) -> BTreeSet<String> {
    let journal = stage.arm.journal_of(&stage.subscription);
    let about = journal.iter().filter(|call| call.listener != Listener::Entra);
    // Polls name the operation, not the machine: this test's subscription has one machine.
    let about = about.filter(|call| call.is(&call.method, &machine.id()) || call.path.contains("/locations/"));
    about.filter_map(|call| call.request_headers.get("x-ms-client-request-id").cloned()).collect()
}

#[tokio::test]
async fn one_trace_leads_from_the_change_to_ready_with_each_request_to_arm() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let collector = Collector::start().await?;
    let controller = own.start(&[&format!("--otlp-endpoint={}", collector.url)])?;
    let stage = own.stage()?;
    leads(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    let (root, parts) = trace_of(&stage, &collector, "web").await?;

    ensure!(root.parent.is_empty() && root.says("lanyard.reason") == "AsPlanned" && !root.failed, "{root:?}");
    ensure!(root.says("lanyard.resource").eq_ignore_ascii_case(&vm.id()), "{root:?}");
    let outside: Vec<&Span> = parts.iter().filter(|it| it.begun < root.begun || it.ended > root.ended).collect();
    ensure!(outside.is_empty(), "not within {root:?}: {outside:?}");
    let paths: Vec<String> = parts.iter().map(|span| path(span, &parts).join(" < ")).collect();
    for wanted in ["report < visit", "record < visit", "ARM GET < gather < visit", "ARM PATCH < apply < visit"] {
        ensure!(paths.iter().any(|path| path == wanted), "no '{wanted}' in {paths:#?}");
    }
    ensure!(parts.iter().filter(|span| span.name == "visit").all(|span| span.parent == root.id), "{parts:#?}");

    // Each request is there, and nothing that was not asked.
    let requests: Vec<&Span> = parts.iter().filter(|span| span.name.starts_with("ARM ")).collect();
    let told: BTreeSet<String> = requests.iter().map(|span| span.says("lanyard.client_request_id").into()).collect();
    let asked = asked_of_arm(&stage, &vm);
    ensure!(asked.is_subset(&told), "asked and not in the trace: {:?}", asked.difference(&told).collect::<Vec<_>>());
    let patch = parts.iter().find(|span| span.name == "ARM PATCH" && path(span, &parts).contains(&"apply".into()));
    let patch = patch.context("a PATCH")?;
    let journal = stage.arm.journal_of(&stage.subscription);
    let id = patch.says("lanyard.client_request_id");
    let call =
        journal.iter().find(|call| call.request_headers.get("x-ms-client-request-id").is_some_and(|it| it == id));
    let call = call.context("the PATCH as ARM saw it")?;
    let correlation_id = call.response_headers.get("x-ms-correlation-request-id").context("an id of ARM's")?;
    ensure!(patch.says("lanyard.correlation_id") == correlation_id, "{patch:?}");
    ensure!(
        call.status.is_some_and(|status| patch.says("http.response.status_code") == status.to_string()),
        "{patch:?}"
    );
    let fixed = [("http.request.method", "PATCH"), ("lanyard.bucket", "resource-updates"), ("lanyard.attempt", "1")];
    for (name, value) in fixed {
        ensure!(patch.says(name) == value, "{name} is '{}'", patch.says(name));
    }

    // The same ids in the log: of the trace, and of the request.
    let all = lines(&stage.log);
    let audit = all.iter().find(|line| line["target"] == "audit").context("an audit line")?;
    ensure!(audit["client_request_id"] == id && audit["correlation_id"] == *correlation_id, "{audit}");
    let line = all.iter().find(|line| says(line, "asked ARM") && line["client_request_id"] == id).context("a line")?;
    ensure!(line["span"]["trace_id"] == root.trace_id() && line["attempt"] == 1, "{line}");
    let target = stage.target(&vm).await?.context("a record")?;
    ensure!(line["span"]["identity_target"] == target.metadata.name.as_deref().unwrap_or_default(), "{line}");
    let written = target.status.and_then(|status| status.last_write).context("a write")?;
    ensure!(written.client_request_id.as_deref() == Some(id), "{written:?}");

    let resource = collector.resources().pop().context("a resource")?;
    ensure!(resource.get("service.name").is_some_and(|name| name == "lanyard"), "{resource:?}");
    for secret in [SECRET, "Bearer", "eyJ", "userAssignedIdentities\"", "&s=", "sig="] {
        ensure!(!collector.text().contains(secret), "a trace holds '{secret}'");
    }
    // What has ended is sent before the process ends.
    controller.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_tried_again_is_in_the_trace_of_its_change() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let collector = Collector::start().await?;
    let _controller = own.start(&[&format!("--otlp-endpoint={}", collector.url)])?;
    let stage = own.stage()?;
    leads(&stage).await?;
    let vm = stage.vm("web").create();
    stage.arm.fault(Fault::new("GET", &vm.id(), error(500, "InternalServerError", "Try later.")).times(2));
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::RefuseToken {}).skip(1));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    let (root, parts) = trace_of(&stage, &collector, "web").await?;
    let mut visits: Vec<&Span> = parts.iter().filter(|span| span.name == "visit").collect();
    visits.sort_by_key(|span| span.begun);
    let (last, before) = visits.split_last().context("visits")?;
    ensure!(!before.is_empty() && before.iter().all(|span| span.failed), "{visits:#?}");
    ensure!(last.says("lanyard.reason") == "AsPlanned" && !last.failed && !root.failed, "{visits:#?}");
    let attempts: Vec<&str> = visits.iter().map(|span| span.says("lanyard.attempt")).collect();
    let counted: Vec<String> = (1..=visits.len()).map(|number| number.to_string()).collect();
    ensure!(attempts == counted, "{attempts:?}");
    let status = |name: &str, status: &str| {
        parts.iter().any(|span| span.name == name && span.says("http.response.status_code") == status && span.failed)
    };
    ensure!(status("ARM GET", "500") && status("ARM PATCH", "401"), "{parts:#?}");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_refuses_holds_up_nothing_and_costs_a_line() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let collector = Collector::start().await?;
    collector.refuses(true);
    let _controller = own.start(&[&format!("--otlp-endpoint={}", collector.url)])?;
    let stage = own.stage()?;
    leads(&stage).await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.until("a first batch to be refused", async || Ok(told(&stage.log, "traces cannot be exported") > 0)).await?;
    let before = collector.requests();
    stage.edit("web", |it| it.present("shop-queue")).await?;
    stage.until_ready("web").await?;
    stage.until("another one to be refused", async || Ok(collector.requests() > before)).await?;
    ensure!(told(&stage.log, "traces cannot be exported") == 1);

    collector.refuses(false);
    stage.edit("web", |it| it.without("shop-queue")).await?;
    stage.until_ready("web").await?;
    stage.until("it to be told", async || Ok(told(&stage.log, "traces are exported again") == 1)).await?;
    ensure!(!collector.spans().is_empty());
    Ok(())
}
