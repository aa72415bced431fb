//! What a fleet of machines costs, measured from outside the program.
//!
//! ```text
//!   options ─▶ for each size: stage (control plane, Azure and controller, each a process of its own)
//!                               │
//!                               ├─ adoption ─▶ start ─▶ idle ─▶ change ─▶ slow ─▶ burst ─▶ mass
//!                               ▼
//!              report: rows with aim and measured ─▶ table, JSON, curves as SVG
//! ```
//!
//! Nothing is asked of the program but what its users see: objects in Kubernetes, requests at ARM, its metrics, and
//! what the kernel says of its process. So any version of it can be measured, and two can be compared.
#![forbid(unsafe_code)]

mod azure;
mod bounds;
mod controller;
mod curves;
mod kubernetes;
mod options;
mod process;
mod report;
mod scenarios;
mod scrapes;
mod stage;
mod wait;

pub use azure::simulate;
pub use options::{Options, Scenario, Simulated};
pub use report::{Report, Row};

use anyhow::{Context as _, Result};

/// Measures every size, and prints, writes and draws what was asked for.
///
/// # Errors
/// When something does not start, or the program does not do what is measured.
pub async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    for &size in &options.sizes {
        eprintln!("{size} targets");
        scenarios::measure(size, options, &mut report).await.with_context(|| format!("at {size} targets"))?;
    }
    report.add_growth();
    Ok(report)
}

/// Writes what the options name: JSON, curves.
///
/// # Errors
/// When a file cannot be written.
pub fn keep(report: &Report, options: &Options) -> Result<()> {
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?).with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(directory) = &options.svg {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let file = directory.join("figures.svg");
        std::fs::write(&file, curves::drawn(report)).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
