//! Answers of the program's /metrics, kept as files: what its dashboard would have shown.
use jiff::Timestamp;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Often enough for a run of minutes.
const EVERY: Duration = Duration::from_secs(2);

/// Scrapes until it is dropped.
pub struct Scrapes(JoinHandle<()>);

impl Scrapes {
    /// Each answer goes into a file of its own in this directory, named by its time in milliseconds.
    pub fn of(listen: &str, http: reqwest::Client, directory: PathBuf) -> Self {
        let url = format!("http://{listen}/metrics");
        Self(tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Ok(answer) = http.get(&url).send().await else { continue };
                let Ok(text) = answer.text().await else { continue };
                let file = directory.join(format!("{}.prom", Timestamp::now().as_millisecond()));
                if let Err(error) = fs::write(&file, text) {
                    eprintln!("{} could not be written: {error}", file.display());
                }
            }
        }))
    }
}

impl Drop for Scrapes {
    fn drop(&mut self) {
        self.0.abort();
    }
}
