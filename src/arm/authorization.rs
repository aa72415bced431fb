//! What ARM tells of our own rights, and of locks.
use super::client::Arm;
use super::errors::ArmError;
use super::operation::at_home;
use super::send::Call;
use super::wire;
use lanyard_domain::grants::{Level, Lock, Permission};
use lanyard_domain::quota::Key;
use serde_json::Value;
use url::Url;

/// `Permissions - List For Resource Group` and `- List For Resource`.
const PERMISSIONS_API_VERSION: &str = "2022-04-01";

const LOCKS_API_VERSION: &str = "2016-09-01";

/// A list of either with more pages is broken.
const MOST_PAGES: usize = 1_000;

impl Arm {
    /// What the caller may do at a resource group or a resource, by what is assigned there and above.
    ///
    /// # Errors
    ///
    /// Whatever ARM says instead.
    pub async fn permissions(&self, scope: &str) -> Result<Vec<Permission>, ArmError> {
        let entries = self.entries(scope, "permissions", PERMISSIONS_API_VERSION).await?;
        let texts = |value: Option<&Value>| {
            let texts = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let permission = |entry: &Value| Permission {
            actions: texts(entry.get("actions")),
            not_actions: texts(entry.get("notActions")),
        };
        Ok(entries.iter().map(permission).collect())
    }

    /// All locks on a scope and below it: a subscription's, or a resource group's.
    ///
    /// # Errors
    ///
    /// Whatever ARM says instead.
    pub async fn locks(&self, scope: &str) -> Result<Vec<Lock>, ArmError> {
        let entries = self.entries(scope, "locks", LOCKS_API_VERSION).await?;
        Ok(entries.iter().map(|entry| lock(scope, entry)).collect())
    }

    async fn entries(&self, scope: &str, what: &str, api_version: &str) -> Result<Vec<Value>, ArmError> {
        let asked = format!("{what} at {scope}");
        let mut segments: Vec<&str> = scope.split('/').filter(|part| !part.is_empty()).collect();
        let subscription = segments.get(1).copied().unwrap_or_default().to_lowercase();
        segments.extend(["providers", "Microsoft.Authorization", what]);
        let mut url: Url = self.url(&segments, api_version);
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let answer = self.send(&Call::get(&asked, url, Key::reads(&subscription)), None).await?;
            let (entries, next) = wire::page(&answer.body).map_err(|why| ArmError::unreadable(&asked, why))?;
            all.extend(entries);
            match next {
                Some(next) => url = at_home(&self.inner.settings.endpoint, &next)?,
                None => return Ok(all),
            }
        }
        Err(ArmError::unreadable(&asked, "the list has no end"))
    }
}

/// What it lies on is said by its id: whatever comes before its own type.
fn lock(asked: &str, entry: &Value) -> Lock {
    let text = |path: &str| entry.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let id = text("/id");
    let at = id.to_ascii_lowercase().find("/providers/microsoft.authorization/locks/").unwrap_or_default();
    // Some answers leave out what was asked about.
    let scope = id.get(..at).filter(|scope| !scope.is_empty()).unwrap_or(asked);
    let level = match text("/properties/level") {
        "ReadOnly" => Level::ReadOnly,
        "CanNotDelete" => Level::CanNotDelete,
        _ => Level::Other,
    };
    Lock { name: text("/name").to_owned(), scope: scope.to_owned(), level }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::on_a_group(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Authorization/locks/l",
        "/subscriptions/s/resourceGroups/g"
    )]
    #[case::on_a_machine(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v/providers/microsoft.authorization/locks/l",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v"
    )]
    #[case::bare("/providers/Microsoft.Authorization/locks/l", "/subscriptions/s")]
    fn a_lock_lies_on_what_its_id_says(#[case] id: &str, #[case] scope: &str) {
        let lock = lock("/subscriptions/s", &json!({"id": id, "name": "l", "properties": {"level": "ReadOnly"}}));
        assert_eq!((lock.scope.as_str(), lock.level), (scope, Level::ReadOnly));
    }
}
