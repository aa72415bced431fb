//! What `/readyz` says, from what is known. No IO.
use super::cluster::ClusterTrouble;
use crate::arm::TokenStanding;
use std::fmt;
use std::time::Duration;

/// An API server that restarts is away for some seconds; a lease lasts for fifteen.
const AWAY: Duration = Duration::from_secs(15);

/// What is at hand besides the API server.
#[derive(Clone, Debug)]
pub struct Supply {
    /// The first lists of all watches are in.
    pub listed: bool,
    pub token: TokenStanding,
    /// The process was told to stop.
    pub stopping: bool,
}

/// One thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub standing: Standing,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Well,
    /// It is not as it should be, and no reason to send nobody here.
    Worrying(String),
    Missing(String),
}

/// All that is needed, and whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub checks: Vec<Check>,
    pub leads: bool,
}

impl Readiness {
    pub fn of(cluster: Option<(Duration, &ClusterTrouble)>, supply: &Supply, leads: bool) -> Self {
        let (server, crds) = cluster.map_or((Standing::Well, Standing::Well), |(since, trouble)| of(since, trouble));
        let lists = if supply.listed { Standing::Well } else { missing("the first lists are not in yet") };
        let stopping = if supply.stopping { missing("the process was told to stop") } else { Standing::Well };
        let checks = [
            ("api-server", server),
            ("crds", crds),
            ("lists", lists),
            ("credential", credential(&supply.token)),
            ("running", stopping),
        ];
        let checks = checks.into_iter().map(|(name, standing)| Check { name, standing }).collect();
        Self { checks, leads }
    }

    pub fn is_ready(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.standing, Standing::Missing(_)))
    }
}

impl fmt::Display for Readiness {
    /// In the form of the API server's own `/readyz?verbose`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, standing } in &self.checks {
            match standing {
                Standing::Well => writeln!(f, "[+]{name} ok")?,
                Standing::Worrying(why) => writeln!(f, "[!]{name} {why}")?,
                Standing::Missing(why) => writeln!(f, "[-]{name} failed: {why}")?,
            }
        }
        writeln!(f, "{}", if self.leads { "this replica leads" } else { "this replica stands by" })?;
        writeln!(f, "{}", if self.is_ready() { "ready" } else { "not ready" })
    }
}

fn missing(why: &str) -> Standing {
    Standing::Missing(why.into())
}

/// The API server, and our kinds there. Where it does not answer, nothing is known of them, and nothing is said.
fn of(since: Duration, trouble: &ClusterTrouble) -> (Standing, Standing) {
    let seconds = since.as_secs();
    match trouble {
        ClusterTrouble::NotInstalled { what } => {
            (Standing::Well, Standing::Missing(format!("{what} is not installed: kubectl apply -f crds/")))
        }
        ClusterTrouble::Forbidden { what, .. } => {
            (Standing::Missing(format!("no permission to list {what}: apply deploy/base")), Standing::Well)
        }
        ClusterTrouble::NoAnswer | ClusterTrouble::Unreachable { .. } if since < AWAY => {
            (Standing::Worrying(format!("has not been reached for {seconds} s")), Standing::Well)
        }
        ClusterTrouble::NoAnswer | ClusterTrouble::Unreachable { .. } => {
            (Standing::Missing(format!("not reached for {seconds} s")), Standing::Well)
        }
    }
}

/// A replica that never had a token is not ready: a rollout that brings a wrong credential stops at its first pod, and
/// the others go on. One that had one stays ready: all replicas share the credential, so that nobody could take over, and
/// pods that are not ready would keep nodes from being drained for as long as Entra ID is away.
fn credential(token: &TokenStanding) -> Standing {
    match token {
        TokenStanding::Untried => missing("no token for ARM yet"),
        TokenStanding::Good => Standing::Well,
        TokenStanding::Failing { had_one: false, since, why } => {
            Standing::Missing(format!("no token for ARM for {} s: {why}", since.as_secs()))
        }
        TokenStanding::Failing { had_one: true, since, why } => {
            Standing::Worrying(format!("no new token for ARM for {} s: {why}", since.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn supply() -> Supply {
        Supply { listed: true, token: TokenStanding::Good, stopping: false }
    }

    fn failing(had_one: bool) -> TokenStanding {
        TokenStanding::Failing { had_one, since: Duration::from_secs(320), why: "the client secret has expired".into() }
    }

    #[test]
    fn who_has_all_is_ready_whether_it_leads_or_not() {
        for (leads, role) in [(true, "this replica leads"), (false, "this replica stands by")] {
            let ready = Readiness::of(None, &supply(), leads);
            assert!(ready.is_ready());
            let text =
                format!("[+]api-server ok\n[+]crds ok\n[+]lists ok\n[+]credential ok\n[+]running ok\n{role}\nready\n");
            assert_eq!(ready.to_string(), text);
        }
    }

    #[rstest]
    #[case::no_list(Supply { listed: false, ..supply() }, "[-]lists failed: the first lists are not in yet")]
    #[case::stopping(Supply { stopping: true, ..supply() }, "[-]running failed: the process was told to stop")]
    #[case::untried(Supply { token: TokenStanding::Untried, ..supply() }, "[-]credential failed: no token for ARM yet")]
    #[case::never(
        Supply { token: failing(false), ..supply() },
        "[-]credential failed: no token for ARM for 320 s: the client secret has expired"
    )]
    fn what_is_missing_is_named(#[case] supply: Supply, #[case] line: &str) {
        let readiness = Readiness::of(None, &supply, true);
        assert!(!readiness.is_ready());
        let text = readiness.to_string();
        assert!(text.lines().any(|it| it == line) && text.ends_with("not ready\n"), "{text}");
        assert_eq!(text.matches("[-]").count(), 1, "{text}");
    }

    #[test]
    fn a_token_that_was_had_once_is_no_reason_to_be_taken_out() {
        let readiness = Readiness::of(None, &Supply { token: failing(true), ..supply() }, true);
        assert!(readiness.is_ready());
        assert!(readiness.to_string().contains("[!]credential no new token for ARM for 320 s: the client"));
    }

    #[rstest]
    #[case::not_installed(ClusterTrouble::NotInstalled { what: "identitytargets" }, 0, "[-]crds failed: identitytargets")]
    #[case::forbidden(
        ClusterTrouble::Forbidden { what: "identitytargets", message: "secret of the cluster".into() },
        0,
        "[-]api-server failed: no permission to list identitytargets"
    )]
    #[case::away(ClusterTrouble::NoAnswer, 15, "[-]api-server failed: not reached for 15 s")]
    fn what_the_cluster_lacks_is_told_apart(#[case] trouble: ClusterTrouble, #[case] seconds: u64, #[case] line: &str) {
        let readiness = Readiness::of(Some((Duration::from_secs(seconds), &trouble)), &supply(), true);
        let text = readiness.to_string();
        assert!(!readiness.is_ready() && text.lines().any(|it| it.starts_with(line)), "{text}");
        assert!(text.matches("[-]").count() == 1 && !text.contains("secret of the cluster"), "{text}");
    }

    #[test]
    fn an_api_server_that_restarts_takes_nobody_out() {
        let readiness = Readiness::of(Some((Duration::from_secs(14), &ClusterTrouble::NoAnswer)), &supply(), true);
        assert!(readiness.is_ready() && readiness.to_string().contains("[!]api-server has not been reached for 14 s"));
    }
}
