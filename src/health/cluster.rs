//! What the controller needs of the Kubernetes API server: that it answers, that it knows our kinds, that we may list them.
use crate::api::{IdentityAssignment, IdentityRecord, IdentityTarget, UserAssignedIdentity};
use kube::Client;
use kube::api::{Api, ListParams};
use std::time::Duration;

/// Longer than an API server takes to say what it lacks.
pub const FIRST_WORD: Duration = Duration::from_secs(20);

/// What is wrong, for people.
#[derive(Debug, thiserror::Error)]
pub enum ClusterTrouble {
    #[error("the Kubernetes API server did not answer within {} s", FIRST_WORD.as_secs())]
    NoAnswer,
    #[error("the CRD of {what} is not installed: kubectl apply -f crds/")]
    NotInstalled { what: &'static str },
    #[error("no permission to list {what}: apply deploy/base, which has the roles ({message})")]
    Forbidden { what: &'static str, message: String },
    #[error("the Kubernetes API server cannot be asked for {what}")]
    Unreachable { what: &'static str, source: Box<kube::Error> },
}

/// All kinds can be listed.
///
/// # Errors
/// The first thing that is missing.
pub async fn look(client: &Client) -> Result<(), ClusterTrouble> {
    let few = ListParams::default().limit(1);
    let assignments: Api<IdentityAssignment> = Api::all(client.clone());
    let targets: Api<IdentityTarget> = Api::all(client.clone());
    let identities: Api<UserAssignedIdentity> = Api::all(client.clone());
    let records: Api<IdentityRecord> = Api::all(client.clone());
    listable("identityassignments", assignments.list_metadata(&few)).await?;
    listable("identitytargets", targets.list_metadata(&few)).await?;
    listable("userassignedidentities", identities.list_metadata(&few)).await?;
    listable("identityrecords", records.list_metadata(&few)).await
}

async fn listable<T>(
    what: &'static str,
    list: impl Future<Output = Result<T, kube::Error>>,
) -> Result<(), ClusterTrouble> {
    match tokio::time::timeout(FIRST_WORD, list).await {
        Err(_) => Err(ClusterTrouble::NoAnswer),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(ClusterTrouble::NotInstalled { what }),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 || status.code == 401 => {
            Err(ClusterTrouble::Forbidden { what, message: status.message.clone() })
        }
        Ok(Err(error)) => Err(ClusterTrouble::Unreachable { what, source: Box::new(error) }),
    }
}
