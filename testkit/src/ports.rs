//! Free ports on loopback for servers that must be told a port.
//!
//! Taken from below the range that the kernel gives to outgoing connections, so that a test's own
//! client cannot take the port between the look and the server's start. Two test processes may
//! still pick the same one; [`crate::children::start_on_free_port`] then takes another.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
/// Linux gives outgoing connections 32768 and above (`ip_local_port_range`).
const COUNT: u16 = 22_000;

/// Returns a port on which nothing listens now.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes start far apart, so that they seldom look at the same port.
    let start = (std::process::id() % 1_000) * 22;
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (start + step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_distinct() {
        let (one, two) = (free_port(), free_port());
        assert_ne!(one, two);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, one)).unwrap();
        let others: Vec<u16> = (0..50).map(|_| free_port()).collect();
        assert!(!others.contains(&held.local_addr().unwrap().port()));
    }
}
