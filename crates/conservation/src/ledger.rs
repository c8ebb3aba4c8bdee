//! The ledger: everything that the engines sent, and what they know of its fate. The oracle judges by this alone.

use serde_json::Value;

/// The effect of a request, as far as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The response was a success: all of it must be recorded.
    Acknowledged,
    /// The request was rejected, or did not reach the server: nothing of it may be recorded.
    Refused,
    /// In doubt, because the response was lost or does not say: either all of it is recorded, or nothing.
    Unknown,
}

/// An idempotent report, and its fate after all retries.
#[derive(Debug)]
pub struct Report {
    pub body: Value,
    pub fate: Fate,
}

/// Log messages that were sent once, in one request.
#[derive(Debug)]
pub struct Post {
    pub messages: Vec<Value>,
    pub fate: Fate,
}

/// The reports about one server of a deployment.
#[derive(Debug)]
pub struct ServerReports {
    pub hostname: String,
    pub start: Report,
    pub finish: Option<Report>,
}

/// The reports about a deployment.
#[derive(Debug)]
pub struct Deployment {
    pub id: String,
    pub start: Report,
    pub servers: Vec<ServerReports>,
    pub posts: Vec<Post>,
    pub finish: Option<Report>,
    /// The `message` of each acknowledged element, in the order of the acknowledgements.
    pub acknowledged: Vec<String>,
}

impl Deployment {
    /// The `message` of the element that announces the start.
    pub fn start_message(&self) -> String {
        format!("{ANNOUNCEMENT}start for deployment {}", self.id)
    }

    /// The `message` of the element that announces the finish.
    pub fn end_message(&self) -> String {
        format!("{ANNOUNCEMENT}end for deployment {}", self.id)
    }
}

/// How the `message` of the elements begins that are no log messages.
pub const ANNOUNCEMENT: &str = "Deployment Tracker recording deployment ";

/// Requests by the kind of their response.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Success.
    pub acknowledged: u64,
    /// Status 503.
    pub unavailable: u64,
    /// No response.
    pub lost: u64,
    /// The status 4xx that an invalid request deserves.
    pub rejected: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unavailable += other.unavailable;
        self.lost += other.lost;
        self.rejected += other.rejected;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { acknowledged, unavailable, lost, rejected } = self;
        write!(
            formatter,
            "{acknowledged} acknowledged, {unavailable} answered 503, {rejected} answered 4xx, {lost} without an answer"
        )
    }
}
