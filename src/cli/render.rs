//! A report for people: what would change first, then what stays and is not ours, each with its reason.
use super::sources::counted;
use crate::survey::{Identity, IdentityOutcome, IfEnforced, Line, Machine, Mark, Outcome, Report};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const PLAIN: Style = Style::new();

/// Texts of somebody else's: what they hold must not steer a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// What is shown beside changes.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// Machines without changes in full.
    pub unchanged: bool,
}

/// The whole report.
#[must_use]
pub fn report(report: &Report, show: Show) -> String {
    let mut text = String::new();
    for identity in &report.identities {
        let quiet = matches!(identity.outcome, IdentityOutcome::NoChange | IdentityOutcome::Adopt);
        if show.unchanged || !quiet || !identity.warnings.is_empty() {
            text += &self::identity(identity);
            text.push('\n');
        }
    }
    for machine in &report.machines {
        let quiet = machine.outcome == Outcome::NoChange && machine.warnings.is_empty() && !has_news(machine);
        if show.unchanged || !quiet {
            text += &self::machine(machine);
            text.push('\n');
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "{FAINT}note: {note}{FAINT:#}");
    }
    text += &summary(report);
    text
}

/// A conflict, a refusal, or an observer's plan.
fn has_news(machine: &Machine) -> bool {
    let told = |line: &Line| matches!(line.action, Mark::Conflict | Mark::Refused);
    machine.identities.iter().any(told) || !machine.if_enforced.is_empty()
}

/// One identity that is an object.
fn identity(identity: &Identity) -> String {
    let (style, sign, said) = match identity.outcome {
        IdentityOutcome::Create => (ADDED, '+', "create"),
        IdentityOutcome::Tag => (CHANGED, '~', "change tags"),
        IdentityOutcome::Delete => (REMOVED, '-', "delete"),
        IdentityOutcome::Adopt => (PLAIN, '=', "adopt"),
        IdentityOutcome::NoChange => (PLAIN, '=', "no change"),
        IdentityOutcome::Exists => (CHANGED, '!', "exists"),
        IdentityOutcome::InUse => (CHANGED, '!', "in use"),
        IdentityOutcome::LetGo => (FAINT, '.', "let go"),
        IdentityOutcome::Unread => (REMOVED, '!', "NOT READ"),
    };
    let by: Vec<String> = identity.declared_by.iter().map(ToString::to_string).collect();
    let by = if by.is_empty() { String::new() } else { format!(" [{}]", by.join(", ")) };
    let mut text = String::new();
    let _ = writeln!(text, "{style}{sign}{style:#} {BOLD}{}{BOLD:#}  {style}{said}{style:#}", plain(&identity.name));
    let _ = writeln!(text, "  {FAINT}{}{FAINT:#}", identity.resource_id);
    let _ = writeln!(text, "    {}", plain(&format!("{}{by}", identity.why)));
    if let Some(tags) = &identity.tags {
        for (name, value) in &tags.set {
            let _ = writeln!(text, "    {ADDED}+{ADDED:#} tag {}", plain(&format!("{name}: {value}")));
        }
        for name in &tags.remove {
            let _ = writeln!(text, "    {REMOVED}-{REMOVED:#} tag {}", plain(name));
        }
    }
    for warning in &identity.warnings {
        let _ = writeln!(text, "    {CHANGED}!{CHANGED:#} {}", plain(warning));
    }
    if let Some(error) = &identity.error {
        let _ = writeln!(text, "    {REMOVED}!{REMOVED:#} {}", plain(error));
    }
    text
}

/// One machine.
#[must_use]
pub fn machine(machine: &Machine) -> String {
    let (style, sign) = match machine.outcome {
        Outcome::Change => (CHANGED, '~'),
        Outcome::NoChange => (PLAIN, ' '),
        Outcome::NotFound => (CHANGED, '?'),
        Outcome::Unread => (REMOVED, '!'),
    };
    let said = match machine.outcome {
        Outcome::Change => "",
        Outcome::NoChange => "no change",
        Outcome::NotFound => "not found",
        Outcome::Unread => "NOT READ",
    };
    let gap = if said.is_empty() { "" } else { "  " };
    let mut text = String::new();
    let _ = writeln!(text, "{style}{sign}{style:#} {BOLD}{}{BOLD:#}{gap}{style}{said}{style:#}", machine.name);
    let _ = writeln!(text, "  {FAINT}{}{FAINT:#}", machine.resource_id);
    let width = machine.identities.iter().map(|line| line.name().chars().count()).max().unwrap_or_default();
    let (due, stays): (Vec<&Line>, Vec<&Line>) = machine.identities.iter().partition(|line| line.action.is_change());
    for one in due.into_iter().chain(stays) {
        text += &line(one, width);
    }
    for IfEnforced { assignment, changes } in &machine.if_enforced {
        let _ = writeln!(text, "    {FAINT}{assignment} enforces nothing; with mode: Enforce it would:{FAINT:#}");
        for change in changes {
            text += &line(change, width);
        }
    }
    if machine.outcome == Outcome::NotFound || machine.outcome == Outcome::Unread {
        for origin in &machine.declared_by {
            let _ = writeln!(text, "    declared by {origin}");
        }
    }
    for warning in &machine.warnings {
        let _ = writeln!(text, "    {CHANGED}!{CHANGED:#} {}", plain(warning));
    }
    if let Some(error) = &machine.error {
        let _ = writeln!(text, "    {REMOVED}!{REMOVED:#} {}", plain(error));
    }
    text
}

fn line(line: &Line, width: usize) -> String {
    let (style, sign) = match line.action {
        Mark::Attach | Mark::Enable => (ADDED, '+'),
        Mark::Detach | Mark::Disable => (REMOVED, '-'),
        Mark::Repair => (CHANGED, '~'),
        Mark::Keep => (PLAIN, '='),
        Mark::Leave => (FAINT, '.'),
        Mark::Conflict | Mark::Refused => (CHANGED, '!'),
    };
    let action = match line.action {
        Mark::Attach => "attach",
        Mark::Detach => "detach",
        Mark::Enable => "enable",
        Mark::Disable => "disable",
        Mark::Repair => "repair",
        Mark::Keep => "keep",
        Mark::Leave => "leave",
        Mark::Conflict => "conflict",
        Mark::Refused => "refused",
    };
    let by: Vec<String> = line.by.iter().map(ToString::to_string).collect();
    let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
    let (why, by) = match line.action {
        // "declared; attached by Lanyard" reads badly with a name behind it.
        Mark::Keep | Mark::Conflict | Mark::Refused | Mark::Leave if !by.is_empty() => {
            (line.why.clone(), format!(" [{}]", by.trim_start_matches(" by ")))
        }
        _ => (line.why.clone(), by),
    };
    let held = line.held.as_ref().map(|held| format!(" ({held})")).unwrap_or_default();
    format!(
        "    {style}{sign} {:width$}  {action:8}{style:#} {}\n",
        plain(line.name()),
        plain(&format!("{why}{by}{held}"))
    )
}

fn summary(report: &Report) -> String {
    let summary = &report.summary;
    let count = |mark: fn(Mark) -> bool| {
        report.machines.iter().flat_map(|machine| &machine.identities).filter(|line| mark(line.action)).count()
    };
    let adds = count(|mark| matches!(mark, Mark::Attach | Mark::Enable));
    let removes = count(|mark| matches!(mark, Mark::Detach | Mark::Disable));
    let repairs = count(|mark| mark == Mark::Repair);
    let conflicts = count(|mark| mark == Mark::Conflict);
    let mut parts = vec![format!("{} to add", adds), format!("{removes} to remove")];
    if repairs > 0 {
        parts.push(format!("{repairs} to repair"));
    }
    let mut text = match summary.change {
        0 => format!("No changes: {} as declared", counted(summary.no_change, "machine")),
        change => format!("{} of {} would change: {}", change, counted(summary.machines, "machine"), parts.join(", ")),
    };
    for (count, what) in [(summary.not_found, "not found"), (conflicts, "in conflict"), (summary.unread, "NOT READ")] {
        if count > 0 {
            let _ = write!(text, "; {count} {what}");
        }
    }
    let of_identities = |outcome| report.identities.iter().filter(|one| one.outcome == outcome).count();
    if summary.identities > 0 {
        let told = [
            (of_identities(IdentityOutcome::Create), "to create"),
            (of_identities(IdentityOutcome::Tag), "to change"),
            (of_identities(IdentityOutcome::Delete), "to delete"),
            (of_identities(IdentityOutcome::Adopt), "to adopt as they are"),
            (summary.identities_unread, "NOT READ"),
        ];
        let told: Vec<String> =
            told.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let told = if told.is_empty() { "as declared".to_owned() } else { told.join(", ") };
        let _ = write!(text, ". Of {}: {told}", counted_identities(summary.identities));
    }
    if !report.complete {
        text += ". This is not the whole plan: more may change on what could not be read";
    }
    format!("{BOLD}{text}.{BOLD:#}\n")
}

fn counted_identities(count: usize) -> String {
    if count == 1 { "1 identity".into() } else { format!("{count} identities") }
}

/// Rows under each other, as kubectl prints them.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let row: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("   ").trim_end());
    }
    text
}
