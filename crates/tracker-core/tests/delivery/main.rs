//! Delivery guarantees, tested with an output and a store that fail, hang and lose answers on
//! demand.

mod batches;
mod outputs;
mod readiness;
mod stores;
mod support;
