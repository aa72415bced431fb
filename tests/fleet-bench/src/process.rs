//! What the kernel says of a process.
use anyhow::{Context as _, Result};
use std::fs;
use std::time::Duration;

/// The kernel counts processor time in these, on every platform that Linux tells it to user space on.
const TICKS_A_SECOND: u64 = 100;

/// Processor time that a process has used, in user space and in the kernel.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    // The name of the program stands in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(')').context("no name in stat")?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("too few fields in stat")?.parse()?) };
    let (user, system) = (ticks()?, ticks()?);
    Ok(Duration::from_millis((user + system) * 1_000 / TICKS_A_SECOND))
}

/// Kilobytes of memory that were resident at most so far.
pub fn peak_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_processor_time_and_memory_are_told() {
        let pid = std::process::id();
        let before = cpu(pid).expect("our own stat");
        let began = std::time::Instant::now();
        while cpu(pid).expect("our own stat") == before {
            assert!(began.elapsed() < Duration::from_secs(30), "busy, and no time is counted");
        }
        assert!(peak_memory(pid).expect("our own status") > 100);
    }
}
