//! What was measured, beside what was aimed at: as a table, as JSON, and what the curves are drawn from.
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

use crate::options::{Options, subscriptions};

/// One figure of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable: curves, growth and comparisons are made by it.
    pub id: &'static str,
    pub figure: String,
    pub aim: String,
    pub value: f64,
    pub unit: &'static str,
    /// None: there is no aim, or none at this size.
    pub met: Option<bool>,
}

impl Row {
    #[must_use]
    pub fn new(id: &'static str, figure: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { id, figure: figure.into(), aim: String::new(), value, unit, met: None }
    }

    /// The value may be so much.
    #[must_use]
    pub fn at_most(mut self, most: f64) -> Self {
        self.aim = format!("at most {}", number(most));
        self.met = Some(self.value <= most);
        self
    }

    /// The value must be this.
    #[must_use]
    pub fn exactly(mut self, wanted: f64) -> Self {
        self.aim = number(wanted);
        self.met = Some((self.value - wanted).abs() < 1e-9);
        self
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Size {
    pub targets: usize,
    pub subscriptions: usize,
    pub rows: Vec<Row>,
}

/// How a figure grows with the number of targets: 1 is in proportion, 0 is not at all.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    pub id: &'static str,
    pub figure: String,
    pub exponent: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Of the machine that it ran on.
    pub cores: usize,
    pub share: f64,
    pub operations: f64,
    pub sizes: Vec<Size>,
    pub growth: Vec<Growth>,
    /// What one more target costs, in kilobytes of memory.
    pub kilobytes_a_target: Option<f64>,
}

impl Report {
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            share: options.share,
            operations: options.operations,
            sizes: Vec::new(),
            growth: Vec::new(),
            kilobytes_a_target: None,
        }
    }

    pub fn begin(&mut self, targets: usize) {
        self.sizes.push(Size { targets, subscriptions: subscriptions(targets), rows: Vec::new() });
    }

    /// Adds a figure of the size that is being measured.
    pub fn add(&mut self, row: Row) {
        eprintln!("  {}", line(&row));
        if let Some(size) = self.sizes.last_mut() {
            size.rows.push(row);
        }
    }

    /// Pairs of targets and value, of one figure over all sizes.
    #[must_use]
    pub fn curve(&self, id: &str) -> Vec<(f64, f64)> {
        let of = |size: &Size| {
            let row = size.rows.iter().find(|row| row.id == id)?;
            Some((float(size.targets), row.value))
        };
        self.sizes.iter().filter_map(of).collect()
    }

    /// From the smallest size to the largest, of every figure that both have.
    pub fn add_growth(&mut self) {
        let mut seen = BTreeMap::new();
        for row in self.sizes.iter().flat_map(|size| &size.rows) {
            seen.entry(row.id).or_insert_with(|| row.figure.clone());
        }
        for (id, figure) in seen {
            let curve = self.curve(id);
            let (Some(&first), Some(&last)) = (curve.first(), curve.last()) else { continue };
            if let Some(exponent) = exponent(first, last) {
                self.growth.push(Growth { id, figure, exponent });
            }
        }
        let memory = self.curve("memory");
        if let (Some((few, least)), Some((many, most))) = (memory.first(), memory.last())
            && many > few
        {
            self.kilobytes_a_target = Some((most - least) * 1_000.0 / (many - few));
        }
    }

    /// # Errors
    /// None in practice.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// The slope between two points on two logarithmic axes.
fn exponent((few, least): (f64, f64), (many, most): (f64, f64)) -> Option<f64> {
    (many > few && least > 0.0 && most > 0.0).then(|| (most / least).ln() / (many / few).ln())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for size in &self.sizes {
            writeln!(f, "\n{} targets in {} subscriptions", size.targets, size.subscriptions)?;
            for row in &size.rows {
                writeln!(f, "  {}", line(row))?;
            }
        }
        if !self.growth.is_empty() {
            writeln!(f, "\ngrowth: exponent from the smallest size to the largest (1: in proportion)")?;
        }
        for growth in &self.growth {
            writeln!(f, "  {:<64} {:>10.2}", growth.figure, growth.exponent)?;
        }
        if let Some(kilobytes) = self.kilobytes_a_target {
            writeln!(f, "  {:<64} {:>10} KB {:<10} at most 4", "memory of one more target", number(kilobytes), "")?;
        }
        Ok(())
    }
}

fn line(row: &Row) -> String {
    let verdict = match row.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let aim = if row.aim.is_empty() { String::new() } else { format!("{} {}", row.aim, row.unit) };
    let text = format!("{:<64} {:>10} {:<12} {aim:<24} {verdict}", row.figure, number(row.value), row.unit);
    text.trim_end().to_owned()
}

/// Three figures, and whole numbers as they are.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// Counts of what a benchmark counts are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub const fn float(count: usize) -> f64 {
    count as f64
}

/// The same.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub const fn counted(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_the_slope_on_logarithmic_axes() {
        let slope = |points: [(f64, f64); 2]| exponent(points[0], points[1]).map(|slope| (slope * 100.0).round());
        assert_eq!(slope([(10.0, 1.0), (10_000.0, 1_000.0)]), Some(100.0));
        assert_eq!(slope([(10.0, 5.0), (10_000.0, 5.0)]), Some(0.0));
        assert_eq!(slope([(10.0, 0.0), (10_000.0, 5.0)]), None);
    }

    #[test]
    fn a_row_says_whether_its_aim_is_met() {
        assert_eq!(Row::new("a", "a", 3.0, "s").at_most(3.0).met, Some(true));
        assert_eq!(Row::new("a", "a", 3.1, "s").at_most(3.0).met, Some(false));
        assert_eq!(Row::new("a", "a", 1.0, "").exactly(0.0).met, Some(false));
    }
}
