//! What engines sent, and what they know of its fate: the oracle judges by this alone.

use serde_json::Value;

/// What the sender knows of something that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was answered with success: it must be there.
    Acknowledged,
    /// It was refused, or never reached the server: it must not be there.
    Refused,
    /// Nobody answered, or the answer says that it is not known: it may be there, as a whole.
    Unknown,
}

/// A report that may be repeated, and its fate after all repeats.
#[derive(Debug)]
pub struct Report {
    pub body: Value,
    pub fate: Fate,
}

/// Log messages that were sent together, once.
#[derive(Debug)]
pub struct Post {
    pub messages: Vec<Value>,
    pub fate: Fate,
}

#[derive(Debug)]
pub struct Visit {
    pub hostname: String,
    pub start: Report,
    pub finish: Option<Report>,
}

#[derive(Debug)]
pub struct Deployment {
    pub id: String,
    pub start: Report,
    pub visits: Vec<Visit>,
    pub posts: Vec<Post>,
    pub finish: Option<Report>,
    /// The `message` of each element that was acknowledged, in the order of the acknowledgements.
    pub acknowledged: Vec<String>,
}

impl Deployment {
    pub fn start_message(&self) -> String {
        format!("Deployment Tracker recording deployment start for deployment {}", self.id)
    }

    pub fn end_message(&self) -> String {
        format!("Deployment Tracker recording deployment end for deployment {}", self.id)
    }
}

/// How requests were answered.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// With success.
    pub acknowledged: u64,
    /// With 503.
    pub refused: u64,
    /// Not at all.
    pub lost: u64,
    /// With a 4xx that they deserved.
    pub wrong: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.lost += other.lost;
        self.wrong += other.wrong;
    }
}
