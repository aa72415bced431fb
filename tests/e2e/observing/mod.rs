//! What an on-call person looks at: health, readiness, traces, log lines and their level.

mod collector;
mod health;
mod levels;
mod traces;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;

use crate::harness::until_some;

/// The lines of a log that are JSON.
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn says(line: &Value, message: &str) -> bool {
    line["message"].as_str().is_some_and(|text| text.contains(message))
}

/// Lines that people see at the usual level.
fn told(log: &Path, message: &str) -> usize {
    let is_told = |line: &&Value| line["level"] != "DEBUG" && says(line, message);
    lines(log).iter().filter(is_told).count()
}

/// Where the last controller that logged there listens: for everybody, and for this machine.
async fn doors(log: &Path) -> Result<(String, String)> {
    let found = async || {
        let all = lines(log);
        let last = |field: &str| all.iter().rev().find_map(|line| Some(line[field].as_str()?.to_owned()));
        Ok(last("listen").zip(last("admin")))
    };
    let (listen, admin) = until_some(found).await?.context("it does not listen")?;
    Ok((format!("http://{listen}"), format!("http://{admin}")))
}

async fn get(url: &str) -> Result<(u16, String)> {
    let answer = reqwest::Client::builder().no_proxy().build()?.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// Waits for an answer of this status that holds the words.
async fn until_answers(url: &str, status: u16, words: &[&str]) -> Result<String> {
    let mut last = String::new();
    let answered = async || {
        let (code, text) = get(url).await?;
        let fits = code == status && words.iter().all(|word| text.contains(word));
        last = format!("{code}: {text}");
        Ok(fits.then_some(text))
    };
    let answer = until_some(answered).await?;
    answer.with_context(|| format!("{url} never says {status} with {words:?}, last {last}"))
}

async fn is_alive(open: &str) -> Result<()> {
    let (status, text) = get(&format!("{open}/healthz")).await?;
    ensure!(status == 200, "{status}: {text}");
    Ok(())
}
