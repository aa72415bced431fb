//! What to measure, and where the results go.
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What is measured at each size; each brings figures of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// Nothing is recorded yet, everything is already as declared
    Adoption,
    /// The process starts anew, with everything recorded and as declared
    Start,
    /// One change at a time, while nothing else happens
    Change,
    /// A long operation on one machine, and a change on another
    Slow,
    /// 100 and 400 machines get an identity each
    Burst,
    /// All machines get one more identity, and one person changes one in the middle of it
    Mass,
    /// An hour in which nothing changes, compressed
    Idle,
}

/// Where the simulated Azure runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Simulated {
    /// In a process of its own: this program, started once more.
    #[default]
    Apart,
    /// In this process, for tests.
    Here,
}

/// What to measure, and where the results go.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Numbers of machines
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000", value_name = "N,...")]
    pub sizes: Vec<usize>,
    /// Small and soon done: 10 and 300 machines
    #[arg(long)]
    pub quick: bool,
    /// What is measured; everything by default
    #[arg(long, value_delimiter = ',', value_enum, value_name = "NAME,...")]
    pub scenarios: Vec<Scenario>,
    /// The binary to measure; by default it is built first
    #[arg(long, value_name = "FILE")]
    pub lanyard: Option<PathBuf>,
    /// An option to start it with; may be given more than once
    #[arg(long = "with", allow_hyphen_values = true, value_name = "OPTION")]
    pub with: Vec<String>,
    /// Share of ARM's quota that the program may spend: what the bounds are reckoned with
    #[arg(long, default_value_t = 0.8, value_name = "SHARE")]
    pub share: f64,
    /// Changes made one at a time
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub changes: usize,
    /// Drift intervals that the idle hour is measured over, of 30 s each in place of 10 minutes
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub idle_intervals: u32,
    /// Operations last as long as recorded ones did, times this
    #[arg(long, default_value_t = 1.0, value_name = "SCALE")]
    pub operations: f64,
    /// Writes the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draws the curves into figures.svg in this directory
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
    /// Keeps what /metrics tells every two seconds, a file each, in this directory
    #[arg(long, value_name = "DIR")]
    pub scrapes: Option<PathBuf>,
    #[arg(skip)]
    pub simulated: Simulated,
    /// Machines that get an identity at once, in the scenario of that name.
    #[arg(skip = vec![100, 400])]
    pub bursts: Vec<usize>,
    /// How long the slow operation lasts.
    #[arg(skip = Duration::from_secs(20))]
    pub slow: Duration,
    /// How long operations last while single changes are timed: as long as an update of a VM usually takes.
    #[arg(skip = Duration::from_millis(4_700))]
    pub usual: Duration,
    /// How long the API server's pace is measured.
    #[arg(skip = Duration::from_secs(4))]
    pub pace: Duration,
}

impl Options {
    /// What one choice says of others.
    pub fn settle(&mut self) {
        if self.scenarios.is_empty() {
            self.scenarios = Scenario::value_variants().to_vec();
        }
        if self.quick {
            self.sizes = vec![10, 300];
            self.changes = self.changes.min(40);
            self.idle_intervals = 1;
            self.operations = self.operations.min(0.1);
            self.bursts = vec![100];
            self.slow = Duration::from_secs(5);
        }
    }

    #[must_use]
    pub fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.contains(&scenario)
    }
}

/// How many subscriptions so many machines lie in.
#[must_use]
pub fn subscriptions(machines: usize) -> usize {
    match machines {
        0..100 => 1,
        100..5_000 => machines / 100,
        _ => 50,
    }
}
