//! The demo: what Lanyard does, shown on a real Kubernetes API and a simulated Azure, and checked.
//!
//! ```text
//!   program (lanyard, built) ─▶ stage (control plane, Azure, controller) ─▶ story ─▶ truth ─▶ keep
//! ```

use std::path::Path;

use anyhow::Result;

mod keep;
mod machines;
mod program;
mod screen;
mod stage;
mod story;
mod truth;

pub use program::built;
pub use screen::Screen;
pub use stage::Stage;

/// Says what is about to be seen.
pub fn introduce(screen: &Screen) {
    screen.say("Lanyard keeps the managed identities of Azure VMs and scale sets as declared.");
    screen.say("Here the Kubernetes API server, kubectl and the controller are real, and Azure is");
    screen.say("simulated. Nothing leaves this machine, and nothing is left behind.\n");
}

/// Starts everything, `lanyard` as the controller, and tells the story. What it gives back still runs.
///
/// # Errors
/// When something does not start, or what is shown is not so.
pub async fn play<'a>(screen: &'a Screen, lanyard: &Path) -> Result<Stage<'a>> {
    let mut stage = Stage::set(screen, lanyard).await?;
    let told = story::tell(&mut stage).await;
    if told.is_err() {
        stage.show_log();
    }
    told.map(|()| stage)
}
