//! Ports for the API server.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the ports that systems give to clients, so that nobody is given ours while the server is down.
const FIRST: u16 = 16_384;
const COUNT: u16 = 12_000;
/// Taken ports in a row after which something else must be wrong.
const ATTEMPTS: u16 = 200;

/// Ports that are free at this moment, from a random one on.
pub(super) struct FreePorts {
    start: u16,
    tried: u16,
}

pub(super) fn free_ports() -> FreePorts {
    let random = RandomState::new().hash_one(std::process::id()) % u64::from(COUNT);
    FreePorts { start: u16::try_from(random).unwrap_or_default(), tried: 0 }
}

impl FreePorts {
    pub(super) fn next(&mut self) -> io::Result<u16> {
        loop {
            let port = FIRST + (self.start + self.tried) % COUNT;
            self.tried += 1;
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(_) => return Ok(port),
                Err(error) if self.tried >= ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Whether a server's last words say that somebody took its port between our look and its start.
pub(super) fn was_taken(last_words: &str) -> bool {
    last_words.contains("address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_passed_over() {
        // Bound once and kept: a port that was let go may stay taken for a moment, by a process that another test forks.
        let (offset, _held) = (0..COUNT)
            .find_map(|offset| Some((offset, TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + offset)).ok()?)))
            .expect("a free port");
        let next = FreePorts { start: offset, tried: 0 }.next().expect("another free port");
        assert_ne!(next, FIRST + offset);
    }
}
