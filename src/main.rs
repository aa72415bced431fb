//! Parses, calls the library, turns the result into an exit code.
use lanyard::arm::chain;
use lanyard::cli::{Cli, output};
use mimalloc::MiMalloc;
use std::error::Error;
use std::process::ExitCode;

/// A fleet is millions of small strings that come and go on several threads: the C library's allocator keeps most of
/// what it once had, and that of musl is slow.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
