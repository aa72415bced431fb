use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::guardian::{pid_in, runs};
use crate::wait::until;

const PARTS: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];

/// A `devenv up` of its own, as a person starts it.
struct Up {
    process: Child,
    exports: Vec<String>,
}

impl Up {
    /// Waits until it has printed what to export.
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devenv"));
        let mut process = command.arg("up").stdout(Stdio::piped()).spawn().expect("devenv starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let lines = output.lines().map_while(Result::ok);
        let exports: Vec<String> = lines.take_while(|line| line.starts_with("export ")).collect();
        assert!(!exports.is_empty(), "it printed nothing to export");
        Self { process, exports }
    }

    fn directory(&self) -> PathBuf {
        let kubeconfig = self.exports.iter().find_map(|line| line.strip_prefix("export KUBECONFIG="));
        let path = PathBuf::from(kubeconfig.expect("a kubeconfig").trim_matches('\''));
        path.parent().expect("it lies in a directory").to_path_buf()
    }

    /// Runs a command in a shell that exported everything.
    fn shell(&self, command: &str) -> String {
        let script = format!("{}\n{command}", self.exports.join("\n"));
        let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

fn pids(directory: &Path) -> Vec<String> {
    PARTS.iter().map(|part| pid_in(&directory.join(part).with_extension("pid"))).collect()
}

fn until_nothing_is_left(directory: &Path, pids: &[String]) {
    until("the processes to end", || !pids.iter().any(|pid| runs(pid)));
    until("the directory to go", || !directory.exists());
}

#[test]
fn nothing_is_left_when_it_is_killed() {
    let mut up = Up::start();
    let (directory, pids) = (up.directory(), pids(&up.directory()));
    assert!(pids.iter().all(|pid| runs(pid)));

    up.process.kill().expect("it runs"); // SIGKILL: no code of ours runs after it
    up.process.wait().expect("it ends");
    until_nothing_is_left(&directory, &pids);
}

#[test]
fn what_it_prints_leads_to_both_and_it_ends_when_told_to() {
    let mut up = Up::start();
    let (directory, pids) = (up.directory(), pids(&up.directory()));
    let namespaces = up.shell("kubectl get namespaces");
    assert!(namespaces.contains("kube-system"), "{namespaces}");
    let script = r#"test -s "$SSL_CERT_FILE" && echo "$AZURE_RESOURCE_MANAGER_ENDPOINT $AZURE_AUTHORITY_HOST""#;
    let endpoints = up.shell(script);
    let secured = endpoints.split_whitespace().filter(|url| url.starts_with("https://127.0.0.1:"));
    assert_eq!(secured.count(), 2, "{endpoints}");

    up.signal("TERM");
    assert!(up.process.wait().expect("it ends").success());
    until_nothing_is_left(&directory, &pids);
}
