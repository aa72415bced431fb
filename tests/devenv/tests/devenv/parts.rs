use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use devenv::parts::{Part, PartError, Parts};
use tempfile::TempDir;

use crate::guardian::{pid_in, runs};
use crate::script;
use crate::wait::until;

/// A machine with a `go` of our making, a module, and nothing else.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().expect("a directory"));
        machine.write(
            "modules/control-plane/go.mod",
            "require k8s.io/kubernetes v1.36.3\nrequire go.etcd.io/etcd/server/v3 v3.6.8\n",
        );
        machine.write("modules/control-plane/go.sum", "");
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn program(&self, path: &str, script: &str) {
        script::write(&self.at(path), script);
    }

    /// Fails if two builds overlap, notes each one, and writes what it was asked to build.
    fn with_go(self, version: &str) -> Self {
        let home = self.at("").display().to_string();
        let build = "mkdir busy || exit 9; echo build >>builds; echo some/package >&2; sleep 0.3; rmdir busy";
        let output = r#"while [ "$1" != "-o" ]; do shift; done; cd "$here"; echo "$GOTOOLCHAIN" >"$2"; chmod +x "$2""#;
        let env = format!(r#"if [ "$1" = env ]; then printf '{version}\nauto\n'; exit 0; fi"#);
        self.program("path/go", &format!("{env}\nhere=$PWD; cd {home} || exit 8\n{build}\n{output}"));
        self
    }

    fn parts(&self) -> Parts {
        Parts {
            assets: None,
            cache: self.at("cache"),
            modules: self.at("modules"),
            path: OsString::from(self.at("path")),
            tell: |_| (),
        }
    }

    fn builds(&self) -> usize {
        fs::read_to_string(self.at("builds")).unwrap_or_default().lines().count()
    }
}

fn chain(error: &PartError) -> String {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn two_builders_do_not_collide_and_build_once() {
    let machine = Machine::new().with_go("go1.26.8");
    let build = |part| {
        let parts = machine.parts();
        move || parts.find(part).expect("built")
    };
    let builders = [Part::Etcd, Part::Etcd, Part::Kubectl].map(|part| thread::spawn(build(part)));
    let [one, other, kubectl] = builders.map(|builder| builder.join().expect("no panic"));
    assert_eq!(one, other);
    assert!(one.is_file() && kubectl.is_file());
    assert_eq!(machine.builds(), 2, "one for each part");
}

#[test]
fn a_part_is_built_anew_when_the_module_changes() {
    let machine = Machine::new().with_go("go1.26.8");
    machine.parts().find(Part::Etcd).expect("built");
    machine.parts().find(Part::Etcd).expect("found");
    assert_eq!(machine.builds(), 1);

    machine.write("modules/control-plane/go.sum", "another sum\n");
    machine.parts().find(Part::Etcd).expect("built again");
    assert_eq!(machine.builds(), 2);
}

#[test]
fn another_line_of_go_is_asked_to_fetch_the_right_one() {
    let machine = Machine::new().with_go("go1.27.1");
    let etcd = machine.parts().find(Part::Etcd).expect("built");
    assert_eq!(fs::read_to_string(etcd).expect("readable"), "go1.26.8\n");
}

#[test]
fn chosen_programs_come_first_and_need_no_go() {
    let machine = Machine::new();
    machine.program("assets/etcd", "");
    let parts = Parts { assets: Some(machine.at("assets")), ..machine.parts() };
    assert_eq!(parts.find(Part::Etcd).expect("found"), machine.at("assets/etcd"));
}

#[test]
fn installed_programs_serve_if_they_are_of_the_pinned_minor_version() {
    let machine = Machine::new().with_go("go1.26.8");
    machine.program("path/kubectl", "echo 'Client Version: v1.36.1'");
    machine.program("path/kube-apiserver", "echo 'Kubernetes v1.35.0'");
    assert_eq!(machine.parts().find(Part::Kubectl).expect("found"), machine.at("path/kubectl"));
    let server = machine.parts().find(Part::KubeApiserver).expect("built");
    assert!(server.starts_with(machine.at("cache")), "{}", server.display());
}

#[test]
fn without_go_the_error_says_what_to_set() {
    let error = Machine::new().parts().find(Part::Kubectl).expect_err("there is nothing");
    let text = chain(&error);
    assert!(text.contains("cannot build kubectl: there is no `go` on PATH"), "{text}");
    assert!(text.contains("set KUBEBUILDER_ASSETS"), "{text}");
}

#[test]
fn a_failed_build_leaves_nothing_and_shows_what_go_said() {
    let machine = Machine::new();
    machine.program("path/go", "[ \"$1\" = env ] && { printf 'go1.26.8\\n'; exit; }\necho 'disk is full' >&2; exit 1");
    let text = chain(&machine.parts().find(Part::Etcd).expect_err("it fails"));
    assert!(text.contains("exit status: 1") && text.ends_with("disk is full"), "{text}");
    assert!(no_program_in(&machine.at("cache/bin")));
}

#[test]
fn a_build_ends_with_the_builder_that_was_killed() {
    let machine = Machine::new();
    let compiler = machine.at("compiler");
    let script = format!("sleep 600 &\necho $! >{}\nwait", compiler.display());
    machine.program("path/go", &format!("[ \"$1\" = env ] && {{ printf 'go1.26.8\\n'; exit; }}\n{script}"));
    // A target directory of its own, where nothing is built yet.
    machine.write("CACHEDIR.TAG", "");
    script::copy(Path::new(env!("CARGO_BIN_EXE_devenv")), &machine.at("devenv"));
    let path = format!("{}:/usr/bin:/bin", machine.at("path").display());
    let mut command = Command::new(machine.at("devenv"));
    let builder = command.arg("build").env_remove("KUBEBUILDER_ASSETS").env("PATH", path).stderr(Stdio::null());
    let mut builder = builder.spawn().expect("devenv starts");
    let pids = [pid_in(&machine.at("control-plane/go.pid")), pid_in(&compiler)];
    assert!(pids.iter().all(|pid| runs(pid)));

    builder.kill().expect("it runs");
    builder.wait().expect("it ends");
    until("go and its compiler to end", || !pids.iter().any(|pid| runs(pid)));
}

fn no_program_in(directory: &Path) -> bool {
    fs::read_dir(directory).expect("a directory").next().is_none()
}
