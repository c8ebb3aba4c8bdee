//! Tests of the output.

use std::fs;
use std::path::PathBuf;
use std::slice::from_ref;
use std::sync::Arc;

use tempfile::TempDir;
use tracker_core::testing::{OutputHarness, output_suite, started};
use tracker_core::{Batch, Output, async_trait};

use super::*;

/// A file in a folder that can be moved out of the way.
struct Harness {
    root: TempDir,
    output: Arc<JsonlOutput>,
}

impl Harness {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(root.path().join("folder")).expect("new folder");
        let output = Arc::new(JsonlOutput::new(root.path().join("folder/events.jsonl")));
        Self { root, output }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

#[async_trait]
impl OutputHarness for Harness {
    fn output(&self) -> Arc<dyn Output> {
        self.output.clone()
    }

    async fn received(&mut self) -> Vec<String> {
        let text = fs::read_to_string(self.path("folder/events.jsonl")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn take_away(&mut self) {
        fs::rename(self.path("folder"), self.path("elsewhere")).expect("folder exists");
    }

    async fn bring_back(&mut self) {
        fs::rename(self.path("elsewhere"), self.path("folder")).expect("folder was moved");
    }
}

#[tokio::test]
async fn the_file_keeps_the_promises_of_an_output() {
    output_suite(&mut Harness::new()).await;
}

#[tokio::test]
async fn a_restart_recognizes_batches_and_cuts_off_an_incomplete_line() {
    let mut harness = Harness::new();
    let [first, second] = ["first", "second"].map(|_| Arc::new(Batch::new(vec![started(Default::default())])));
    harness.output.deliver(from_ref(&first)).await.expect("the folder exists");
    let path = harness.path("folder/events.jsonl");
    let complete = fs::read_to_string(&path).expect("the first delivery created the file");
    fs::write(&path, complete.clone() + r#"{"batch":"84e803f7-"#).expect("the folder exists");

    let restarted = JsonlOutput::new(&path);
    restarted.deliver(&[first, second.clone()]).await.expect("the folder exists");
    let lines = harness.received().await;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], complete.trim_end());
    assert!(lines[1].contains(&second.id.to_string()), "{}", lines[1]);
}
