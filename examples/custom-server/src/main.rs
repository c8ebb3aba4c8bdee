//! The server with an output of its own and a further store, `memory:`. Run it with
//!
//! ```sh
//! DEPLOYMENT_TRACKER_JSONL__PATH=/tmp/events.jsonl DEPLOYMENT_TRACKER_DATABASE__URL=memory: cargo run -p custom-server
//! ```

use std::process::ExitCode;

use deployment_tracker::tracker_core::MemoryStore;
use deployment_tracker::{MiMalloc, Server};
use jsonl_output::JsonlOutput;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    Server::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .output::<JsonlOutput>("jsonl")
        .store::<MemoryStore>()
        .run()
}
