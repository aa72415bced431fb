//! `cargo demo` runs to its end. It is waited for, not worked for: some 17 s, on a machine of its own or on a busy one.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use devenv::demo::{self, Screen};
use tempfile::NamedTempFile;

#[tokio::test]
async fn the_demo_holds_what_it_shows() -> Result<()> {
    let page = NamedTempFile::new()?;
    let screen = Screen::of(page.reopen()?);
    let played = play(&screen).await;
    let text = fs::read_to_string(&page)?;
    played.with_context(|| format!("the page, as far as it came:\n{text}"))?;
    assert!(text.contains("nothing that was not ours was touched"), "{text}");
    Ok(())
}

/// All but the build: Cargo has built the program with this test.
async fn play(screen: &Screen) -> Result<()> {
    demo::introduce(screen);
    demo::play(screen, Path::new(env!("CARGO_BIN_EXE_lanyard"))).await?.close().await
}
