//! Plays one machine's part of a story, and keeps the log of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::Machine;
use kube::api::{DeleteParams, Patch, PatchParams};
use lanyard::api::{ADOPT, RECONCILE_AT, RELEASE};
use lanyard::domain::target_name::target_name;
use serde_json::json;

use super::log::{Entry, Log, Span, now};
use super::story::{Act, Block, Kind, Spec, Track, Who};
use super::tally::Tally;
use super::trouble::{Armed, befall, id_of, intrude};
use crate::harness::{GROUP, Stage};

const AKS_GROUP: &str = "MC_shop_cluster_westeurope";
/// Where each machine's `ETag` starts, one above the other: that a namesake may have the old one's is a known gap
/// (`docs/guarantees.md`).
const ETAGS: u64 = 1_000;
/// A person who waits for what only a running controller can do gives up after this.
const PATIENCE: Duration = Duration::from_secs(120);
/// A write whose request was lost may still arrive, for five minutes, until the `ETag` moves: a stranger moves it.
pub const UNRESOLVED: Duration = Duration::from_secs(9);

/// One machine and everybody who acts on it.
pub struct Player<'a> {
    pub stages: &'a [Stage<'a>],
    pub track: &'a Track,
    pub machine: Machine,
    pub log: Log,
    /// What was done, in words, for whoever must find out what went wrong.
    pub told: Vec<String>,
    /// The same, by kind.
    pub done: Tally,
    made: u64,
    pub armed: Armed,
    /// Whose finalizers were taken off since all was settled.
    pub stripped: BTreeSet<Who>,
}

impl<'a> Player<'a> {
    pub fn new(stages: &'a [Stage<'a>], track: &'a Track) -> Result<Self> {
        let id = stages[0].arm_id(track);
        let machine = stages[0].arm.find_machine(&id).context("a machine's id")?;
        let log = Log { kind: track.kind, starts: track.start.is_some(), entries: Vec::new() };
        let mut player = Self {
            stages,
            track,
            machine,
            log,
            told: Vec::new(),
            done: Tally::default(),
            made: 0,
            armed: Armed::default(),
            stripped: BTreeSet::new(),
        };
        if let Some(block) = &track.start {
            player.make(block);
        }
        Ok(player)
    }

    pub fn stage(&self) -> &'a Stage<'a> {
        &self.stages[0]
    }

    pub fn home(&self, who: &Who) -> &'a Stage<'a> {
        &self.stages[who.namespace]
    }

    fn make(&mut self, block: &Block) {
        self.made += 1;
        let stage = self.stage();
        let mut builder = stage.builder(self.track).etag(self.made * ETAGS);
        for name in &block.users {
            builder = builder.with_identity(id_of(stage, name));
        }
        if block.system {
            builder = builder.with_system();
        }
        builder.create();
    }

    /// Does it. `alone`: since all was settled, nothing else was done.
    pub async fn act(&mut self, act: &Act, alone: bool) -> Result<()> {
        self.told.push(format!("{} {act:?}", now()));
        self.done.count(self.kind_of(act));
        match act {
            Act::Say { who, spec } => self.say(who, spec).await,
            Act::Leave { who, release, strip } => self.leave(who, *release, *strip).await,
            Act::Strip(who) => self.strip(who).await,
            Act::Lie(who) => self.lie(who).await,
            Act::Forge(who) => self.forge(who).await,
            Act::Forget => self.forget(alone).await,
            Act::Adopt => self.adopt(alone).await,
            Act::Foreign(deed) => {
                intrude(self.stage(), &self.machine, deed);
                Ok(())
            }
            Act::Replace(block) => {
                self.machine.delete();
                let at = now();
                self.log.entries.extend([Entry::Gone { at }, Entry::Made { at }]);
                self.make(block);
                Ok(())
            }
            Act::Make(block) => {
                self.log.entries.push(Entry::Made { at: now() });
                self.make(block);
                Ok(())
            }
            Act::Trouble(trouble) => {
                befall(self.stage(), &self.machine, &mut self.armed, trouble);
                Ok(())
            }
            Act::Pause { millis } => {
                tokio::time::sleep(Duration::from_millis(*millis)).await;
                Ok(())
            }
        }
    }

    fn kind_of(&self, act: &Act) -> &'static str {
        match act {
            Act::Say { who, .. } if self.is_declared(who) => "change",
            Act::Foreign(deed) => deed.into(),
            Act::Say { .. }
            | Act::Leave { .. }
            | Act::Strip(_)
            | Act::Lie(_)
            | Act::Forge(_)
            | Act::Forget
            | Act::Adopt
            | Act::Replace(_)
            | Act::Make(_)
            | Act::Trouble(_)
            | Act::Pause { .. } => act.into(),
        }
    }

    async fn say(&mut self, who: &Who, spec: &Spec) -> Result<()> {
        let stage = self.home(who);
        let declared = spec.declared(who, &self.machine, |name| id_of(stage, name));
        let began = now();
        if self.is_declared(who) {
            stage.edit(&who.name, |it| it.declaring(&declared)).await?;
        } else {
            stage.declare(declared).await?;
        }
        let at = Span { began, done: now() };
        self.log.entries.push(Entry::Said { who: who.clone(), spec: spec.clone(), at });
        Ok(())
    }

    fn is_declared(&self, who: &Who) -> bool {
        self.log.entries.iter().any(|entry| matches!(entry, Entry::Said { who: other, .. } if other == who))
    }

    async fn leave(&mut self, who: &Who, release: bool, strip: bool) -> Result<()> {
        let stage = self.home(who);
        let began = now();
        if release {
            stage.annotate(&who.name, RELEASE, "true").await?;
        }
        stage.delete(&who.name).await?;
        let at = Span { began, done: now() };
        if strip {
            self.strip(who).await?;
        }
        let stripped = self.stripped.contains(who);
        self.log.entries.push(Entry::Left { who: who.clone(), release, stripped, at });
        Ok(())
    }

    async fn strip(&mut self, who: &Who) -> Result<()> {
        self.stripped.insert(who.clone());
        self.patch(who, json!({"metadata": {"finalizers": null}})).await
    }

    async fn forge(&self, who: &Who) -> Result<()> {
        let forged = json!({"metadata": {
            "labels": {"lanyard.dev/attached": "scanner", "lanyard.dev/origin": "Attached"},
            "annotations": {ADOPT: "declared", "lanyard.dev/attached": id_of(self.stage(), "scanner")},
        }});
        self.patch(who, forged).await
    }

    /// What is gone meanwhile cannot be patched.
    async fn patch(&self, who: &Who, patch: serde_json::Value) -> Result<()> {
        let done = self.home(who).assignments().patch(&who.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match done {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()).with_context(|| format!("the patch of {who}")),
        }
    }

    async fn lie(&self, who: &Who) -> Result<()> {
        let id = id_of(self.stage(), "scanner");
        let lies = json!({"status": {
            "observedGeneration": 4711,
            "conditions": [],
            "userAssigned": [{"resourceId": id, "state": "Present", "origin": "Attached"}],
            "unmanaged": {"count": 77},
        }});
        let assignments = self.home(who).assignments();
        match assignments.patch_status(&who.name, &PatchParams::default(), &Patch::Merge(lies)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()).with_context(|| format!("the lie about {who}")),
        }
    }

    /// Deletes the `IdentityTarget`, and waits until that is honoured.
    async fn forget(&mut self, alone: bool) -> Result<()> {
        let (targets, name) = (self.stage().targets(), target_name(&self.machine.id().parse()?));
        let Some(old) = targets.get_opt(&name).await? else { return Ok(()) };
        let began = now();
        targets.delete(&name, &DeleteParams::default()).await?;
        let is_gone = async || {
            let now = targets.get_opt(&name).await?;
            Ok(now.is_none_or(|now| now.metadata.uid != old.metadata.uid))
        };
        ensure!(self.comes(is_gone).await?, "the IdentityTarget is deleted by hand, and does not go");
        self.log.entries.push(Entry::Forgotten { alone, at: Span { began, done: now() } });
        Ok(())
    }

    /// Annotates the `IdentityTarget`, and waits until that is honoured.
    async fn adopt(&mut self, alone: bool) -> Result<()> {
        let (targets, name) = (self.stage().targets(), target_name(&self.machine.id().parse()?));
        if targets.get_opt(&name).await?.is_none() {
            return Ok(());
        }
        let began = now();
        self.stage().annotate_target(&self.machine, ADOPT, "declared").await?;
        let is_done = async || {
            let annotations = targets.get_opt(&name).await?.and_then(|it| it.metadata.annotations);
            Ok(annotations.is_none_or(|all| !all.contains_key(ADOPT)))
        };
        let honoured = self.comes(is_done).await?;
        self.log.entries.push(Entry::Adopted { alone, honoured, at: Span { began, done: now() } });
        Ok(())
    }

    /// Whether it comes about before a person gives up waiting. A write without an answer, and an operation that goes
    /// on, hold it up: they are brought to an end.
    async fn comes(&self, is_so: impl AsyncFn() -> Result<bool>) -> Result<bool> {
        let (began, mut resolved) = (Instant::now(), Instant::now());
        while !is_so().await? {
            if began.elapsed() > PATIENCE {
                return Ok(false);
            }
            if resolved.elapsed() > UNRESOLVED {
                resolved = Instant::now();
                self.resolve();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(true)
    }

    /// Nothing that was sent can arrive any more, and no operation runs.
    pub fn resolve(&self) {
        self.stage().arm.finish_operations();
        self.machine.bump_etag();
    }

    /// Has the machine looked at now, by whatever there is to ask by.
    pub async fn ask(&self) -> Result<()> {
        let stamp = now().to_string();
        let living = self.living();
        if let Some(who) = living.first() {
            return self.patch(who, json!({"metadata": {"annotations": {RECONCILE_AT: stamp}}})).await;
        }
        let targets = self.stage().targets();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {RECONCILE_AT: stamp}}}));
        match targets.patch(&target_name(&self.machine.id().parse()?), &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// Everybody who has declared something and not left.
    pub fn living(&self) -> Vec<Who> {
        let left =
            |who: &Who| self.log.entries.iter().any(|it| matches!(it, Entry::Left { who: other, .. } if other == who));
        self.everybody().into_iter().filter(|who| !left(who)).collect()
    }

    pub fn everybody(&self) -> Vec<Who> {
        let mut all: Vec<Who> = Vec::new();
        for entry in &self.log.entries {
            if let Entry::Said { who, .. } = entry
                && !all.contains(who)
            {
                all.push(who.clone());
            }
        }
        all
    }
}

impl Stage<'_> {
    fn builder(&self, track: &Track) -> arm_simulator::MachineBuilder {
        match track.kind {
            Kind::Vm => self.vm(&track.name),
            Kind::Uniform => self.scale_set(&track.name),
            Kind::Flexible => self.scale_set(&track.name).flexible(),
            Kind::Aks => self.arm.vm(&self.subscription, AKS_GROUP, &track.name),
        }
    }

    fn arm_id(&self, track: &Track) -> String {
        let (group, kind) = match track.kind {
            Kind::Vm => (GROUP, "virtualMachines"),
            Kind::Uniform | Kind::Flexible => (GROUP, "virtualMachineScaleSets"),
            Kind::Aks => (AKS_GROUP, "virtualMachines"),
        };
        let subscription = &self.subscription;
        format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/{kind}/{}",
            track.name
        )
    }
}
