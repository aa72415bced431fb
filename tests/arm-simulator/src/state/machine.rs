//! A VM or a scale set: its model, the model before, and its history.
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::history::Change;
use super::identity_block::{Entry, IdentityBlock};
use crate::id::ResourceId;

pub type Tags = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orchestration {
    #[default]
    Uniform,
    Flexible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provisioning {
    Creating,
    Updating,
    Deleting,
    Succeeded,
    Failed,
    Canceled,
}

/// Models of the past that are kept of each machine: more than a test of old reads makes.
const REMEMBERED: usize = 16;

/// What a GET shows, and what a stale GET goes on showing.
#[derive(Clone, Debug)]
pub struct Model {
    pub etag: u64,
    pub identity: IdentityBlock,
    pub tags: Tags,
    pub provisioning: Provisioning,
    /// Properties that the simulator keeps without understanding them.
    pub properties: Map<String, Value>,
}

impl Model {
    pub fn etag_text(&self) -> String {
        format!("\"{}\"", self.etag)
    }
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub id: ResourceId,
    pub location: String,
    pub orchestration: Orchestration,
    /// `vmId` or `uniqueId`: no machine made anew keeps it.
    pub unique_id: String,
    pub model: Model,
    /// The model before the last accepted write, for a read that is one state behind.
    pub before: Option<Box<Model>>,
    /// Models of the past and when each was replaced, the oldest first, for reads that are older still.
    past: VecDeque<(Instant, Box<Model>)>,
    /// None: it has always been there.
    pub born: Option<Instant>,
    pub died: Option<Instant>,
    /// In which watch for sightings a read last showed it, and when it first did in that one.
    pub sighted: Option<(u64, jiff::Timestamp)>,
    /// The operation that runs, if one does.
    pub operation: Option<String>,
    pub history: Vec<Change>,
}

impl Machine {
    pub fn new(id: ResourceId, location: &str) -> Self {
        Self {
            id,
            location: location.to_owned(),
            orchestration: Orchestration::default(),
            unique_id: Uuid::new_v4().to_string(),
            model: Model {
                etag: 1,
                identity: IdentityBlock::default(),
                tags: Tags::new(),
                provisioning: Provisioning::Succeeded,
                properties: Map::new(),
            },
            before: None,
            past: VecDeque::new(),
            born: None,
            died: None,
            sighted: None,
            operation: None,
            history: Vec::new(),
        }
    }

    pub const fn is_deleting(&self) -> bool {
        matches!(self.model.provisioning, Provisioning::Deleting)
    }

    pub fn is_flexible(&self) -> bool {
        self.id.kind.is_scale_set() && self.orchestration == Orchestration::Flexible
    }

    /// Moves the `ETag` and keeps the old model for stale reads.
    pub fn advance(&mut self) {
        self.remember();
        self.before = Some(Box::new(self.model.clone()));
        self.model.etag += 1;
    }

    /// Keeps the model as it is, since it is about to change.
    pub fn remember(&mut self) {
        self.past.push_back((Instant::now(), Box::new(self.model.clone())));
        if self.past.len() > REMEMBERED {
            self.past.pop_front();
        }
    }

    /// The model as it was then, as far back as is remembered.
    pub fn model_at(&self, then: Instant) -> &Model {
        let replaced_later = self.past.iter().find(|(replaced, _)| *replaced > then);
        replaced_later.map_or(&self.model, |(_, model)| model)
    }

    pub fn existed_at(&self, then: Instant) -> bool {
        self.born.is_none_or(|born| born <= then) && self.died.is_none_or(|died| died > then)
    }
}

/// How an api-version wants a machine shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub tenant: &'a str,
    pub listed_ids: bool,
    pub with_etag: bool,
}

/// The JSON of a machine. `blank` says which identities read `{}`.
pub fn rendered(machine: &Machine, model: &Model, view: View<'_>, blank: impl Fn(&Entry) -> bool) -> Value {
    let kind = machine.id.kind;
    let mut out = json!({
        "name": machine.id.name,
        "id": machine.id.to_string(),
        "type": kind.type_name(),
        "location": machine.location,
        "tags": model.tags,
    });
    if let Some(identity) = model.identity.rendered(view.tenant, view.listed_ids, blank) {
        out["identity"] = identity;
    }
    if kind.is_scale_set() {
        out["sku"] = json!({"name": "Standard_D2s_v5", "tier": "Standard", "capacity": 1});
    }
    if view.with_etag {
        out["etag"] = json!(model.etag_text());
    }
    let mut properties = model.properties.clone();
    properties.insert("provisioningState".to_owned(), json!(model.provisioning));
    if kind.is_scale_set() {
        properties.insert("orchestrationMode".to_owned(), json!(machine.orchestration));
        properties.insert("uniqueId".to_owned(), json!(machine.unique_id));
    } else {
        properties.insert("vmId".to_owned(), json!(machine.unique_id));
    }
    out["properties"] = Value::Object(properties);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Kind;

    #[test]
    fn an_old_read_lies_between_two_changes() {
        let id = ResourceId::new("s", "g", Kind::VirtualMachine, "web");
        let mut machine = Machine::new(id, "westeurope");
        let begun = Instant::now();
        machine.advance();
        let between = Instant::now();
        machine.advance();
        let etags = [begun, between, Instant::now()].map(|then| machine.model_at(then).etag);
        assert_eq!(etags, [1, 2, 3]);
        machine.born = Some(between);
        assert_eq!([begun, between].map(|then| machine.existed_at(then)), [false, true]);
    }
}
