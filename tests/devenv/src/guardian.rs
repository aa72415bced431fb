//! Child processes that end when their parent does, however it ends.
//!
//! Between us and each child stands a guardian: a shell that reads a pipe of which only we hold the
//! other end. The kernel closes that end when we exit, crash or are killed, and the guardian then kills
//! its child. A sweeper of the same kind removes a directory once we and all guardians are gone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeWriter, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};

/// `$1` is the pid file, the rest the command. A line on stdin is the name of a signal to pass on; its end
/// is the end of our parent. After a kill, what the child left in its process group goes as well. The shell
/// itself says nothing: where stderr is a pipe to a dead parent, its "Killed" would end it too early.
const GUARDIAN: &str = r#"
exec 3<&0
pid_file=$1; shift
"$@" </dev/null >&2 3<&- &
child=$!
exec 2>/dev/null
( while read -r signal <&3; do kill -s "$signal" "$child"; done; kill -s KILL "$child" ) &
watcher=$!
exec 3<&-
echo "$child" >"$pid_file"
wait "$child"
code=$?
[ "$code" -eq 137 ] && kill -s KILL -- -$$
kill -s KILL "$watcher"
exit "$code"
"#;

/// Waits until nobody holds the other end of its stdin, then removes `$1`.
const SWEEPER: &str = r#"cat >/dev/null; rm -rf -- "$1""#;

/// A command to run under a guardian.
#[derive(Debug)]
pub struct Guardian {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Guardian {
    /// Runs `program` with this process's environment.
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), directory: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the child's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs the child in `directory`.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the child with its output appended to the file `log`, and its process id in `log` with the
    /// ending `.pid`.
    ///
    /// # Errors
    /// When `log` cannot be opened or no process be started.
    pub fn spawn(self, log: &Path, scratch: Option<&Scratch>) -> io::Result<Guarded> {
        let output = File::options().create(true).append(true).open(log)?;
        self.start(&log.with_extension("pid"), Stdio::from(output), scratch)
    }

    /// Starts the child with its output on a pipe to us: [`Guarded::output`].
    ///
    /// # Errors
    /// When no process can be started.
    pub fn spawn_piped(self, pid_file: &Path) -> io::Result<Guarded> {
        self.start(pid_file, Stdio::piped(), None)
    }

    fn start(self, pid_file: &Path, output: Stdio, scratch: Option<&Scratch>) -> io::Result<Guarded> {
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARDIAN, "guardian"]).arg(pid_file).arg(&self.program).args(&self.arguments);
        shell.envs(self.environment).stdin(Stdio::piped()).stderr(output);
        shell.stdout(scratch.map_or_else(|| Ok(Stdio::null()), Scratch::share)?);
        if let Some(directory) = self.directory {
            shell.current_dir(directory);
        }
        // Its own group, so that Ctrl-C in a terminal reaches us alone and we stop things in order.
        let mut guardian = shell.process_group(0).spawn()?;
        Ok(Guarded { leash: guardian.stdin.take(), guardian })
    }
}

/// A running child. Dropping it kills the child and waits until it is gone.
#[derive(Debug)]
pub struct Guarded {
    leash: Option<ChildStdin>,
    guardian: Child,
}

impl Guarded {
    /// Sends a signal to the child, by its name without `SIG`: `TERM`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When the child has ended.
    pub fn signal(&mut self, name: &str) -> io::Result<()> {
        let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the process has ended");
        writeln!(self.leash.as_mut().ok_or_else(ended)?, "{name}")
    }

    /// How the child ended, if it has.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guardian.try_wait()
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.guardian.wait()
    }

    /// Kills the child and waits until it is gone.
    ///
    /// # Errors
    /// When the system cannot say whether it is.
    pub fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.leash = None;
        self.guardian.wait().map(|_| ())
    }

    /// What the child prints, after [`Guardian::spawn_piped`]; once.
    pub fn output(&mut self) -> Option<ChildStderr> {
        self.guardian.stderr.take()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The guardian does its work whether or not we learn how it ended.
        let _ = self.end();
    }
}

/// A temporary directory that goes away after us and after every child that was started with it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    leash: PipeWriter,
    _sweeper: Child,
}

impl Scratch {
    /// Makes one under the system's temporary directory.
    ///
    /// # Errors
    /// When the directory cannot be made or its sweeper not be started.
    pub fn new() -> io::Result<Self> {
        let path = tempfile::Builder::new().prefix("lanyard-").tempdir()?.keep();
        let (reader, leash) = io::pipe()?;
        let mut shell = Command::new("sh");
        shell.args([OsStr::new("-c"), OsStr::new(SWEEPER), OsStr::new("sweeper")]).arg(&path);
        let sweeper = shell.stdin(reader).stdout(Stdio::null()).process_group(0).spawn()?;
        Ok(Self { path, leash, _sweeper: sweeper })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn share(&self) -> io::Result<Stdio> {
        Ok(self.leash.try_clone()?.into())
    }
}
