//! What goes wrong, as faults of the simulator.

use arm_simulator::{Effect, Fault, ForeignAct, Machine, Outcome};
use serde_json::{Value, json};

use super::story::{Deed, Method, Name, Trouble};
use crate::harness::Stage;

/// Identities are shared by all machines, in a group of their own.
const GROUP: &str = "ids";

pub fn id_of(stage: &Stage<'_>, name: Name) -> String {
    let provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities";
    format!("/subscriptions/{}/resourceGroups/{GROUP}/{provider}/{name}", stage.subscription)
}

pub fn make_identity(stage: &Stage<'_>, name: Name) {
    stage.arm.identity(&stage.subscription, GROUP, name).create();
}

/// Requests of each method that something is to befall already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Armed {
    gets: u64,
    patches: u64,
}

impl Armed {
    fn next(&mut self, method: Method) -> u64 {
        let count = match method {
            Method::Get => &mut self.gets,
            Method::Patch => &mut self.patches,
        };
        *count += 1;
        *count - 1
    }
}

/// Arms it for the machine's next request of its kind that nothing is to befall yet; a stranger may come on top.
pub fn befall(stage: &Stage<'_>, machine: &Machine, armed: &mut Armed, trouble: &Trouble) {
    let mut on = |method: Method, effect| {
        let first = if matches!(effect, Effect::Foreign { .. }) { 0 } else { armed.next(method) };
        stage.arm.fault(Fault::new(method.name(), &machine.id(), effect).skip(first));
    };
    match trouble {
        Trouble::LostRequest(method) => on(*method, Effect::LoseRequest {}),
        Trouble::LostReply(method) => on(*method, Effect::LoseReply {}),
        Trouble::Late { millis } => {
            on(Method::Patch, Effect::ArriveLate { after_millis: Some(*millis), hang_millis: 0 });
        }
        Trouble::Status(method, status) => on(*method, error(*status, "InternalServerError", "An error has occurred.")),
        Trouble::Throttled(method) => on(*method, throttled()),
        Trouble::Busy => on(Method::Patch, error(409, "Conflict", "A concurrent request.")),
        Trouble::NoSuchIdentity(name) => on(Method::Patch, no_such_identity(&id_of(stage, name))),
        Trouble::Forbidden(name) => on(Method::Patch, forbidden(&id_of(stage, name))),
        Trouble::Fails { reverts } => {
            let (code, message) = ("Unlucky".to_owned(), "no luck today".to_owned());
            on(Method::Patch, Effect::EndOperation(Outcome::Failed { code, message, reverts: *reverts }));
        }
        Trouble::Cancelled { reverts } => {
            on(Method::Patch, Effect::EndOperation(Outcome::Canceled { reverts: *reverts }));
        }
        Trouble::LostOperation => on(Method::Patch, Effect::LoseOperation {}),
        Trouble::HeldUp => on(Method::Patch, Effect::HoldOperation {}),
        Trouble::Stale => on(Method::Get, Effect::StaleRead {}),
        Trouble::Hidden => on(Method::Get, Effect::Hide {}),
        Trouble::Truncated(method) => on(*method, Effect::TruncateBody {}),
        Trouble::Garbage(method) => on(*method, Effect::GarbageBody {}),
        Trouble::Slow(method, millis, after) => on(*method, Effect::Slow { millis: *millis, after: *after }),
        Trouble::Elsewhere => on(Method::Patch, Effect::LinkTo { origin: stage.arm.endpoints().stranger.clone() }),
        Trouble::Redirected(method) => {
            let location = format!("{}{}", stage.arm.endpoints().stranger_https, machine.id());
            on(*method, Effect::Redirect { status: 307, location });
        }
        Trouble::Race { at, after, deed } => {
            let after = *after;
            for act in acts(stage, deed) {
                on(*at, Effect::Foreign { resource: None, act, after });
            }
        }
    }
}

/// A stranger's deed, as single writes.
fn acts(stage: &Stage<'_>, deed: &Deed) -> Vec<ForeignAct> {
    match deed {
        Deed::Add(name) => vec![ForeignAct::AddIdentity(id_of(stage, name))],
        Deed::Remove(name) => vec![ForeignAct::RemoveIdentity(id_of(stage, name))],
        Deed::System(true) => vec![ForeignAct::EnableSystem],
        Deed::System(false) => vec![ForeignAct::DisableSystem],
        Deed::Rewrite(names) => names.iter().map(|name| ForeignAct::AddIdentity(id_of(stage, name))).collect(),
        Deed::Touch => vec![ForeignAct::BumpEtag],
    }
}

/// A stranger acts now.
pub fn intrude(stage: &Stage<'_>, machine: &Machine, deed: &Deed) {
    match deed {
        Deed::Add(name) => {
            machine.attach_as_stranger(id_of(stage, name));
        }
        Deed::Remove(name) => {
            machine.detach_as_stranger(id_of(stage, name));
        }
        Deed::System(true) => {
            machine.enable_system_as_stranger();
        }
        Deed::System(false) => {
            machine.disable_system_as_stranger();
        }
        Deed::Rewrite(names) => {
            let wanted: Vec<String> = names.iter().map(|name| id_of(stage, name)).collect();
            for id in machine.identity_ids() {
                if !wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(&id)) {
                    machine.detach_as_stranger(id);
                }
            }
            for id in wanted {
                machine.attach_as_stranger(id);
            }
        }
        Deed::Touch => {
            machine.bump_etag();
        }
    }
}

fn error(status: u16, code: &str, message: &str) -> Effect {
    answer(status, vec![], json!({"error": {"code": code, "message": message}}))
}

fn answer(status: u16, mut headers: Vec<(String, String)>, body: Value) -> Effect {
    headers.push(("Content-Type".into(), "application/json".into()));
    Effect::Answer { status, headers, body }
}

fn throttled() -> Effect {
    let body = json!({"error": {"code": "TooManyRequests", "message": "The request was throttled."}});
    answer(429, vec![("Retry-After".into(), "1".into())], body)
}

fn no_such_identity(id: &str) -> Effect {
    let message = format!(
        "Identity operation for resource failed with error 'Failed to perform resource identity operation. Status: 'BadRequest'. Response: '{{\"error\":{{\"code\":\"BadRequest\",\"message\":\"Resource '{}' was not found.\"}}}}'.'.",
        id.to_lowercase()
    );
    error(400, "FailedIdentityOperation", &message)
}

fn forbidden(id: &str) -> Effect {
    let message = format!(
        "The client has permission to perform action 'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on scope; however, it does not have permission to perform action(s) 'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) '{id}' (respectively) or the linked scope(s) are invalid."
    );
    error(403, "LinkedAuthorizationFailed", &message)
}
