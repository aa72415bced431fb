//! Parses, calls the library, turns the result into an exit code.
use lanyard::arm::chain;
use lanyard::cli::{Cli, output};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli.run(),
        Err(code) => return code,
    };
    ended.unwrap_or_else(|error| {
        output::of(&error).unwrap_or_else(|| {
            output::tell(&format!("error: {}", in_one_line(error.as_ref())));
            ExitCode::FAILURE
        })
    })
}

/// What follows the first line quotes the input at fault: a kubeconfig's may hold a token.
fn in_one_line(error: &(dyn Error + 'static)) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
}
