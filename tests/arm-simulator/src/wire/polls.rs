//! Polls of operations, and the small reads: subscription and group.
use serde_json::json;

use super::Answer;
use super::errors::{Refusal, group_not_found};
use super::gateway::Admitted;
use crate::id::{fold, group_key};
use crate::state::World;
use crate::state::operations::Outcome;

impl World {
    pub fn poll(&self, id: &str, request: &Admitted<'_>) -> Result<Answer, Refusal> {
        let lost = || Refusal::new(404, "NotFound", "The entity was not found in this Azure location.");
        let operation = self.operations.get(id).filter(|operation| !operation.lost).ok_or_else(lost)?;
        // Signed: a URL put together anew, or with a parameter lost, is another one.
        let query = request.call.query.trim_end_matches("&monitor=true");
        if operation.query != query {
            return Err(lost());
        }
        let mut body = json!({"startTime": operation.started.to_string()});
        let status = match operation.ended {
            None => "InProgress",
            Some(ended) => {
                body["endTime"] = json!(ended.to_string());
                operation.outcome.name()
            }
        };
        body["status"] = json!(status);
        body["name"] = json!(operation.id);
        if operation.ended.is_some() {
            match &operation.outcome {
                Outcome::Succeeded => {}
                Outcome::Failed { code, message, .. } => {
                    body["error"] = json!({"code": code, "message": message});
                }
                Outcome::Canceled { .. } => {
                    body["error"] = json!({"code": "OperationCanceled", "message": "The operation was canceled."});
                }
            }
        }
        let again = self.settings.poll_retry_after_secs.filter(|_| operation.ended.is_none());
        Ok(Answer::json(200, &body).maybe_header("Retry-After", again))
    }

    pub fn get_subscription(&self, id: &str) -> Answer {
        let declared = self.subscriptions.get(&fold(id));
        let id = declared.map_or(id, |declared| declared.id.as_str());
        let tenant = self.tenant_of(id);
        let body = json!({
            "id": format!("/subscriptions/{id}"),
            "subscriptionId": id,
            "tenantId": tenant,
            "displayName": "simulated",
            "state": "Enabled",
        });
        Answer::json(200, &body)
    }

    pub fn get_group(&self, subscription: &str, name: &str) -> Result<Answer, Refusal> {
        let group = self.groups.get(&group_key(subscription, name)).ok_or_else(|| group_not_found(name))?;
        let mut body = json!({
            "id": format!("/subscriptions/{}/resourceGroups/{}", group.subscription, group.name),
            "name": group.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": group.location,
            "tags": group.tags,
            "properties": {"provisioningState": "Succeeded"},
        });
        if let Some(managed_by) = &group.managed_by {
            body["managedBy"] = json!(managed_by);
        }
        Ok(Answer::json(200, &body))
    }
}
