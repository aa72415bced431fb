//! Lists of machines and of identities, page by page.
use super::client::Arm;
use super::errors::ArmError;
use super::operation::at_home;
use super::send::Call;
use super::wire;
use lanyard_domain::quota::Key;
use lanyard_domain::sweep::{Kind, Scope};
use lanyard_domain::{IdentityId, Live, Principal, TargetId};
use serde_json::Value;
use std::fmt;
use url::Url;

/// A resource as a list shows it: a hint, which may be minutes old.
#[derive(Clone, Debug)]
pub enum Listed {
    Machine(TargetId, Box<Live>),
    Identity(IdentityId, Principal),
}

/// Where a list goes on. It is sent as it came, and never printed: it may be signed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NextPage(Url);

impl fmt::Debug for NextPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextPage")
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    pub entries: Vec<Listed>,
    /// Entries that could not be read: each resource of them is read by itself.
    pub unreadable: usize,
    /// The next page; [`ArmError::ForeignHost`] if it is not the endpoint's.
    pub next: Option<Result<NextPage, ArmError>>,
}

impl Arm {
    /// A page of a list: the first, or the one that the page before named.
    ///
    /// # Errors
    ///
    /// Whatever ARM says instead.
    pub async fn list(&self, scope: &Scope, page: Option<&NextPage>) -> Result<Page, ArmError> {
        let asked = scope.to_string();
        let url = match page {
            Some(NextPage(url)) => url.clone(),
            None => self.list_url(scope).await?,
        };
        let answer = self.send(&Call::get(&asked, url, keys(scope)), None).await?;
        let (entries, next) = wire::page(&answer.body).map_err(|why| ArmError::unreadable(&asked, why))?;
        let next = next.map(|link| at_home(&self.inner.settings.endpoint, &link).map(NextPage));
        let count = entries.len();
        let entries: Vec<Listed> = entries.iter().filter_map(|entry| listed(scope.kind, entry)).collect();
        Ok(Page { unreadable: count - entries.len(), entries, next })
    }

    async fn list_url(&self, scope: &Scope) -> Result<Url, ArmError> {
        let subscription = ["subscriptions", &*scope.subscription];
        let group: Vec<&str> = scope.group.iter().flat_map(|group| ["resourceGroups", &**group]).collect();
        let (provider, kind, api_version) = match scope.kind {
            Kind::Machines(kind) => {
                ("Microsoft.Compute", kind.arm_type(), self.compute_version(&scope.subscription).await?)
            }
            Kind::Identities => {
                ("Microsoft.ManagedIdentity", "userAssignedIdentities", self.inner.settings.versions.identities)
            }
        };
        Ok(self.url(&[&subscription, group.as_slice(), &["providers", provider, kind]].concat(), api_version))
    }
}

fn keys(scope: &Scope) -> Vec<Key> {
    match scope.kind {
        Kind::Machines(kind) => Key::list(&scope.subscription, kind),
        Kind::Identities => Key::reads(&scope.subscription),
    }
}

/// An entry of a list, if it says what it is about and all of it can be read.
fn listed(kind: Kind, entry: &Value) -> Option<Listed> {
    let document = entry.as_object()?;
    let id = wire::word(document.get("id"))?;
    match kind {
        Kind::Machines(_) => {
            let target: TargetId = id.parse().ok()?;
            let live = wire::machine_of(&target, document, None).ok()?;
            Some(Listed::Machine(target, Box::new(live)))
        }
        Kind::Identities => Some(Listed::Identity(id.parse().ok()?, wire::principal_of(document))),
    }
}
