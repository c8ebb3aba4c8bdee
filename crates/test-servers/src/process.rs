//! Signals and free ports.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// Sends `signal` (`TERM`, `STOP` …) to the process `id`. It must be a child that has not been waited for yet, since
/// its id could belong to another process afterwards.
pub fn signal(id: u32, signal: &str) {
    let kill = format!("kill -{signal} {id}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("`sh` is installed").success(), "{kill}");
}

/// A TCP port between 10000 and 30000 that is free. The kernel does not assign these to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    (0..20_000)
        .map(|_| 10_000 + (first - 10_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("one of 20,000 ports is free")
}
