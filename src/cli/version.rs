//! `lanyard version`.
use super::output::{Format, data, print};
use crate::api::{GROUP, VERSION};
use crate::arm::API_VERSION;
use crate::domain::record::FORMAT_VERSION;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// Options of `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    version: &'static str,
    /// Of the custom resources.
    api: String,
    /// The newest that this version reads and writes.
    record_format: u32,
    compute_api_version: &'static str,
}

impl Version {
    /// Prints what this program is, and what it speaks.
    ///
    /// # Errors
    /// It cannot be printed.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let answer = Answer {
            version: env!("CARGO_PKG_VERSION"),
            api: format!("{GROUP}/{VERSION}"),
            record_format: FORMAT_VERSION,
            compute_api_version: API_VERSION,
        };
        let text = match self.output {
            Format::Table => format!(
                "lanyard {}\n  resources          {}\n  record format      {}\n  Microsoft.Compute  {}\n",
                answer.version, answer.api, answer.record_format, answer.compute_api_version
            ),
            Format::Json | Format::Yaml => data(self.output, &answer)?,
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
