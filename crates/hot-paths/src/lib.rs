//! The CPU work of the server for each report: parsing the body and encoding the elements for Redis, without I/O.
//!
//! `cargo bench -p hot-paths` times it, and `scripts/instructions` counts its instructions.

use std::sync::Arc;

use tracker_core::testing::{deployment_report, logged, new_id, started};
use tracker_core::{Batch, Event};
use tracker_redis::{RedisConfig, RedisOutput};

/// A hot path: one kind of report, with an example of its body.
#[derive(Debug)]
pub struct Path {
    /// The name on the command line and in `instructions.txt`.
    pub name: &'static str,
    body: String,
    read: fn(&str) -> Arc<Event>,
}

impl Path {
    /// The start of a deployment, and log reports with 1 and 100 messages.
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

    /// Parses the body into an event.
    pub fn read(&self) -> Arc<Event> {
        (self.read)(&self.body)
    }
}

/// Creates an output with the default configuration. It never connects.
///
/// # Panics
/// If the default configuration is invalid. The tests of `tracker-redis` check that it is valid.
pub fn output() -> RedisOutput {
    RedisOutput::new(RedisConfig::default()).expect("the default configuration is valid")
}

/// Encodes the elements of `event`. Returns their size in bytes.
pub fn write(output: &RedisOutput, event: Arc<Event>) -> usize {
    output.elements(&Batch::new(vec![event])).iter().map(Vec::len).sum()
}
