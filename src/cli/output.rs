//! What is printed, and how it ends.
use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    Json,
    Yaml,
}

/// An error that people were told of already: only the exit code is left to give.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("see above")]
pub struct Told;

/// There is something to change: the exit code of a check that is not passed.
pub const CHANGES: u8 = 2;

/// As a shell reports a program that a closed pipe ended.
const PIPE_CLOSED: u8 = 141;

/// Prints all of an answer at once: nobody sees a part that looks whole. Colours go to terminals alone.
///
/// # Errors
/// What cannot be written; [`of`] knows a pipe that was closed.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("the answer cannot be printed")
}

/// The same for what goes beside an answer.
pub fn tell(text: &str) {
    // Nobody is left to be told that nobody listens.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Data as a program reads it.
///
/// # Errors
/// Data that cannot be written down: a defect of this build.
pub fn data(format: Format, data: &impl Serialize) -> anyhow::Result<String> {
    match format {
        Format::Json => Ok(serde_json::to_string_pretty(data)? + "\n"),
        Format::Yaml | Format::Table => yaml(data),
    }
}

/// One document, without folded lines: they are hard to review.
///
/// # Errors
/// As [`data`].
pub fn yaml(data: &impl Serialize) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(data, options)?)
}

/// The exit code of an error, if nothing is to be said of it any more.
#[must_use]
pub fn of(error: &anyhow::Error) -> Option<ExitCode> {
    let closed = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.is::<Told>() {
        Some(ExitCode::FAILURE)
    } else {
        error.chain().any(closed).then(|| ExitCode::from(PIPE_CLOSED))
    }
}
