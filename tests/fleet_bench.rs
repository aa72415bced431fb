//! The benchmark measures: it runs, small and fast, and what it counts is what was done.
use std::time::Duration;

use anyhow::{Context as _, Result};
use fleet_bench::{Options, Report, Scenario, Simulated, run};

fn options() -> Options {
    Options {
        sizes: vec![10],
        quick: false,
        scenarios: vec![Scenario::Adoption, Scenario::Start, Scenario::Change, Scenario::Mass],
        lanyard: Some(env!("CARGO_BIN_EXE_lanyard").into()),
        with: Vec::new(),
        share: 0.8,
        changes: 5,
        idle_intervals: 1,
        operations: 0.01,
        json: None,
        svg: None,
        scrapes: None,
        simulated: Simulated::Here,
        bursts: vec![5],
        slow: Duration::from_secs(1),
        usual: Duration::from_millis(100),
        pace: Duration::from_millis(100),
    }
}

fn value(report: &Report, id: &str) -> Result<f64> {
    let rows = report.sizes.first().map(|size| &size.rows);
    let row = rows.into_iter().flatten().find(|row| row.id == id);
    Ok(row.with_context(|| format!("no figure {id}"))?.value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_benchmark_measures_a_fleet_of_ten() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let report = run(&options()).await?;
    // What is counted must be right on any machine; times are for a quiet one.
    assert_eq!(value(&report, "adoption-patches")?.to_bits(), 0_f64.to_bits(), "{report}");
    assert!(value(&report, "start-reads")? >= 1.0, "{report}");
    assert!(value(&report, "change-p50")? > 0.0, "{report}");
    assert!(value(&report, "mass-patches-least")? >= 1.0, "{report}");
    assert!(value(&report, "memory")? > 1.0, "{report}");
    let json: serde_json::Value = serde_json::from_str(&report.json()?)?;
    assert_eq!(json["sizes"][0]["targets"], 10);
    Ok(())
}
