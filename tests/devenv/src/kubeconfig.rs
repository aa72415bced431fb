//! Kubeconfig files: where the server is, and as whom to speak to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// As whom requests are made.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The bearer of the certificate `<name>.crt` and key `<name>.key` of the control plane's directory.
    Certificate(String),
    /// An administrator who acts as somebody else, with the rights that they have.
    Impersonated {
        /// The other's name.
        user: String,
        /// The other's groups.
        groups: Vec<String>,
    },
    /// The bearer of a token.
    Token(String),
}

/// The name of the administrator's certificate.
pub const ADMIN: &str = "admin";

impl Identity {
    fn user(&self, directory: &Path) -> Value {
        let certificate = |name: &str| {
            let file = |ending| directory.join(name).with_extension(ending);
            json!({"client-certificate": file("crt"), "client-key": file("key")})
        };
        match self {
            Self::Certificate(name) => certificate(name),
            Self::Impersonated { user, groups } => {
                let mut entry = certificate(ADMIN);
                entry["as"] = json!(user);
                entry["as-groups"] = json!(groups);
                entry
            }
            Self::Token(token) => json!({ "token": token }),
        }
    }
}

/// Writes `<name>.kubeconfig` into `directory`, where the authority's certificate is. JSON is YAML too.
///
/// # Errors
/// When the file cannot be written.
pub fn write(directory: &Path, name: &str, port: u16, identity: &Identity) -> io::Result<PathBuf> {
    let path = directory.join(format!("{name}.kubeconfig"));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "devenv",
        "clusters": [{"name": "devenv", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": directory.join("ca.crt"),
        }}],
        "users": [{"name": name, "user": identity.user(directory)}],
        "contexts": [{"name": "devenv", "context": {"cluster": "devenv", "user": name}}],
    });
    fs::write(&path, format!("{config:#}\n"))?;
    Ok(path)
}
