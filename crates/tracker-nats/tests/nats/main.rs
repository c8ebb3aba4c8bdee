//! The output with real NATS servers.

mod delivery;
mod errors;
mod support;
