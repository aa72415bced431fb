//! Waits until all is as the reference says, and fails as soon as something happened that must not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use arm_simulator::Exchange;
use lanyard::domain::target_name::target_name;

use super::expect::Seen;
use super::log::{Entry, lives, now};
use super::perform::{Player, UNRESOLVED};
use super::reference::judge;
use super::trouble::Armed;
use crate::harness::tail;

/// Longer than the longest wait that the settled cases allow here: a refused identity is tried again after 30 s or when
/// asked, another process's write is waited for 10 s, a closed bucket gives one call in 20 s.
const PATIENCE: Duration = Duration::from_secs(150);
const STEP: Duration = Duration::from_millis(250);
/// What is to go wrong may do so until then.
const TROUBLED: Duration = Duration::from_secs(3);
/// Whoever waits asks again.
const ASK: Duration = Duration::from_secs(6);

impl Player<'_> {
    pub async fn settle(&mut self, mark: u64) -> Result<()> {
        let began = Instant::now();
        let (mut asked, mut touched) = (began, began);
        let reads = self.reads(mark);
        self.ask().await?;
        let mut wrong = Vec::new();
        while began.elapsed() < PATIENCE {
            wrong = self.wrong(mark, reads).await?;
            if wrong.is_empty() {
                return self.settled().await;
            }
            if began.elapsed() > TROUBLED {
                self.stage().arm.clear_faults_of(&self.machine.id());
            }
            if asked.elapsed() > ASK {
                asked = Instant::now();
                self.ask().await?;
            }
            if touched.elapsed() > UNRESOLVED {
                touched = Instant::now();
                self.resolve();
            }
            tokio::time::sleep(STEP + began.elapsed() / 10).await;
        }
        bail!("it does not settle: {wrong:#?}")
    }

    /// What is not yet as it must be. What must never happen is an error.
    async fn wrong(&self, mark: u64, reads: usize) -> Result<Vec<String>> {
        let (lives, exists) = lives(&self.stage().arm.truth(&self.machine.id()))?;
        let judged = judge(&self.log, &lives, exists, now());
        if !judged.violations.is_empty() {
            bail!("{:#?}", judged.violations);
        }
        let wrong = judged.wrong_on_machine();
        if !wrong.is_empty() {
            return Ok(wrong);
        }
        let (patches, arrived) = self.late(mark);
        if patches > arrived {
            return Ok(vec!["a PATCH is still on its way".to_owned()]);
        }
        if !self.living().is_empty() && self.reads(mark) <= reads {
            return Ok(vec!["nobody has looked yet".to_owned()]);
        }
        Ok(judged.wrong_in_kubernetes(&self.see().await?))
    }

    async fn settled(&mut self) -> Result<()> {
        let attached = self.see().await?.attached();
        self.stage().arm.clear_faults_of(&self.machine.id());
        self.armed = Armed::default();
        self.stripped.clear();
        self.told.push(format!("{} settled", now()));
        self.log.entries.push(Entry::Settled { at: now(), attached });
        Ok(())
    }

    async fn see(&self) -> Result<Seen> {
        let mut assignments = BTreeMap::new();
        for who in self.everybody() {
            let object = self.home(&who).assignment(&who.name).await?;
            assignments.insert(who, object);
        }
        let target = self.stage().targets().get_opt(&target_name(&self.machine.id().parse()?)).await?;
        Ok(Seen { assignments, target })
    }

    fn exchanges(&self, mark: u64) -> Vec<Exchange> {
        let id = self.machine.id();
        let mut all = self.stage().arm.journal_since(mark);
        all.retain(|it| it.path.eq_ignore_ascii_case(&id));
        all
    }

    fn reads(&self, mark: u64) -> usize {
        self.exchanges(mark).iter().filter(|it| it.method == "GET").count()
    }

    /// Requests that were sent to arrive late, and those that have.
    fn late(&self, mark: u64) -> (usize, usize) {
        let all = self.exchanges(mark);
        let with = |fault: &str| all.iter().filter(|it| it.faults.iter().any(|name| name == fault)).count();
        (with("arrive_late"), with("arrived_late"))
    }

    /// All that is known of this machine.
    pub async fn everything(&self) -> String {
        let mut parts = vec!["--- what was done".to_owned()];
        parts.extend(self.told.iter().cloned());
        parts.push("--- what happened to the machine".to_owned());
        let truth = self.stage().arm.truth(&self.machine.id());
        if let Ok((lives, _)) = lives(&truth) {
            parts.extend(
                lives
                    .iter()
                    .flat_map(|life| &life.history)
                    .map(|it| format!("{} {:?} +{:?} -{:?} {:?}", it.at, it.by, it.added, it.removed, it.system)),
            );
        }
        parts.push("--- requests".to_owned());
        let exchanges = self.exchanges(0);
        parts.extend(exchanges.iter().rev().take(50).rev().map(|it| {
            let body = if it.request_body.is_null() { String::new() } else { it.request_body.to_string() };
            let guard = it.if_match.as_deref().unwrap_or_default();
            let status = it.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            format!("{} {} {} {guard} {body} -> {status} {:?}", it.at, it.seq, it.method, it.faults)
        }));
        parts.push("--- Kubernetes".to_owned());
        match self.see().await {
            Ok(seen) => {
                parts.extend(seen.assignments.iter().map(|(who, object)| {
                    let Some(object) = object else { return format!("{who}: gone") };
                    let text = serde_json::to_string(&object.status).unwrap_or_default();
                    format!("{who} {:?}: {text}", object.metadata.finalizers)
                }));
                if let Some(target) = seen.target {
                    parts.push(serde_json::to_string(&target.record).unwrap_or_default());
                }
            }
            Err(error) => parts.push(error.to_string()),
        }
        parts.push("--- log".to_owned());
        parts.push(shortened(&tail(&self.stage().log, self.machine.name(), 200)));
        parts.join("\n")
    }
}

/// What the lines of the log say, without what they all say.
fn shortened(log: &str) -> String {
    let lines = log.lines().map(|line| {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return line.to_owned() };
        let part = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let parts = ["timestamp", "message", "method", "reason", "error", "wait_ms"].map(part);
        format!("{} {}", parts.join(" "), line["status"])
    });
    lines.collect::<Vec<_>>().join("\n")
}
