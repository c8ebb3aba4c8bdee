//! The server with an output of its own. Run it with
//!
//! ```sh
//! DEPLOYMENT_TRACKER_JSONL__PATH=/tmp/events.jsonl cargo run -p custom-server
//! ```

use std::process::ExitCode;

use deployment_tracker::{MiMalloc, Server};
use jsonl_output::JsonlOutput;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    Server::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).output::<JsonlOutput>("jsonl").run()
}
