//! Killed between any two of its steps.
use super::Ids;
use crate::harness::Own;
use anyhow::Result;
use arm_simulator::{Identity, Settings};
use lanyard::api::user_assigned_identity::IdentityOrigin;
use lanyard::fail_point::{IdentityPoint, STANDS_STILL};
use serde_json::json;
use strum::VariantArray as _;

/// Killed at every named moment of a creation and of a deletion, the next process comes to an end with it: nothing that
/// it made is left behind, and nothing is taken for its own that was not.
#[tokio::test]
#[cfg_attr(not(debug_assertions), ignore = "a release has no fail points")]
async fn killed_at_any_moment_the_next_process_ends_what_was_begun() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let ids = Ids(&stage);
    let (before, after): (Vec<&IdentityPoint>, Vec<&IdentityPoint>) =
        IdentityPoint::VARIANTS.iter().partition(|point| {
            matches!(
                point,
                IdentityPoint::BeforeIdentityFinalizer
                    | IdentityPoint::BeforePutIntent
                    | IdentityPoint::AfterPutIntent
                    | IdentityPoint::PutAnswered
            )
        });
    let name = |point: &IdentityPoint| format!("id-{}", <&str>::from(point).to_lowercase());
    let all: Vec<Identity> = IdentityPoint::VARIANTS.iter().map(|point| ids.unmade(&name(point))).collect();
    let arm = |points: &[&IdentityPoint]| -> Result<()> {
        let line = |point: &&IdentityPoint| format!("{} {}\n", <&str>::from(*point), name(point));
        Ok(std::fs::write(own.fail_points()?, points.iter().map(line).collect::<String>())?)
    };
    let stand_still = async |log: &std::path::Path, from: usize, points: &[&IdentityPoint]| {
        let all = async || {
            let text = std::fs::read_to_string(log)?;
            let stands = |point: &&IdentityPoint| {
                text[from..]
                    .lines()
                    .any(|line| line.contains(STANDS_STILL) && line.contains(&format!("\"{}\"", name(point))))
            };
            Ok(points.iter().all(stands))
        };
        stage.until("all visits to stand still", all).await
    };

    arm(&before)?;
    let first = own.start(&[])?;
    for identity in &all {
        ids.declare(identity.name(), identity, json!({})).await?;
    }
    stand_still(&first.log, 0, &before).await?;
    first.kill()?;
    arm(&[])?;
    let second = own.start(&[])?;
    for identity in &all {
        let status = ids.until_ready(identity.name()).await?;
        assert_eq!(status.origin, Some(IdentityOrigin::Created), "{}", identity.name());
        assert_eq!(status.principal_id, identity.principal_id());
    }
    let from = std::fs::read_to_string(&second.log)?.len();
    arm(&after)?;
    for identity in &all {
        ids.delete(identity.name()).await?;
    }
    stand_still(&second.log, from, &after).await?;
    second.kill()?;
    arm(&[])?;
    let _third = own.start(&[])?;
    for identity in &all {
        ids.until_gone(identity.name()).await?;
        assert_eq!(identity.principal_id(), None, "{} is left behind", identity.name());
        let gone = async || Ok(ids.record(identity).await?.is_none());
        stage.until("its record to be gone", gone).await?;
    }
    Ok(())
}
