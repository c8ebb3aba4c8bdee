//! A StatsD server that records what it receives.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A UDP socket that records every line.
#[derive(Debug)]
pub struct Statsd {
    /// Its UDP port.
    pub port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Statsd {
    /// Listens on a free port.
    pub fn listen() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port is free");
        let port = socket.local_addr().expect("the socket is bound").port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        thread::spawn(move || {
            let mut packet = [0; 65_536];
            while let Ok(size) = socket.recv(&mut packet) {
                let text = String::from_utf8_lossy(&packet[..size]).into_owned();
                let mut lines = seen.lock().unwrap_or_else(PoisonError::into_inner);
                lines.extend(text.split('\n').filter(|line| !line.is_empty()).map(str::to_owned));
            }
        });
        Self { port, lines }
    }

    /// Every line so far, in order of arrival.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Discards the lines so far.
    pub fn forget(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Adds up the values of each counter and sorts the lines. Counters whose sum is zero are left out.
pub fn sum(lines: &[String]) -> Vec<String> {
    let mut counters = BTreeMap::<&str, i64>::new();
    let mut sorted = Vec::new();
    for line in lines {
        match line.strip_suffix("|c").and_then(|line| line.rsplit_once(':')) {
            Some((name, value)) => {
                *counters.entry(name).or_default() += value.parse::<i64>().unwrap_or_else(|_| panic!("{line}"));
            }
            None => sorted.push(line.clone()),
        }
    }
    let counters = counters.into_iter().filter(|(_, total)| *total != 0);
    sorted.extend(counters.map(|(name, total)| format!("{name}:{total}|c")));
    sorted.sort();
    sorted
}
