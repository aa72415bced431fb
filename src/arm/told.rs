//! What ARM said of a failure, read from whatever form it came in.
use serde_json::Value;
use std::fmt;

/// A message longer than this is cut: it ends up in conditions, Events and logs.
const LONGEST_MESSAGE: usize = 600;

/// An error as ARM told it; safe to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The id that was asked for.
    pub asked: String,
    /// The HTTP status; none when an operation's end said it.
    pub status: Option<u16>,
    /// ARM's code, or nothing.
    pub code: String,
    /// ARM's message, cut to a readable length.
    pub message: String,
    /// For support: finds the request in Azure's logs.
    pub correlation_id: Option<String>,
    /// What was found out afterwards of the rights that a refusal is about.
    pub rights: Option<String>,
}

/// The codes by which ARM says that the request itself is wrong.
const FAULTS: [&str; 4] = ["InvalidIdentityValues", "MissingIdentityIds", "InvalidParameter", "InvalidRequestContent"];

impl Told {
    pub(super) fn faults_the_request(&self) -> bool {
        FAULTS.iter().any(|code| code.eq_ignore_ascii_case(&self.code))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ARM said")?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        self.correlation_id.iter().try_for_each(|id| write!(f, " (correlation id {id})"))
    }
}

impl std::error::Error for Told {}

/// An error's body before it is cut.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    pub code: String,
    pub message: String,
    /// Code and message inside `error`, as ARM itself writes it.
    pub in_arms_shape: bool,
    /// The messages of all layers, to look for names in.
    pub text: String,
    /// The policy that refused, where a layer names one.
    pub policy: Option<String>,
    /// What the details are about.
    targets: Vec<String>,
}

impl ErrorBody {
    /// Never fails: a body that says nothing is a failure without code and message.
    pub fn read(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => Self::of_document(&value),
            Err(_) => Self { message: prose(bytes), ..Self::default() },
        }
    }

    fn of_document(document: &Value) -> Self {
        match document.get("error") {
            Some(error @ Value::Object(_)) => Self { in_arms_shape: true, ..Self::of(error) },
            _ => Self::of(document),
        }
    }

    /// Of the object that holds code and message.
    pub fn of(error: &Value) -> Self {
        let mut texts = Vec::new();
        collect(error, &mut texts, 0);
        Self {
            code: text(error, "code"),
            message: text(error, "message"),
            in_arms_shape: false,
            text: texts.join("\n"),
            policy: policy(error),
            targets: targets(error),
        }
    }

    /// What may be the name of the provider's policy that throttles: the details' target, or a word of the message.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        let words = self.text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        self.targets.iter().map(String::as_str).chain(words)
    }

    pub fn told(&self, asked: &str, status: Option<u16>, correlation_id: Option<String>) -> Told {
        Told {
            asked: asked.into(),
            status,
            code: presentable(&self.code),
            message: presentable(&self.message),
            correlation_id,
            rights: None,
        }
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Messages of this and the nested errors; a hostile depth is not followed.
fn collect(error: &Value, into: &mut Vec<String>, depth: usize) {
    const DEEPEST: usize = 8;
    for key in ["code", "message"] {
        into.push(text(error, key));
    }
    if depth < DEEPEST {
        let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
        details.chain(error.get("innererror")).for_each(|inner| collect(inner, into, depth + 1));
    }
}

fn targets(error: &Value) -> Vec<String> {
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    details.map(|detail| text(detail, "target")).filter(|target| !target.is_empty()).collect()
}

fn policy(error: &Value) -> Option<String> {
    let names = ["policyAssignmentDisplayName", "policyAssignmentName", "policyDefinitionDisplayName"];
    let infos = error.get("additionalInfo").and_then(Value::as_array)?;
    let info = infos.iter().filter_map(|entry| entry.get("info"));
    info.flat_map(|info| names.iter().filter_map(|name| info.get(*name)?.as_str())).map(presentable).next()
}

/// What a body that is no JSON says: an HTML page's tags are left out.
fn prose(bytes: &[u8]) -> String {
    let mut inside_tag = false;
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|&c| {
            let tag = inside_tag || c == '<';
            inside_tag = (inside_tag || c == '<') && c != '>';
            !tag
        })
        .take(4 * LONGEST_MESSAGE)
        .collect();
    presentable(&text)
}

/// One line of bounded length, without anything that looks like a token or a signature.
pub(super) fn presentable(text: &str) -> String {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if is_secret(word) { "<removed>" } else { word }).collect();
    let line = words.join(" ");
    if line.chars().count() <= LONGEST_MESSAGE {
        return line;
    }
    let mut cut: String = line.chars().take(LONGEST_MESSAGE).collect();
    cut.push('…');
    cut
}

/// A JSON web token, or an URL's signature.
fn is_secret(word: &str) -> bool {
    const SHORTEST_TOKEN: usize = 40;
    word.find("eyJ").is_some_and(|at| word.len() - at >= SHORTEST_TOKEN)
        || word.contains("sig=")
        || word.contains("&s=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::arms_own(r#"{"error":{"code":"C","message":"M"}}"#, "C", "M", true)]
    #[case::top_level(r#"{"code":"C","message":"M"}"#, "C", "M", false)]
    #[case::html("<html><h1>502</h1> Bad <b>Gateway</b></html>", "", "502 Bad Gateway", false)]
    #[case::empty("", "", "", false)]
    #[case::other_json(r#"["x"]"#, "", "", false)]
    #[case::error_is_a_word(r#"{"error":"invalid_request"}"#, "", "", false)]
    #[case::broken(r#"{"error":{"code":"#, "", r#"{"error":{"code":"#, false)]
    fn any_body_is_read(#[case] body: &str, #[case] code: &str, #[case] message: &str, #[case] shape: bool) {
        let read = ErrorBody::read(body.as_bytes());
        assert_eq!((read.code.as_str(), read.message.as_str(), read.in_arms_shape), (code, message, shape));
    }

    #[test]
    fn nested_errors_are_searched() {
        let body =
            r#"{"error":{"code":"A","message":"a","details":[{"code":"B","message":"b"}],"innererror":{"code":"C"}}}"#;
        let read = ErrorBody::read(body.as_bytes());
        assert!(["A", "B", "C", "b"].iter().all(|word| read.text.contains(word)), "{}", read.text);
    }

    #[test]
    fn a_depth_without_end_is_survived() {
        let deep = (0..100).fold(String::from("null"), |inner, _| format!(r#"{{"message":"m","innererror":{inner}}}"#));
        assert_eq!(ErrorBody::read(deep.as_bytes()).message, "m");
    }

    #[test]
    fn a_message_is_one_short_line_without_secrets() {
        let token = format!("eyJ{}", "a".repeat(60));
        let line = presentable(&format!("bad\ntoken {token} {}", "x ".repeat(2000)));
        assert!(line.starts_with("bad token <removed> x"), "{line}");
        assert!(line.chars().count() <= LONGEST_MESSAGE + 1);
    }
}
