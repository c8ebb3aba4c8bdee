//! Signals to processes that a test has started.

use std::process::{Child, Command};

/// Sends `signal` (`TERM`, `STOP` …) to `child`, which must not have been waited for.
pub fn signal(child: &Child, signal: &str) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success(), "{kill}");
}
