//! VMs and scale sets: GET, PATCH, PUT, DELETE, with the compute provider's checks in its order.
use std::borrow::Cow;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Answer;
use super::errors::{
    Refusal, failed_identity_operation, group_not_found, invalid_content, linked_authorization_failed,
    linked_elsewhere, marked_for_deletion, not_found, precondition_failed,
};
use super::gateway::{Admitted, ApiVersion};
use super::identities::{body_of, tags_of};
use crate::id::{Kind, ResourceId, fold};
use crate::settings::SecondWrite;
use crate::state::World;
use crate::state::history::Actor;
use crate::state::identity_block::{IdentityBlock, IdentityRequest, Invalid};
use crate::state::machine::{Machine, Model, Orchestration, Provisioning, View, rendered};
use crate::state::machines::as_of;
use crate::state::operations::Work;
use crate::state::restrictions::{is_elsewhere, may_assign};
use crate::throttle::Compute;

type Headers = Vec<(Cow<'static, str>, String)>;

/// ARM takes no more in one request.
const MOST_IDENTITIES: usize = 150;

impl World {
    pub fn resource(
        &mut self,
        id: &ResourceId,
        request: &Admitted<'_>,
        headers: &mut Headers,
    ) -> Result<Answer, Refusal> {
        self.allowed(id, request)?;
        if id.kind == Kind::UserAssignedIdentity {
            return self.user_identity(id, request);
        }
        match request.call.method.as_str() {
            "GET" => self.get(id, request, headers),
            "PATCH" => self.patch(id, request, headers),
            "PUT" => self.put(id, request, headers),
            "DELETE" => self.delete(id, request, headers),
            _ => Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed here.")),
        }
    }

    fn existing(&self, id: &ResourceId, request: &Admitted<'_>) -> Result<&Machine, Refusal> {
        if !self.groups.contains_key(&id.group_key()) {
            return Err(group_not_found(&id.group));
        }
        let key = id.key();
        let here = self.machines.get(&key);
        let machine = match request.ways.then {
            None => here,
            Some(then) => as_of(here, &self.buried, &key, then),
        };
        machine.filter(|_| !request.ways.hidden).ok_or_else(|| not_found(id))
    }

    fn get(&mut self, id: &ResourceId, request: &Admitted<'_>, headers: &mut Headers) -> Result<Answer, Refusal> {
        self.existing(id, request)?;
        self.compute(Compute::Get(id.kind, &id.key()), headers)?;
        let machine = self.existing(id, request)?;
        let mut answer = self.told(200, machine, request.ways.model_of(machine), &request.api);
        self.sight([id.key()]);
        // Recorded: a read with `$expand` has the ETag in the body alone.
        if request.call.parameter("$expand").is_some() {
            answer.headers.retain(|(name, _)| name != "ETag");
        }
        Ok(answer)
    }

    fn patch(&mut self, id: &ResourceId, request: &Admitted<'_>, headers: &mut Headers) -> Result<Answer, Refusal> {
        let body = body_of(request)?;
        let machine = self.existing(id, request)?;
        let after = self.identity_after(id, &machine.model.identity, &body, request)?;
        self.compute(Compute::Update(id.kind, &id.key()), headers)?;
        let machine = self.existing(id, request)?;
        self.may_write(machine, request)?;
        if body.as_object().is_some_and(Map::is_empty) {
            return Ok(self.told(200, machine, &machine.model, &request.api));
        }
        refuse_on_flexible(machine.is_flexible(), &after)?;
        self.written(id, &body, after, request)
    }

    fn put(&mut self, id: &ResourceId, request: &Admitted<'_>, headers: &mut Headers) -> Result<Answer, Refusal> {
        let body = body_of(request)?;
        if !self.groups.contains_key(&id.group_key()) {
            return Err(group_not_found(&id.group));
        }
        let nothing = IdentityBlock::default();
        let existing = self.machines.get(&id.key());
        let before = existing.map_or(&nothing, |machine| &machine.model.identity);
        let after = self.identity_after(id, before, &body, request)?;
        self.compute(Compute::Create(id.kind, &id.key()), headers)?;
        if let Some(machine) = self.machines.get(&id.key()) {
            self.may_write(machine, request)?;
            refuse_on_flexible(machine.is_flexible(), &after)?;
        } else {
            let machine = created(id, &body)?;
            refuse_on_flexible(machine.is_flexible(), &after)?;
            self.machines.insert(id.key(), machine);
        }
        self.written(id, &body, after, request)
    }

    fn delete(&mut self, id: &ResourceId, request: &Admitted<'_>, headers: &mut Headers) -> Result<Answer, Refusal> {
        let Some(machine) = self.machines.get(&id.key()) else {
            return Ok(Answer::empty(204));
        };
        self.precondition(machine, request)?;
        let after = machine.model.identity.clone();
        self.compute(Compute::Delete(id.kind, &id.key()), headers)?;
        let by = Actor::Request(request.seq);
        let fate = &request.ways.fate;
        let operation = self.accept(&id.key(), after, by, Work::Delete, &request.api.0, fate);
        let url = operation.and_then(|operation| self.operation_url(&operation, request));
        let monitor = url.as_ref().map(|url| format!("{url}&monitor=true"));
        Ok(Answer::empty(202)
            .maybe_header("Azure-AsyncOperation", url)
            .maybe_header("Location", monitor)
            .maybe_header("Retry-After", self.settings.write_retry_after_secs))
    }

    /// Accepts a write and tells of it.
    fn written(
        &mut self,
        id: &ResourceId,
        body: &Value,
        after: IdentityBlock,
        request: &Admitted<'_>,
    ) -> Result<Answer, Refusal> {
        let key = id.key();
        let by = Actor::Request(request.seq);
        let operation = self.accept(&key, after, by, Work::Write, &request.api.0, &request.ways.fate);
        if let Some(machine) = self.machines.get_mut(&key) {
            absorb(&mut machine.model, body);
        }
        let machine = self.existing(id, request)?;
        let creating = machine.model.provisioning == Provisioning::Creating;
        let patient = creating || id.kind.is_scale_set();
        let url = operation.and_then(|operation| self.operation_url(&operation, request));
        let pause = self.settings.write_retry_after_secs.filter(|_| patient);
        Ok(self
            .told(if creating { 201 } else { 200 }, machine, &machine.model, &request.api)
            .maybe_header("Azure-AsyncOperation", url)
            .header("Azure-AsyncNotification", "Enabled")
            .maybe_header("Retry-After", pause))
    }

    fn operation_url(&self, operation: &str, request: &Admitted<'_>) -> Option<String> {
        let operation = self.operations.get(operation)?;
        let location = &self.machines.get(&operation.machine)?.location;
        let origin = request.ways.links_to.clone().unwrap_or_else(|| request.call.origin());
        Some(format!(
            "{origin}/subscriptions/{}/providers/Microsoft.Compute/locations/{location}/operations/{}?{}",
            operation.subscription, operation.id, operation.query
        ))
    }

    /// Whether a write may begin: not doomed, as expected, and alone.
    fn may_write(&self, machine: &Machine, request: &Admitted<'_>) -> Result<(), Refusal> {
        if machine.is_deleting() {
            return Err(marked_for_deletion(machine.id.kind, &machine.id.name));
        }
        self.precondition(machine, request)?;
        if machine.operation.is_none() {
            return Ok(());
        }
        match self.settings.second_write {
            SecondWrite::Preempt => Ok(()),
            SecondWrite::Conflict => Err(Refusal::new(
                409,
                "Conflict",
                "The request failed due to conflict with a concurrent request. To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests.",
            )),
            SecondWrite::AnotherOperationInProgress => Err(Refusal::new(
                409,
                "AnotherOperationInProgress",
                format!(
                    "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri of operation {}.",
                    machine.operation.as_deref().unwrap_or_default()
                ),
            )),
            SecondWrite::ConflictingConcurrentWriteNotAllowed => Err(Refusal::new(
                409,
                "ConflictingConcurrentWriteNotAllowed",
                "The operation was interrupted by a conflicting concurrent write on the same entity. Please retry later.",
            )),
        }
    }

    fn precondition(&self, machine: &Machine, request: &Admitted<'_>) -> Result<(), Refusal> {
        let current = machine.model.etag_text();
        let honoured = self.settings.honour_if_match && request.api.honours_if_match();
        match request.call.header("if-match") {
            Some(given) if honoured && given != "*" && given != current => Err(precondition_failed(given, &current)),
            Some(_) | None => Ok(()),
        }
    }

    /// The identity block that the body asks for, or why it cannot be had.
    fn identity_after(
        &self,
        id: &ResourceId,
        before: &IdentityBlock,
        body: &Value,
        request: &Admitted<'_>,
    ) -> Result<IdentityBlock, Refusal> {
        let Some(identity) = body.get("identity").filter(|identity| !identity.is_null()) else {
            return Ok(before.clone());
        };
        let put = request.call.method == hyper::Method::PUT;
        let asked = IdentityRequest::parse(identity, request.api.lists_ids(), put).map_err(|why| invalid(&why))?;
        let after = before.merged(&asked, self.settings.all_null).map_err(|why| invalid(&why))?;
        self.may_assign_all(id, &asked, request)?;
        let flexible = self.machines.get(&id.key()).is_some_and(Machine::is_flexible);
        let mixed = !asked.asked().is_empty() && !asked.detached().is_empty();
        if flexible && mixed && self.settings.flexible_refuses_mixed_edits {
            return Err(Refusal::new(
                400,
                "InvalidParameter",
                "Additions and removals of identities cannot be mixed in one request on a Flexible scale set.",
            ));
        }
        Ok(after)
    }

    /// The compute provider hears of an identity that was just made a while later.
    fn is_to_be_found(&self, key: &str) -> bool {
        let Some(identity) = self.identities.get(key) else { return false };
        let arrives = std::time::Duration::from_millis(self.settings.identity_arrives_after_millis);
        identity.made.is_none_or(|made| made.elapsed() >= arrives)
    }

    fn may_assign_all(&self, id: &ResourceId, asked: &IdentityRequest, request: &Admitted<'_>) -> Result<(), Refusal> {
        let mut named = asked.asked();
        if self.settings.null_keys_are_checked {
            named.extend(asked.detached());
        }
        let refused: Vec<String> =
            named.iter().filter(|named| !may_assign(&self.restrictions, &fold(named))).cloned().collect();
        if refused.iter().any(|refused| is_elsewhere(&self.restrictions, &fold(refused))) {
            return Err(linked_elsewhere(&request.token.client, id));
        }
        if !refused.is_empty() {
            return Err(linked_authorization_failed(&request.token.client, id, &refused));
        }
        if named.len() > MOST_IDENTITIES {
            let inner = format!(
                "User Assigned Identities Number '{}' Assign exceed limit '{MOST_IDENTITIES}' in one request.",
                named.len()
            );
            return Err(failed_identity_operation(&id.to_string(), &inner));
        }
        let missing = named.iter().find(|named| !self.is_to_be_found(&fold(named)));
        match missing {
            Some(missing) => {
                let inner = format!("Resource '{}' was not found.", fold(missing));
                Err(failed_identity_operation(&id.to_string(), &inner))
            }
            None => Ok(()),
        }
    }

    /// Notes that a read has shown these machines.
    pub fn sight(&mut self, keys: impl IntoIterator<Item = String>) {
        let (watch, now) = (self.watch, Timestamp::now());
        for key in keys {
            if let Some(machine) = self.machines.get_mut(&key)
                && machine.sighted.is_none_or(|(last, _)| last < watch)
            {
                machine.sighted = Some((watch, now));
            }
        }
    }

    /// A machine as this api-version shows it.
    pub fn shown(&self, machine: &Machine, model: &Model, api: &ApiVersion) -> Value {
        let view = View {
            tenant: self.tenant_of(&machine.id.subscription),
            listed_ids: api.lists_ids(),
            with_etag: api.shows_etag(),
        };
        let all = self.settings.vmss_blanks_all_while_updating
            && machine.id.kind.is_scale_set()
            && machine.operation.is_some();
        rendered(machine, model, view, |entry| all || self.reads_blank(entry))
    }

    fn told(&self, status: u16, machine: &Machine, model: &Model, api: &ApiVersion) -> Answer {
        let etag = api.shows_etag().then(|| model.etag_text());
        Answer::json(status, &self.shown(machine, model, api)).maybe_header("ETag", etag)
    }
}

fn created(id: &ResourceId, body: &Value) -> Result<Machine, Refusal> {
    let location = body.get("location").and_then(Value::as_str);
    let location = location.ok_or_else(|| {
        Refusal::new(400, "LocationRequired", "The location property is required for this definition.")
    })?;
    let mut machine = Machine::new(id.clone(), location);
    machine.born = Some(Instant::now());
    machine.model.provisioning = Provisioning::Creating;
    let mode = body.pointer("/properties/orchestrationMode").and_then(Value::as_str);
    if mode.is_some_and(|mode| mode.eq_ignore_ascii_case("Flexible")) {
        machine.orchestration = Orchestration::Flexible;
    }
    Ok(machine)
}

/// Takes over tags and properties; what the service itself decides stays its own.
fn absorb(model: &mut Model, body: &Value) {
    if body.get("tags").is_some_and(Value::is_object) {
        model.tags = tags_of(body);
    }
    let own = ["provisioningState", "vmId", "uniqueId", "orchestrationMode"];
    let properties = body.get("properties").and_then(Value::as_object);
    for (key, value) in properties.into_iter().flatten() {
        if !own.contains(&key.as_str()) {
            model.properties.insert(key.clone(), value.clone());
        }
    }
}

fn refuse_on_flexible(flexible: bool, after: &IdentityBlock) -> Result<(), Refusal> {
    if flexible && after.system.is_some() {
        return Err(Refusal::new(
            400,
            "InvalidParameter",
            "System assigned identity is not supported for a Virtual Machine Scale Set with Flexible orchestration mode.",
        ));
    }
    Ok(())
}

fn invalid(why: &Invalid) -> Refusal {
    match why {
        Invalid::Content(why) => invalid_content(why),
        Invalid::MissingIdentityIds => Refusal::new(
            400,
            "MissingIdentityIds",
            "The identity ids must not be null or empty for 'UserAssigned' identity type.",
        ),
        Invalid::IdentityValues(id) => Refusal::new(
            400,
            "InvalidIdentityValues",
            format!(
                "Invalid value for the identities '{id}'. The 'UserAssignedIdentities' property keys should only be empty json objects, null or the resource exisiting property."
            ),
        ),
        Invalid::IdsWithoutUserAssigned(kind) => Refusal::new(
            400,
            "InvalidParameter",
            format!("ResourceIdentity identityIds should not be provided if the type is \"{kind}\"."),
        ),
    }
}
