//! What the server does for each report without IO: reading the body, and writing what Redis gets. `cargo bench -p
//! hot-paths` times it, `scripts/instructions` counts its instructions.

use std::sync::Arc;

use tracker_core::testing::{deployment_report, logged, new_id, started};
use tracker_core::{Batch, Event};
use tracker_redis::{RedisConfig, RedisOutput};

/// A report, as its body.
#[derive(Debug)]
pub struct Path {
    /// Its name in tables and files.
    pub name: &'static str,
    body: String,
    read: fn(&str) -> Arc<Event>,
}

impl Path {
    /// The start of a deployment, and log posts of 1 and 100 messages.
    pub fn all() -> [Self; 3] {
        let start = r#"{"engine":"vagrant_orchestrate","engine_version":"0.6.3","host":"localhost","user":"cbaldauf",
            "environment":"dev","package":"test","package_url":"http://mypackage.mydomain.com","version":"4.5.6",
            "arguments":"--strategy parallel"}"#;
        let message = r#"{"message":"Starting deployment phase 1 of the package on the server","severity":"info"}"#;
        let logs = |count: usize| format!("[{}]", vec![message; count].join(","));
        let start_of = |body: &str| started(deployment_report(new_id(), body).fields);
        [
            Self { name: "start", body: start.into(), read: start_of },
            Self { name: "log1", body: logs(1), read: logged },
            Self { name: "log100", body: logs(100), read: logged },
        ]
    }

    /// Reads the body.
    pub fn read(&self) -> Arc<Event> {
        (self.read)(&self.body)
    }
}

/// An output that has never connected.
///
/// # Panics
/// When the default configuration does not work.
pub fn output() -> RedisOutput {
    RedisOutput::new(RedisConfig::default()).expect("the default configuration works")
}

/// Writes what Redis gets of `event`; how many bytes that are.
pub fn write(output: &RedisOutput, event: Arc<Event>) -> usize {
    output.elements(&Batch::new(vec![event])).iter().map(Vec::len).sum()
}
