//! `--keep`: everything goes on running, for the reader to play with.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::stage::{LOG, Stage};
use crate::environment;

impl Stage<'_> {
    /// Says how to use what runs, and waits.
    ///
    /// # Errors
    /// When something ends that should run; there is no other end.
    pub async fn keep(mut self) -> Result<()> {
        say_how_to_use(&self).await?;
        Err(self.watch().await)
    }
}

async fn say_how_to_use(stage: &Stage<'_>) -> Result<()> {
    let plane = &stage.environment.control_plane;
    let kubectl = plane.kubectl_program().await?;
    let directory = plane.directory();
    let programs = [&kubectl, &stage.lanyard].map(|program| program.parent().unwrap_or(program).display().to_string());
    let exports = format!("export PATH='{}':\"$PATH\"\n", programs.join(":"));
    let exports = exports + &environment::exports(&stage.environment.variables());
    fs::write(directory.join("env"), &exports)?;
    let screen = stage.screen;
    screen.step("Yours to play with, until Ctrl-C");
    screen.say("Everything still runs. In another shell, for kubectl and lanyard:\n");
    screen.shown(&exports);
    screen.say("\nor, in short:\n");
    screen.shown(&format!(". {}", directory.join("env").display()));
    screen.say("\nWhat to try there, at the top of the repository:\n");
    screen.shown(&to_try(&stage.vm("web")?.id(), stage.arm().admin_url(), &directory.join(LOG)));
    Ok(())
}

fn to_try(web: &str, admin: &str, log: &Path) -> String {
    let group = web.split("/providers/").next().unwrap_or_default();
    let identity = format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db");
    let stranger = |act: &str| {
        let body = format!("{{\"resource\": \"{web}\", \"act\": {act}}}");
        format!("curl -X POST {admin}/foreign -d '{body}'")
    };
    format!(
        "kubectl apply -k deploy/samples\n\
         kubectl get identityassignments -A --watch\n\
         kubectl describe identitytargets\n\
         kubectl explain identityassignment.spec\n\
         # Somebody enables what nobody declared, or takes the machine away:\n\
         {}\n{}\n\
         # Look again now instead of at the next drift check:\n\
         kubectl annotate ida web -n shop --overwrite lanyard.dev/reconcile-at=\"$(date)\"\n\
         # What the simulated Azure was asked, and what really is:\n\
         curl {admin}/journal\n\
         curl {admin}/truth\n\
         tail -f {}\n",
        stranger(&format!("{{\"remove_identity\": \"{identity}\"}}")),
        stranger("\"delete\""),
        log.display()
    )
}
