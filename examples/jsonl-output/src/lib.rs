//! An at-least-once output that appends events to a file, to copy and change.
//!
//! `custom-server` serves it as a section of the configuration, and `embedded` uses it in a program.
//!
//! Each batch becomes one line, `{"batch": ID, "events": [...]}`, so a batch has arrived if and only if its line ends
//! with a newline. The output keeps the ids of the batches that arrived, and skips a batch that it receives again. After
//! a restart or a failed write it reads these ids from the file and cuts off an incomplete last line.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracker_config::{ConfigError, ConfiguredOutput};
use tracker_core::{Batch, Delivery, Event, EventKind, Output, OutputError, Uuid, async_trait};

/// How long one delivery may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The JSONL output; off without this section.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// The file to append to; an absolute path. The first delivery creates the file.
    #[schemars(example = &"/var/lib/deployment-tracker/events.jsonl")]
    pub path: PathBuf,
}

/// Appends events to a file as JSON lines.
#[derive(Debug)]
pub struct JsonlOutput {
    name: String,
    path: PathBuf,
    /// The ids of the batches in the file; `None` until the file has been read, and after a failed write. The writing
    /// thread holds the lock, even after the tracker has dropped the future that started it.
    arrived: Arc<Mutex<Option<HashSet<Uuid>>>>,
    /// The ids that the next delivery removes from `arrived`.
    forgotten: std::sync::Mutex<Vec<Uuid>>,
}

/// A line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    batch: Uuid,
    events: Vec<&'a Event>,
}

/// A line as it is read.
#[derive(Deserialize)]
struct LineId {
    batch: Uuid,
}

impl JsonlOutput {
    /// Creates an output that appends to the file at `path`. The first delivery creates the file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { name: "jsonl".to_owned(), path: path.into(), arrived: Arc::default(), forgotten: Default::default() }
    }

    fn error(&self, source: io::Error) -> OutputError {
        OutputError::new(format!("cannot write {}", self.path.display()), source)
    }
}

impl ConfiguredOutput for JsonlOutput {
    type Config = JsonlConfig;

    fn build(name: &str, config: JsonlConfig) -> Result<Self, ConfigError> {
        ConfigError::unless(config.path.is_absolute(), "path", "must be an absolute path")?;
        Ok(Self { name: name.to_owned(), ..Self::new(config.path) })
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

#[async_trait]
impl Output for JsonlOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn wants(&self, event: &Event) -> bool {
        wants(event)
    }

    async fn deliver(&self, batches: &[Arc<Batch>]) -> Result<(), OutputError> {
        let Ok(mut arrived) = Arc::clone(&self.arrived).try_lock_owned() else {
            return Err(OutputError::message("the previous write is still running"));
        };
        let forgotten = mem::take(&mut *self.forgotten.lock().expect("no holder panics"));
        if let Some(ids) = arrived.as_mut() {
            for batch in &forgotten {
                ids.remove(batch);
            }
        }
        let (path, batches) = (self.path.clone(), batches.to_vec());
        let write = move || append(&path, &mut arrived, &batches);
        within(WRITE_TIMEOUT, write).await.map_err(|error| self.error(error))
    }

    fn forget(&self, batches: &[Uuid]) {
        self.forgotten.lock().expect("no holder panics").extend(batches);
    }

    async fn check(&self) -> Result<(), OutputError> {
        let path = self.path.clone();
        within(CHECK_TIMEOUT, move || open(&path).map(drop)).await.map_err(|error| self.error(error))
    }
}

/// Selects starts and finishes. The file does not contain log messages.
fn wants(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Logged(_))
}

/// Appends the batches that have not arrived yet, and returns once they are on the disk.
fn append(path: &Path, arrived: &mut Option<HashSet<Uuid>>, batches: &[Arc<Batch>]) -> io::Result<()> {
    let mut file = open(path)?;
    // `arrived` stays `None` after an error, because the file may then end in the middle of a line.
    let mut ids = match arrived.take() {
        Some(ids) => ids,
        None => recover(&mut file)?,
    };
    let mut lines = Vec::new();
    for batch in batches {
        let events: Vec<_> = batch.events.iter().map(Arc::as_ref).filter(|event| wants(event)).collect();
        if !events.is_empty() && ids.insert(batch.id) {
            serde_json::to_writer(&mut lines, &Line { batch: batch.id, events })?;
            lines.push(b'\n');
        }
    }
    file.write_all(&lines)?;
    file.sync_data()?;
    *arrived = Some(ids);
    Ok(())
}

/// Reads the ids of the batches in the file, and cuts off an incomplete last line.
fn recover(file: &mut File) -> io::Result<HashSet<Uuid>> {
    let mut ids = HashSet::new();
    let mut complete = 0;
    let mut reader = BufReader::new(&*file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        ids.insert(serde_json::from_slice::<LineId>(&line)?.batch);
        complete += line.len() as u64;
        line.clear();
    }
    file.set_len(complete)?;
    Ok(ids)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(path)
}

/// Runs blocking work on a thread of its own, and stops waiting for it after `limit`.
async fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    timeout(limit, spawn_blocking(work)).await??
}

#[cfg(test)]
mod tests;
