//! The controller's processes: killed, paused, doubled and started anew while the story goes on.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use tokio_util::sync::CancellationToken;

use crate::harness::{Controller, Own};

/// The brake has tests of its own.
const FLAGS: [&str; 1] = ["--removal-burst=100000"];

/// What becomes of the processes, one after another.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// SIGKILL; the next one starts so much later.
    Kill { down: u64 },
    /// SIGTERM, likewise.
    Terminate { down: u64 },
    /// Two at once for a while.
    Double { millis: u64 },
    /// Two at once, then the first is killed.
    Succeed { millis: u64 },
    /// Stopped and continued.
    Freeze { millis: u64 },
}

fn turn(rng: &mut Rng) -> Turn {
    match rng.u8(..8) {
        0..4 => Turn::Kill { down: if rng.bool() { 0 } else { rng.u64(..2_000) } },
        4 => Turn::Terminate { down: rng.u64(..1_000) },
        5 => Turn::Double { millis: rng.u64(1_000..5_000) },
        6 => Turn::Succeed { millis: rng.u64(1_000..5_000) },
        _ => Turn::Freeze { millis: rng.u64(500..3_000) },
    }
}

/// How restless the processes are. A process waits 10 s for what another one was about to write: where none lives as
/// long, nothing ever settles.
#[derive(Clone, Copy, Debug)]
pub struct Unrest {
    /// Turns close together, before a calm.
    pub turns: usize,
    pub calm: Duration,
}

/// Goes on until told that the story is over; then one process runs, and is given back.
pub async fn run(own: &Own, seed: u64, unrest: Unrest, over: &CancellationToken) -> Result<Controller> {
    let mut rng = Rng::with_seed(seed);
    let mut running = own.start(&FLAGS)?;
    for number in 1.. {
        let calm = if number % (unrest.turns + 1) == 0 { unrest.calm } else { Duration::ZERO };
        let spell = calm + Duration::from_millis(rng.u64(1_000..7_000));
        tokio::select! {
            () = over.cancelled() => break,
            () = tokio::time::sleep(spell) => {}
        }
        running = take(own, running, turn(&mut rng)).await?;
    }
    Ok(running)
}

async fn take(own: &Own, mut running: Controller, turn: Turn) -> Result<Controller> {
    let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
    match turn {
        Turn::Kill { down } => {
            running.kill()?;
            pause(down).await;
            own.start(&FLAGS)
        }
        Turn::Terminate { down } => {
            running.terminate().await?;
            pause(down).await;
            own.start(&FLAGS)
        }
        Turn::Double { millis } => {
            let second = own.start(&FLAGS)?;
            pause(millis).await;
            second.kill()?;
            Ok(running)
        }
        Turn::Succeed { millis } => {
            let second = own.start(&FLAGS)?;
            pause(millis).await;
            running.kill()?;
            Ok(second)
        }
        Turn::Freeze { millis } => {
            running.signal("STOP")?;
            pause(millis).await;
            running.signal("CONT")?;
            Ok(running)
        }
    }
}
