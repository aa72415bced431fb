//! What was given up, and arrives all the same.
use anyhow::{Result, ensure};
use arm_simulator::Settings;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Notify;

use super::Ids;
use crate::harness::{ApiProxy, Asked, Own, Trouble};

#[tokio::test]
async fn a_status_that_was_given_up_does_not_land_on_a_newer_one() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let api = ApiProxy::open(own.client.clone(), own.control_plane()?.directory()).await?;
    let _controller = own.start_by(&api.kubeconfig, &[])?;
    let stage = own.stage()?;
    let ids = Ids(&stage);
    let db = ids.unmade("shop-db");
    ids.declare("db", &db, json!({})).await?;
    ids.until_ready("db").await?;

    let arrives = Arc::new(Notify::new());
    api.once(
        |asked: &Asked| asked.writes_status() && asked.path.contains("/userassignedidentities/"),
        Trouble::Late(arrives.clone()),
    );
    for team in ["shop", "blue"] {
        ids.patch("db", json!({"spec": {"tags": {"team": team}}})).await?;
        ids.until_ready("db").await?;
    }
    arrives.notify_one();
    stage.until("the late status to have come", async || Ok(api.landed() == 1)).await?;
    ensure!(ids.status("db").await?.is_some(), "an old status has taken the place of a newer one");
    Ok(())
}
