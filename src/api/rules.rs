//! The rules by which the API server refuses bad input, each with one sentence that says what is wrong and what to write.
//!
//! They agree with [`crate::domain::ids`] and [`crate::api::duration`], to the letter where CEL can: a test puts the same
//! ids to both. One rule a field, whose message is chosen by what is wrong, so that a mistake never reads as three.
//!
//! Segments are compared on the text in lower ASCII: `(?i)` would fold more than ARM does, as in `ſ` for `s`.
use crate::domain::plan::MAX_IDENTITIES_IN_REQUEST;
use serde_json::{Value, json};

/// One character of a name: whatever neither separates parts nor is reserved, blank (`\p{Z}`) or control (`\p{Cc}`).
const LETTER: &str = r"[^/\p{Z}\p{Cc}%?#\\,;:<>\x22\x27*|&]";

const GUID: &str = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";

/// A kind of ARM resource as CEL sees it: all patterns are in lower case.
struct Kind {
    /// Provider and type.
    pattern: &'static str,
    /// Names that ARM allows.
    name: String,
    /// What to write.
    example: &'static str,
    /// What the resource is called, with its article.
    article: &'static str,
    wrong_name: &'static str,
}

fn machine() -> Kind {
    Kind {
        pattern: "microsoft[.]compute/(virtualmachines|virtualmachinescalesets)",
        name: format!("{LETTER}{{1,64}}"),
        example: "/subscriptions/<GUID>/resourceGroups/<group>/providers/Microsoft.Compute/virtualMachines/<name> \
                  (or .../virtualMachineScaleSets/<name>)",
        article: "a VM or VM scale set",
        wrong_name: "the machine's name has more than 64 characters: write the name that Azure shows",
    }
}

fn identity() -> Kind {
    Kind {
        pattern: "microsoft[.]managedidentity/userassignedidentities",
        name: "[a-z0-9][a-z0-9_-]{2,127}".into(),
        example: "/subscriptions/<GUID>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/\
                  userAssignedIdentities/<name>",
        article: "a user-assigned identity",
        wrong_name: "the identity's name is none that Azure allows: write 3 to 128 letters, digits, '-' or '_', \
                     beginning with a letter or digit",
    }
}

/// The id of a machine, which cannot change but in case and by a provider id's prefix.
pub(super) fn target_id() -> Value {
    json!([arm_id(&machine()), unchanged()])
}

/// The id of a user-assigned identity.
pub(super) fn identity_id() -> Value {
    json!([arm_id(&identity())])
}

fn arm_id(kind: &Kind) -> Value {
    let Kind { pattern, name, example, article, .. } = kind;
    let whole =
        format!("^(azure://)?/subscriptions/{GUID}/resourcegroups/{LETTER}{{1,90}}/providers/{pattern}/{name}$");
    let rule = format!(
        "self.matches('^(azure://)?/') && !self.matches('/[.]{{1,2}}(/|$)') && self.lowerAscii().matches(r'{whole}')"
    );
    json!({
        "rule": rule,
        "message": format!("is no id of {article} that ARM knows: write it as {example}, without blanks or line breaks"),
        "messageExpression": first_fault(kind),
    })
}

/// What is wrong, judged from left to right: a chain of conditions that ends with the name.
fn first_fault(kind: &Kind) -> String {
    let Kind { pattern, example, article, wrong_name, .. } = kind;
    let below = "^(azure://)?/subscriptions/[^/]+/resourcegroups/[^/]+/providers";
    let faults: [(String, String); 13] = [
        ("!self.matches('^(azure://)?/')".into(), format!("is no ARM resource id: write it as {example}")),
        ("self.endsWith('/')".into(), "ends with a slash: leave it out".into()),
        (
            "self.matches('^(azure://)?/(.*/)?/')".into(),
            "has an empty part between two slashes: fill it in, or remove a slash".into(),
        ),
        (
            r"self.matches(r'[\p{Z}\p{Cc}]')".into(),
            "holds a blank or control character, which no ARM id has: remove it".into(),
        ),
        ("self.contains('%')".into(), "holds a percent sign: write the id as Azure shows it, not as a URL".into()),
        ("self.matches('[?#]')".into(), "carries a query or fragment: end the id with the resource's name".into()),
        (
            r"!self.matches(r'^(azure:)?[^\\,;:<>\x22\x27*|&]*$')".into(),
            "holds a character that ARM reserves: write the id as Azure shows it".into(),
        ),
        ("self.matches('/[.]{1,2}(/|$)')".into(), "has '.' or '..' as a part: write every part by its name".into()),
        (
            format!("!self.lowerAscii().matches('{below}/[^/]+/[^/]+/[^/]+')"),
            format!("is no ARM resource id: write it as {example}"),
        ),
        (
            format!("!self.lowerAscii().matches('/subscriptions/{GUID}/')"),
            "names a subscription that is no GUID: write it as xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".into(),
        ),
        (
            "!self.lowerAscii().matches('/resourcegroups/[^/]{1,90}/')".into(),
            "names a resource group of more than 90 characters: write the name that Azure shows".into(),
        ),
        (
            format!("!self.lowerAscii().matches('{below}/{pattern}/')"),
            format!("is the id of another type of resource, not of {article}: write it as {example}"),
        ),
        (
            format!("self.lowerAscii().matches('{below}/{pattern}/[^/]+/')"),
            format!("is the id of a child resource: end it with the name of {article}"),
        ),
    ];
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "\\'"));
    let arms = faults.iter().map(|(fault, sentence)| format!("{fault} ? {} : ", quoted(sentence)));
    arms.chain([quoted(wrong_name)]).collect()
}

/// No change but of case, Unicode's included, and of a provider id's prefix.
///
/// Ids hold no backslash, so that quoting by `\Q..\E` is safe. Of letters beyond ASCII, `(?i)` folds a few more than
/// Rust does: such a change passes here, and the controller reports it as another machine.
fn unchanged() -> Value {
    json!({
        "rule": r"self.matches('(?i)^(azure://)?\\Q' + oldSelf.replace('azure://', '') + '\\E$')",
        "message": "cannot be changed: create another assignment for the other machine, and delete this one",
    })
}

/// The schema's limit: beyond the rule's own, so that the rule's sentence is read, but one that bounds what CEL may cost.
pub(super) const LIST_LIMIT: usize = 2 * MAX_IDENTITIES_IN_REQUEST;

/// No more than ARM takes in one request, and none twice: ids that differ in case or in a provider id's prefix are one.
///
/// A list of one list stands in for a variable: the ids are folded once, which the API server's cost limit demands.
pub(super) fn user_assigned() -> Value {
    let fits = format!("size(self) <= {MAX_IDENTITIES_IN_REQUEST}");
    let unique = "[self.map(x, x.resourceId.lowerAscii().replace('azure://', ''))]\
                  .all(ids, ids.all(a, ids.exists_one(b, a == b)))";
    json!([
        {
            "rule": fits,
            "message": format!(
                "names more than {MAX_IDENTITIES_IN_REQUEST} identities, which is more than ARM takes in one request: \
                 spread them over several assignments"
            ),
        },
        {
            "rule": format!("!({fits}) || {unique}"),
            "message": "names an identity twice (ids are compared without case): keep one of the entries",
        },
    ])
}

/// A dead entry is taken off to be attached again: nothing that is to be gone needs that.
pub(super) fn repair() -> Value {
    json!([{
        "rule": "!(has(self.repair) && self.repair && has(self.ensure) && self.ensure == 'Absent')",
        "message": "asks for the repair of an identity that is to be Absent: leave repair out, or write ensure: Present",
    }])
}

/// Hours, minutes and seconds, within bounds.
pub(super) fn drift_interval() -> Value {
    let written = "self.matches('^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && self != ''";
    json!([{
        "rule": format!("{written} && duration(self) >= duration('30s') && duration(self) <= duration('24h')"),
        "message": "is no duration from 30s to 24h: write it as 45s, 10m or 1h30m",
        "messageExpression": format!(
            "{written} ? 'is out of bounds: write a duration from 30s to 24h' \
             : 'is no duration: write hours, minutes and seconds as in 45s, 10m or 1h30m'"
        ),
    }])
}

/// No more than ARM takes in one request.
pub(super) fn refs() -> Value {
    json!([{
        "rule": format!("size(self) <= {MAX_IDENTITIES_IN_REQUEST}"),
        "message": format!(
            "names more than {MAX_IDENTITIES_IN_REQUEST} identities, which is more than ARM takes in one request: \
             spread them over several assignments"
        ),
    }])
}

/// An identity is named in one of two forms, and neither it nor its location can change.
pub(super) fn identity_spec() -> Value {
    let parts = "has(self.subscriptionId) && has(self.resourceGroup) && has(self.name)";
    let part = "has(self.subscriptionId) || has(self.resourceGroup) || has(self.name)";
    let id = |of: &str| {
        format!(
            "(has({of}.resourceId) ? {of}.resourceId : (has({of}.subscriptionId) && has({of}.resourceGroup) && has({of}.name)) \
             ? '/subscriptions/' + {of}.subscriptionId + '/resourceGroups/' + {of}.resourceGroup + \
             '/providers/Microsoft.ManagedIdentity/userAssignedIdentities/' + {of}.name : '').lowerAscii().replace('azure://', '')"
        )
    };
    json!([
        {
            "rule": format!("has(self.resourceId) ? !({part}) : ({parts})"),
            "message": "names the identity in both forms, or in neither: write resourceId, or subscriptionId, resourceGroup and name",
        },
        {
            "rule": format!("{} == {}", id("self"), id("oldSelf")),
            "message": "the identity cannot be changed: create another object for the other identity, and delete this one",
        },
        {
            "rule": "!has(oldSelf.location) || (has(self.location) && \
                     self.location.lowerAscii().replace(' ', '') == oldSelf.location.lowerAscii().replace(' ', ''))",
            "message": "location cannot be changed, since Azure moves no identity: create another one, and delete this one",
        },
    ])
}

pub(super) fn subscription_id() -> Value {
    json!([{
        "rule": format!("self.lowerAscii().matches('^{GUID}$')"),
        "message": "is no GUID: write it as xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
    }])
}

pub(super) fn resource_group() -> Value {
    json!([{
        "rule": format!("self.matches(r'^{LETTER}{{1,90}}$') && !self.matches('^[.]{{1,2}}$')"),
        "message": "is no name of a resource group: write the name that Azure shows, of 1 to 90 characters",
    }])
}

pub(super) fn identity_name() -> Value {
    json!([{
        "rule": "self.matches('^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$')",
        "message": identity().wrong_name,
    }])
}

/// What Azure takes as tags, but for the one that is ours.
pub(super) fn tags() -> Value {
    json!([
        {
            "rule": r"self.all(name, size(name) >= 1 && size(name) <= 512 && !name.matches('[<>%&\\\\?/]') && size(self[name]) <= 256)",
            "message": "holds a tag that Azure does not take: names have 1 to 512 characters and none of < > % & \\ ? /, values at most 256",
        },
        {
            "rule": "self.all(name, name.lowerAscii() != 'lanyard-creation')",
            "message": "the tag lanyard-creation is Lanyard's own: leave it out",
        },
    ])
}
