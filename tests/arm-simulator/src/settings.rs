//! What can be set about a simulator: everything has a default that follows the documented service.
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::stack::Stack;

/// The tenant of the default client, and of every subscription that names none.
pub const TENANT: &str = "11111111-aaaa-4aaa-8aaa-111111111111";
/// The application id of the default client.
pub const CLIENT: &str = "22222222-bbbb-4bbb-8bbb-222222222222";
/// The default client's secret. It opens nothing but a simulator.
pub const SECRET: &str = "simulated~client~secret";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own about the service")]
pub struct Settings {
    pub listen: Listen,
    /// Where the CA and `endpoints.json` are written; a folder of its own under the system's
    /// temporary one, removed at the end, if none is named.
    pub dir: Option<PathBuf>,
    pub clients: Vec<Client>,
    /// What a token must have been asked for, to be let in; the simulator's own URLs are added.
    pub audiences: Vec<String>,
    pub token_lifetime_secs: u64,
    pub imds: ImdsSettings,
    pub throttling: Throttling,
    pub operations: Pace,
    /// `Retry-After` on the answer to a scale set's write, to a creation and a deletion; ARM says 10.
    pub write_retry_after_secs: Option<u64>,
    /// `Retry-After` on a poll that finds the operation running; ARM says nothing, or 20 to 60.
    pub poll_retry_after_secs: Option<u64>,
    /// How long an operation's URL is made: ARM's can exceed 3 KB.
    pub operation_url_bytes: usize,
    pub second_write: SecondWrite,
    /// `type` with `UserAssigned` whose every key is null, leaving none: unconfirmed in ARM.
    pub all_null: AllNull,
    /// Whether a null key needs assign rights and existence too: unconfirmed in ARM.
    pub null_keys_are_checked: bool,
    /// Some: an Azure Stack Hub, which describes itself and knows old api-versions only.
    pub stack: Option<Stack>,
    /// False: an endpoint that ignores `If-Match`, whatever the api-version.
    pub honour_if_match: bool,
    /// Whether the end of a failed operation moves the `ETag`: unconfirmed in ARM.
    pub failed_operation_moves_etag: bool,
    /// Whether entries that were new get their principals when the operation fails: unconfirmed in ARM.
    pub failed_operation_resolves: bool,
    /// What a machine shows of an identity that was deleted, or deleted and made again: both have been seen.
    pub dead_entries: DeadEntries,
    /// How long after its PUT an identity is found by who assigns it; ARM takes up to minutes.
    pub identity_arrives_after_millis: u64,
    /// One report of a mixed `null` and `{}` refused on a Flexible scale set.
    pub flexible_refuses_mixed_edits: bool,
    /// Older scale set answers blank every entry while an operation runs.
    pub vmss_blanks_all_while_updating: bool,
    pub page_size: usize,
    /// Exchanges kept in the journal; the oldest go first.
    pub journal_limit: usize,
    /// Leaves headers and queries out of the journal, which makes it small and cheap: for many machines.
    pub journal_in_brief: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            dir: None,
            clients: vec![Client::default()],
            audiences: vec![
                "https://management.azure.com".to_owned(),
                "https://management.core.windows.net".to_owned(),
            ],
            token_lifetime_secs: 3_599,
            imds: ImdsSettings::default(),
            throttling: Throttling::default(),
            operations: Pace::default(),
            write_retry_after_secs: Some(10),
            poll_retry_after_secs: None,
            operation_url_bytes: 3_300,
            second_write: SecondWrite::default(),
            all_null: AllNull::default(),
            null_keys_are_checked: false,
            stack: None,
            honour_if_match: true,
            failed_operation_moves_etag: false,
            failed_operation_resolves: false,
            dead_entries: DeadEntries::default(),
            identity_arrives_after_millis: 0,
            flexible_refuses_mixed_edits: false,
            vmss_blanks_all_while_updating: false,
            page_size: 200,
            journal_limit: 200_000,
            journal_in_brief: false,
        }
    }
}

impl Settings {
    /// As documented, but for waits that would only make a test slow.
    #[must_use]
    pub fn quick() -> Self {
        Self { write_retry_after_secs: None, ..Self::default() }
    }
}

/// Port 0 takes a free one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    pub arm: SocketAddr,
    pub arm_http: SocketAddr,
    pub entra: SocketAddr,
    pub imds: SocketAddr,
    pub admin: SocketAddr,
    /// A host that is not ARM: it records what it is sent and answers 200.
    pub stranger: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { arm: any, arm_http: any, entra: any, imds: any, admin: any, stranger: any }
    }
}

/// An application of Entra ID.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    pub tenant_id: String,
    pub client_id: String,
    pub secret: Option<String>,
    /// Who may present a token of another issuer. Empty: any well-formed, unexpired one.
    pub federated: Vec<Federated>,
    /// Certificates that were uploaded, as PEM. It may sign assertions with their keys.
    pub certificates: Vec<String>,
    /// Authorities, as PEM, whose certificates it may sign with if it sends the chain.
    pub issuers: Vec<String>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            tenant_id: TENANT.to_owned(),
            client_id: CLIENT.to_owned(),
            secret: Some(SECRET.to_owned()),
            federated: Vec::new(),
            certificates: Vec::new(),
            issuers: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Federated {
    pub issuer: String,
    pub subject: String,
}

/// Which identities the machine has that IMDS speaks for; client ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImdsSettings {
    pub system: Option<String>,
    pub users: Vec<String>,
}

impl Default for ImdsSettings {
    fn default() -> Self {
        Self { system: Some(CLIENT.to_owned()), users: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Throttling {
    Off,
    /// Sizes and refills of the documented buckets, times this.
    Documented {
        scale: f64,
    },
}

impl Default for Throttling {
    fn default() -> Self {
        Self::Documented { scale: 1.0 }
    }
}

/// How long an accepted write runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    Fixed {
        millis: u64,
    },
    /// Drawn from what was observed: VM p50 4.7 s, p95 12.6 s, max 124 s; VMSS 7.5, 77, 296. Times `scale`.
    Recorded {
        #[serde(default = "whole")]
        scale: f64,
        #[serde(default)]
        seed: u64,
    },
    /// Runs until told to end.
    Manual,
}

const fn whole() -> f64 {
    1.0
}

impl Default for Pace {
    fn default() -> Self {
        Self::Fixed { millis: 60 }
    }
}

/// What a second write meets while one runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondWrite {
    #[default]
    Conflict,
    AnotherOperationInProgress,
    ConflictingConcurrentWriteNotAllowed,
    /// Accepted; the first ends `OperationPreempted`.
    Preempt,
}

/// What is shown of a dead entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadEntries {
    /// `{}`.
    #[default]
    Blank,
    /// The principal that it had when it was put there.
    Old,
    /// `{}`, dead or not: putting it on again does not help.
    AlwaysBlank,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllNull {
    #[default]
    Accept,
    Refuse,
}
