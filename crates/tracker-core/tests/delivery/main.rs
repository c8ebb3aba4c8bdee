//! What couriers promise, on an output that fails, loses answers and hangs as it is told.

mod batches;
mod outputs;
mod stores;
mod support;
