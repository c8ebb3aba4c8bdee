//! The packaged server.

use std::process::ExitCode;

use deployment_tracker::{MiMalloc, Server};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    Server::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).run()
}
