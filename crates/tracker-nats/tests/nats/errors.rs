//! Errors say what to do.
