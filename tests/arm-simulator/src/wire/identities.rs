//! User-assigned identities as resources: no operation, no `ETag`.
use std::time::Instant;

use serde_json::Value;

use super::Answer;
use super::errors::{Refusal, group_not_found, invalid_content, not_found};
use super::gateway::Admitted;
use crate::id::ResourceId;
use crate::state::machine::Tags;
use crate::state::{UserIdentity, World};

impl World {
    pub fn user_identity(&mut self, id: &ResourceId, request: &Admitted<'_>) -> Result<Answer, Refusal> {
        match request.call.method.as_str() {
            "GET" => self.get_identity(id, request),
            "PUT" => self.put_identity(id, request),
            "PATCH" => self.patch_identity(id, request),
            "DELETE" => Ok(self.delete_identity(id)),
            _ => Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed here.")),
        }
    }

    fn get_identity(&self, id: &ResourceId, request: &Admitted<'_>) -> Result<Answer, Refusal> {
        if !self.groups.contains_key(&id.group_key()) {
            return Err(group_not_found(&id.group));
        }
        let identity = self.identities.get(&id.key()).filter(|_| !request.ways.hidden);
        let identity = identity.ok_or_else(|| not_found(id))?;
        Ok(Answer::json(200, &identity.rendered(self.tenant_of(&id.subscription))))
    }

    fn put_identity(&mut self, id: &ResourceId, request: &Admitted<'_>) -> Result<Answer, Refusal> {
        let body = body_of(request)?;
        if !self.groups.contains_key(&id.group_key()) {
            return Err(group_not_found(&id.group));
        }
        if !is_name(&id.name) {
            return Err(Refusal::new(
                400,
                "BadRequest",
                format!(
                    "Invalid resource name: '{}'. Valid identity names should start with a letter or number, with a length between 3 and 128 characters, consisting of alphanumerics, hyphens and underscores.",
                    id.name
                ),
            ));
        }
        let Some(location) = body.get("location").and_then(Value::as_str) else {
            return Err(Refusal::new(
                400,
                "LocationRequired",
                "The location property is required for this definition.",
            ));
        };
        let tags = few(tags_of(&body))?;
        if let Some(existing) =
            self.identities.get(&id.key()).filter(|existing| !same_place(&existing.location, location))
        {
            return Err(Refusal::new(
                409,
                "InvalidResourceLocation",
                format!(
                    "The resource '{}' already exists in location '{}' in resource group '{}'. A resource with the same name cannot be created in location '{location}'. Please select a new resource name.",
                    id.name, existing.location, id.group
                ),
            ));
        }
        let tenant = self.tenant_of(&id.subscription).to_owned();
        let place = format!("{id}").replacen("/resourceGroups/", "/resourcegroups/", 1);
        let (status, identity) = if let Some(existing) = self.identities.get_mut(&id.key()) {
            existing.tags = tags;
            (200, existing.rendered(&tenant))
        } else {
            let mut identity = UserIdentity::new(id.clone(), location, tags);
            identity.made = Some(Instant::now());
            let shown = identity.rendered(&tenant);
            self.identities.insert(id.key(), identity);
            (201, shown)
        };
        let location = (status == 201).then_some(place);
        Ok(Answer::json(status, &identity).maybe_header("Location", location))
    }

    fn patch_identity(&mut self, id: &ResourceId, request: &Admitted<'_>) -> Result<Answer, Refusal> {
        let body = body_of(request)?;
        let tenant = self.tenant_of(&id.subscription).to_owned();
        if !self.groups.contains_key(&id.group_key()) {
            return Err(group_not_found(&id.group));
        }
        let tags = few(tags_of(&body))?;
        let identity = self.identities.get_mut(&id.key()).ok_or_else(|| not_found(id))?;
        if body.get("tags").is_some() {
            identity.tags = tags;
        }
        Ok(Answer::json(200, &identity.rendered(&tenant)))
    }

    /// References to it stay where they are.
    fn delete_identity(&mut self, id: &ResourceId) -> Answer {
        let gone = self.identities.remove(&id.key());
        Answer::empty(if gone.is_some() { 200 } else { 204 })
    }
}

pub fn body_of(request: &Admitted<'_>) -> Result<Value, Refusal> {
    let body: Value = serde_json::from_slice(&request.call.body).map_err(|why| invalid_content(&why.to_string()))?;
    if body.is_object() { Ok(body) } else { Err(invalid_content("the body is not an object")) }
}

pub fn tags_of(body: &Value) -> Tags {
    let tags = body.get("tags").and_then(Value::as_object);
    tags.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// ARM keeps no more.
const MOST_TAGS: usize = 50;

fn few(tags: Tags) -> Result<Tags, Refusal> {
    if tags.len() <= MOST_TAGS {
        return Ok(tags);
    }
    Err(Refusal::new(
        400,
        "TooManyTags",
        format!("The number of tags '{}' exceeds the maximum allowed of '{MOST_TAGS}'.", tags.len()),
    ))
}

fn same_place(a: &str, b: &str) -> bool {
    let folded = |text: &str| text.replace(' ', "").to_lowercase();
    folded(a) == folded(b)
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric();
    (3..=128).contains(&name.len())
        && name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c == '-' || c == '_')
}
