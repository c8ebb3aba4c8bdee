//! A queue of lines for standard error, which a thread of its own writes.
//!
//! A pipe whose reader pauses blocks every write once it is full. Only the thread waits for it: other threads append to
//! the queue, and drop their line if the queue is full.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The maximum size of the lines that wait, in bytes.
const QUEUE_BYTES: usize = 1 << 20;
/// How long the end of the process waits for the last lines.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

static QUEUE: Mutex<Queue> = Mutex::new(Queue { lines: Vec::new(), dropped: 0, is_writing: false });
static CHANGED: Condvar = Condvar::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Queue {
    lines: Vec<u8>,
    /// The number of dropped lines that the log does not mention yet.
    dropped: u64,
    /// Whether the thread is writing lines that it has taken.
    is_writing: bool,
}

impl Queue {
    fn is_pending(&self) -> bool {
        self.is_writing || !self.lines.is_empty()
    }
}

/// Appends lines to the queue. Each call of [`Write::write`] passes one whole line.
#[derive(Debug, Clone, Copy)]
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = lock();
        if queue.lines.len() + line.len() <= QUEUE_BYTES {
            queue.lines.extend_from_slice(line);
        } else {
            queue.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        CHANGED.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until the lines are written, for at most a second.
pub fn flush() {
    drop(CHANGED.wait_timeout_while(lock(), FLUSH_DEADLINE, |queue| queue.is_pending()));
}

/// Calls [`flush`] when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it waits"]
pub struct Flush(());

impl Drop for Flush {
    fn drop(&mut self) {
        flush();
    }
}

/// Starts the thread. Keep the result until the process ends.
///
/// # Errors
/// If the system cannot start a thread.
pub fn start() -> io::Result<Flush> {
    thread::Builder::new().name("log".to_owned()).spawn(write_lines).map(|_| Flush(()))
}

/// The number of lines that were dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn write_lines() {
    let mut lines = Vec::new();
    loop {
        let is_empty = |queue: &mut Queue| queue.lines.is_empty();
        let mut queue = CHANGED.wait_while(lock(), is_empty).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.lines, &mut lines);
        let dropped = std::mem::take(&mut queue.dropped);
        queue.is_writing = true;
        drop(queue);
        // Before the write, which may take long: the queue is empty now, so it has room for this line.
        if dropped > 0 {
            log::warn!(lines = dropped; "the log lacks lines here, because standard error was not read fast enough");
        }
        // There is no other place to report that standard error is closed.
        let _ = io::stderr().write_all(&lines);
        lines.clear();
        lock().is_writing = false;
        CHANGED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn a_panic_waits_until_the_lines_are_written() {
        let panicked = panic::catch_unwind(|| {
            let _flush = start().expect("the system can start a thread");
            StandardError.write_all(b"a line before a panic\n").expect("appending cannot fail");
            panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert!(!lock().is_pending());
    }
}
