//! User-assigned identities as resources: read whole, made, tagged and deleted.
//!
//! All of it is synchronous, and without an `ETag` (documented): what guards these writes is what is read before them,
//! and the mark that a PUT carries among its tags.
use super::client::Arm;
use super::errors::ArmError;
use super::send::{Answer, Call};
use super::wire;
use lanyard_domain::IdentityId;
use lanyard_domain::identity::{AnswerToPut, Known, Permit, Tags};
use lanyard_domain::quota::Key;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use url::Url;

/// A write that could not leave by then is given up: it must follow what was read closely.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// How ARM answered a write, with the id by which its activity log knows it.
#[derive(Clone, Debug)]
pub struct Written<T> {
    pub answer: T,
    pub correlation_id: Option<String>,
}

impl Arm {
    /// The identity as it is now.
    ///
    /// # Errors
    /// Whatever ARM says instead; [`ArmError::NotFound`] says that it, or its group, is not there.
    pub async fn user_identity(&self, id: &IdentityId) -> Result<Known, ArmError> {
        let url = self.user_identity_url(id);
        let answer = self.send(&Call::get(id.as_str(), url, Key::reads(id.subscription())), None).await;
        known(id, &answer.map_err(|error| about_itself(id, error))?)
    }

    /// Makes the identity, once. Where one is there already, ARM overwrites its tags: the answer says which it was.
    ///
    /// # Errors
    /// [`ArmError::refused`] says whether it certainly did not happen.
    pub async fn put_identity(
        &self,
        id: &IdentityId,
        location: &str,
        tags: &Tags,
        client_request_id: &str,
    ) -> Result<Written<(AnswerToPut, Known)>, ArmError> {
        let body = json!({ "location": location, "tags": object(tags) }).to_string();
        let answer = self.write(id, Method::PUT, Some(&body), client_request_id).await?;
        let known = known(id, &answer)?;
        let was = if answer.status == 201 { AnswerToPut::Made } else { AnswerToPut::WasThere };
        Ok(Written { answer: (was, known), correlation_id: answer.correlation_id })
    }

    /// Sets the identity's tags as a whole: ARM replaces them.
    ///
    /// # Errors
    /// Whatever ARM says instead.
    pub async fn tag_identity(
        &self,
        id: &IdentityId,
        tags: &Tags,
        client_request_id: &str,
    ) -> Result<Written<Known>, ArmError> {
        let body = json!({ "tags": object(tags) }).to_string();
        let answer = self.write(id, Method::PATCH, Some(&body), client_request_id).await?;
        Ok(Written { answer: known(id, &answer)?, correlation_id: answer.correlation_id })
    }

    /// Deletes the identity that the permit is for. One that is not there any more is deleted.
    ///
    /// # Errors
    /// Whatever ARM says instead.
    pub async fn delete_identity(&self, permit: Permit, client_request_id: &str) -> Result<Written<()>, ArmError> {
        match self.write(permit.id(), Method::DELETE, None, client_request_id).await {
            Ok(answer) => Ok(Written { answer: (), correlation_id: answer.correlation_id }),
            Err(ArmError::NotFound { told, .. }) => {
                Ok(Written { answer: (), correlation_id: told.correlation_id.clone() })
            }
            Err(error) => Err(error),
        }
    }

    /// The region that the identity's resource group is in.
    ///
    /// # Errors
    /// Whatever ARM says instead of the group.
    pub async fn group_location(&self, id: &IdentityId) -> Result<Option<String>, ArmError> {
        let segments = ["subscriptions", id.subscription(), "resourceGroups", id.group()];
        let url = self.url(&segments, self.inner.settings.versions.groups);
        let answer = self.send(&Call::get(id.as_str(), url, Key::reads(id.subscription())), None).await?;
        let group = wire::document(&answer.body).map_err(|why| ArmError::unreadable(id.as_str(), why))?;
        Ok(wire::word(group.get("location")))
    }

    async fn write(
        &self,
        id: &IdentityId,
        method: Method,
        body: Option<&str>,
        client_request_id: &str,
    ) -> Result<Answer, ArmError> {
        let keys =
            if method == Method::DELETE { Key::deletes(id.subscription()) } else { Key::writes(id.subscription()) };
        let call = Call {
            method,
            url: self.user_identity_url(id),
            asked: id.as_str(),
            keys,
            body,
            condition: None,
            request_id: client_request_id.into(),
            leaves_within: Some(LEAVES_WITHIN),
        };
        self.send(&call, None).await.map_err(|error| about_itself(id, error))
    }

    fn user_identity_url(&self, id: &IdentityId) -> Url {
        let segments: Vec<&str> = id.as_str().split('/').skip(1).collect();
        self.url(&segments, self.inner.settings.versions.identities)
    }
}

fn object(tags: &Tags) -> serde_json::Map<String, serde_json::Value> {
    tags.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn known(id: &IdentityId, answer: &Answer) -> Result<Known, ArmError> {
    wire::user_identity(id, &answer.body).map_err(|why| ArmError::unreadable(id.as_str(), why))
}

/// To who asks about a machine, an identity that is missing is another matter; here it is what was asked for.
fn about_itself(id: &IdentityId, error: ArmError) -> ArmError {
    match error {
        ArmError::IdentityNotFound { ids, told } if ids.is_empty() || ids.contains(id) => {
            ArmError::NotFound { missing: super::errors::Missing::Resource, told }
        }
        other => other,
    }
}
