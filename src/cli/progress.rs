//! What goes on, for people who wait: on standard error, on a terminal, and only for what takes a while.
use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whoever waits for less does not wonder.
const AFTER: Duration = Duration::from_secs(2);

const EVERY: Duration = Duration::from_millis(200);

/// Shows the latest word until it is dropped.
#[derive(Debug)]
pub struct Progress {
    word: Arc<Mutex<String>>,
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    #[must_use]
    pub fn start() -> Self {
        let word = Arc::<Mutex<String>>::default();
        let shown = std::io::stderr().is_terminal().then(|| {
            let (stop, stopped) = channel();
            let word = word.clone();
            let began = Instant::now();
            let thread = std::thread::spawn(move || {
                let mut wait = AFTER;
                while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    wait = EVERY;
                    show(&latest(&word), began.elapsed());
                }
                clear();
            });
            (stop, thread)
        });
        Self { word, shown }
    }

    /// Something that says what goes on now.
    #[must_use]
    pub fn teller(&self) -> Arc<dyn Fn(String) + Send + Sync> {
        let word = self.word.clone();
        Arc::new(move |said| *word.lock().unwrap_or_else(PoisonError::into_inner) = said)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.shown.take() {
            drop(stop);
            // A thread that ended badly has nothing more to show.
            let _ = thread.join();
        }
    }
}

fn latest(word: &Mutex<String>) -> String {
    word.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn show(word: &str, elapsed: Duration) {
    let text: String = word.chars().filter(|c| !c.is_control()).take(100).collect();
    let _ = write!(std::io::stderr(), "\r\x1b[2K{text} ({} s)", elapsed.as_secs());
}

fn clear() {
    let _ = write!(std::io::stderr(), "\r\x1b[2K");
}
