//! What a person reads: short headed steps, in colour on a terminal alone.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

const BOLD: &str = "1";
const GREEN: &str = "32";
const CYAN: &str = "36";
const RED: &str = "31";

/// Where the demo is read.
pub struct Screen {
    out: RefCell<Box<dyn Write>>,
    colours: bool,
    step: Cell<u32>,
}

impl Screen {
    /// Standard output, in colours if that is a terminal.
    #[must_use]
    pub fn of_process() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: io::stdout().is_terminal() && !plain, ..Self::of(io::stdout()) }
    }

    /// Anything else that can be written to.
    pub fn of(out: impl Write + 'static) -> Self {
        Self { out: RefCell::new(Box::new(out)), colours: false, step: Cell::new(0) }
    }

    /// The next step's number and heading.
    pub(super) fn step(&self, heading: &str) {
        self.step.set(self.step.get() + 1);
        let heading = format!("{}. {heading}", self.step.get());
        self.print(&format!("\n{}", self.painted(BOLD, &heading)));
    }

    /// A paragraph, in the lines that it was written in.
    pub(super) fn say(&self, text: &str) {
        self.print(text);
    }

    /// A command, as one would type it.
    pub(super) fn command(&self, line: &str) {
        self.print(&format!("\n  {}", self.painted(CYAN, &format!("$ {line}"))));
    }

    /// What a command prints, or what one would see by looking.
    pub(super) fn shown(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.print(format!("    {line}").trim_end());
        }
    }

    /// Something that was compared with the truth, and holds.
    pub(super) fn holds(&self, what: &str) {
        self.print(&format!("  {} {what}", self.painted(GREEN, "✓")));
    }

    /// Says on standard error why the demo ended.
    pub fn failed(&self, error: &anyhow::Error) {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        let text = format!("\n{} {}", self.painted(RED, "The demo ended early:"), chain.join(": "));
        // Nobody there to read it is no reason to fail in another way.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A reader who has left, as `head` does, is no reason to stop before everything is checked.
    fn print(&self, text: &str) {
        let _ = writeln!(self.out.borrow_mut(), "{text}");
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Rows whose columns stand below each other.
pub(super) fn aligned<T: Display, const N: usize>(rows: &[[T; N]]) -> String {
    let cells: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(ToString::to_string)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    cells.iter().map(line).collect()
}
