//! A story drawn from a seed: people declare, change and delete, strangers write, ARM misbehaves, processes are killed;
//! and what comes of it is held against a reference that knows the settled cases and no line of the planner.
//!
//! ```text
//!   seed ─▶ generate ─▶ story ─▶ perform ─▶ log ────────┐
//!                         │                             ▼
//!                         ├─▶ trouble ─▶ simulator ─▶ reference ─▶ expect ◀─ Kubernetes
//!                         └─▶ crew: the controller's processes          │
//!                                                                settle ◀┘
//! ```
//!
//! Between two bursts of acts everything is left to settle. At each such point, and at the end, `reference` says of each
//! identity whether it must be there, and `expect` what record and statuses must say. Every change that the controller
//! makes in between is held against what was declared then: a drop is found even if it is mended afterwards.
//!
//! **Exact**: machines with an even number get one act a burst. **Wider**: the others get several, and then whose an
//! identity is may be either where the protocol leaves it to who came first; whose the record says it is holds from the
//! next settled point on. The reference takes both for possible
//! - of an id that a stranger adds while it is declared Present and not there, or just taken off by us ("Somebody else
//!   adds an id while an intent of ours about that very id is unresolved");
//! - of an id that a stranger took off and put back with no visit in between (only a fresh GET that shows it absent
//!   takes it out of the record);
//! - of the ids of an object deleted under `Retain`, `Observe` or release that was changed in the same burst ("a deletion
//!   under the policy in the record's claims"), or while another claim on the id came or went: of two that leave in one
//!   moment, one with `Detach`, either may be taken for the last;
//! - after a record was deleted, or adopted by an administrator, in the middle of a burst.
//!
//! Not settled, and so allowed either way: whether an id goes that an observing object itself stopped declaring; what
//! `Ready` says of an observer that would be in conflict.
//!
//! `cargo test` plays stories of fixed seeds; the long form, which is ignored, draws one and prints it.
//! `CHAOS_SEED=<n>` repeats a story; what happens in which order within a burst is the machine's own affair.
//! `CHAOS_SIZE=<machines>x<bursts>x<claimants>` makes the long one of another size.

mod claims;
mod crew;
mod expect;
mod generate;
mod log;
mod perform;
mod reference;
mod reference_tests;
mod settle;
mod story;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use arm_simulator::{Listener, Pace, Settings};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams, ResourceExt as _};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use crate::harness::{Own, Stage};
use crew::Unrest;
use generate::{NAMESPACES, Size};
use perform::Player;
use story::{DECLARED, STRANGE, Story};

#[rstest]
#[case(4)]
#[case(6)]
#[tokio::test]
async fn whatever_happens_ends_as_the_reference_says(#[case] seed: u64) -> Result<()> {
    let seed = number("CHAOS_SEED").unwrap_or(seed);
    play(seed, Size { tracks: 8, bursts: 4, claimants: 3 }, Unrest { turns: 3, calm: Duration::from_secs(60) }).await
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn whatever_happens_for_long_to_many_machines_ends_as_the_reference_says() -> Result<()> {
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let size = std::env::var("CHAOS_SIZE").unwrap_or_else(|_| "40x12x8".into());
    let parts: Vec<usize> = size.split('x').filter_map(|part| part.parse().ok()).collect();
    let [tracks, bursts, claimants] = parts[..] else { bail!("CHAOS_SIZE is {size}, not as in 40x12x8") };
    play(seed, Size { tracks, bursts, claimants }, Unrest { turns: 4, calm: Duration::from_secs(30) }).await
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

async fn play(seed: u64, size: Size, unrest: Unrest) -> Result<()> {
    println!("CHAOS_SEED={seed}, {size:?}");
    let story = generate::story(seed, size);
    let settings = Settings { operations: Pace::Fixed { millis: 150 }, ..Settings::quick() };
    let own = Own::new(settings).await?;
    let stages = stages(&own).await?;
    for name in DECLARED.iter().chain(&STRANGE) {
        trouble::make_identity(&stages[0], name);
    }
    let over = CancellationToken::new();
    let acted = async {
        let done = perform(&stages, &story).await;
        over.cancel();
        done
    };
    let (controller, done) = tokio::join!(crew::run(&own, seed, unrest, &over), acted);
    let _controller = controller?;
    done.with_context(|| format!("CHAOS_SEED={seed}, {size:?}"))?;
    proper(&stages[0])
}

/// A stage for each namespace.
async fn stages(own: &Own) -> Result<Vec<Stage<'_>>> {
    let mut stages = vec![own.stage()?];
    while stages.len() < NAMESPACES {
        let metadata = ObjectMeta { generate_name: Some("chaos-".into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let made = Api::all(own.client.clone()).create(&PostParams::default(), &namespace).await?;
        stages.push(Stage { namespace: made.name_any(), ..own.stage()? });
    }
    Ok(stages)
}

async fn perform(stages: &[Stage<'_>], story: &Story) -> Result<()> {
    let tracks = story.tracks.iter().map(|track| async move {
        let mut player = Player::new(stages, track)?;
        let done = player.play().await;
        match done {
            Ok(()) => Ok(()),
            Err(error) => {
                let told = player.everything().await;
                Err(error.context(format!("{}\n{told}", track.name)))
            }
        }
    });
    let failed = join_all(tracks).await.into_iter().filter_map(Result::err);
    let failed: Vec<String> = failed.map(|error| format!("{error:?}")).collect();
    ensure!(failed.is_empty(), "{} of {} machines\n{}", failed.len(), story.tracks.len(), failed.join("\n\n"));
    Ok(())
}

impl Player<'_> {
    async fn play(&mut self) -> Result<()> {
        for burst in &self.track.bursts {
            let mark = self.stage().arm.journal_mark();
            let alone = burst.iter().filter(|act| !matches!(act, story::Act::Pause { .. })).count() == 1;
            for act in burst {
                self.act(act, alone).await?;
            }
            self.settle(mark).await?;
        }
        // Nothing is left to do: it stays as it is.
        let mark = self.stage().arm.journal_mark();
        self.settle(mark).await
    }
}

/// What holds for every request of the whole story.
fn proper(stage: &Stage<'_>) -> Result<()> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for call in stage.arm.journal() {
        if call.listener == Listener::Stranger {
            let token = call.request_headers.get("authorization");
            ensure!(token.is_none(), "a token went to another host: {call:?}");
            continue;
        }
        if call.method == "PATCH" {
            ensure!(call.if_match.is_some(), "a PATCH without If-Match: {call:?}");
            for fault in &call.faults {
                *counts.entry(fault.clone()).or_default() += 1;
            }
            let status = call.status.map_or_else(|| "no answer".into(), |status| status.to_string());
            *counts.entry(status).or_default() += 1;
        }
    }
    println!("PATCHes by answer and fault: {counts:?}");
    Ok(())
}
