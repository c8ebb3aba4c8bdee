//! Where the server listens.
