//! What `go build -v` prints, turned into a line now and then.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::Part;

/// Often enough to show that it lives, seldom enough to be read.
const PACE: Duration = Duration::from_secs(15);
/// Lines of Go's output that an error shows.
const SHOWN: usize = 12;

/// How far a build is.
struct Progress {
    part: Part,
    begun: Instant,
    compiled: usize,
    downloaded: usize,
    last: VecDeque<String>,
}

/// Reads `output` to its end, copies it to `log`, and says from time to time how far it is.
/// Returns the last lines that are not names of packages: what Go complained about.
pub(super) fn follow(
    part: Part,
    output: impl Read + Send + 'static,
    mut log: File,
    tell: fn(&str),
) -> io::Result<Vec<String>> {
    let (lines, incoming) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let mut progress = Progress::of(part);
    let mut due = Instant::now() + PACE;
    loop {
        match incoming.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                progress.note(line);
            }
            Err(RecvTimeoutError::Timeout) => {
                tell(&progress.to_line());
                due = Instant::now() + PACE;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(progress.last.into()),
        }
    }
}

impl Progress {
    fn of(part: Part) -> Self {
        Self { part, begun: Instant::now(), compiled: 0, downloaded: 0, last: VecDeque::new() }
    }

    fn note(&mut self, line: String) {
        if line.starts_with("go: downloading ") {
            self.downloaded += 1;
        } else if line.contains(char::is_whitespace) {
            self.last.push_back(line);
            if self.last.len() > SHOWN {
                self.last.pop_front();
            }
        } else {
            self.compiled += 1;
        }
    }

    fn to_line(&self) -> String {
        let (name, seconds) = (self.part.name(), self.begun.elapsed().as_secs());
        let usual = self.part.usual_time().as_secs();
        if self.compiled == 0 && self.downloaded > 0 {
            return format!("{name}: {} Go modules downloaded, {seconds} s", self.downloaded);
        }
        let (compiled, most) = (self.compiled, self.part.packages());
        format!("{name}: {compiled} of at most {most} packages compiled, {seconds} s of about {usual} s")
    }
}
