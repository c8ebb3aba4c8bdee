//! Simulated engines. Each runs one deployment after the other: it starts it, logs, starts and finishes servers, and
//! finishes it. Engines retry reports, send duplicates and invalid requests, and hang up at random.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Response, Sending};
use crate::ledger::{Deployment, Fate, Post, Report, ServerReports, Tally};

/// Part of the 503 that the service answers when the outbox is full. It comes before any effect, so the request is
/// refused, not in doubt. Must match the message of `tracker_core::Unavailable::OutboxFull`.
const OUTBOX_FULL: &str = "too many messages wait";

/// Everything that the engines did.
#[derive(Debug, Default)]
pub struct Work {
    pub deployments: Vec<Deployment>,
    pub tally: Tally,
    /// Responses that the contract does not allow.
    pub violations: Vec<String>,
}

/// Runs `count` engines against the server on `port` until `stop` is set.
pub fn run(count: u64, port: u16, seed: u64, stop: &AtomicBool) -> Work {
    let engine = |number| Engine {
        rng: Rng::with_seed(seed ^ number << 32),
        client: Client::new(port),
        stop,
        work: Work::default(),
    };
    let mut all = Work::default();
    thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|number| scope.spawn(move || engine(number).run())).collect();
        for running in running {
            let work = running.join().expect("an engine does not panic");
            all.deployments.extend(work.deployments);
            all.tally += work.tally;
            all.violations.extend(work.violations);
        }
    });
    all
}

struct Engine<'a> {
    rng: Rng,
    client: Client,
    stop: &'a AtomicBool,
    work: Work,
}

/// The result of one try.
enum Attempt {
    Succeeded,
    Failed(Fate),
    /// The status was one that the contract does not allow.
    Unexpected,
}

impl Engine<'_> {
    fn run(mut self) -> Work {
        while !self.is_stopped() {
            let deployment = self.deploy();
            self.work.deployments.push(deployment);
        }
        self.work
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    fn deploy(&mut self) -> Deployment {
        let id = self.new_id();
        let path = format!("/v1/deployments/{id}");
        let body = json!({
            "engine": "conservation", "engine_version": self.rng.u32(..).to_string(), "host": format!("host of {id}"),
            "user": "Zoë \u{2028} 😀 \"\\\n", "environment": "test", "package": format!("p{}", self.rng.u8(..9)),
            "version": self.rng.u64(..).to_string(), "arguments": "x".repeat(self.rng.usize(..300)),
        });
        let start = self.report("POST", &path, body, 201);
        let is_started = start.fate == Fate::Acknowledged;
        let (servers, posts, acknowledged) = (Vec::new(), Vec::new(), Vec::new());
        let mut deployment = Deployment { id, start, servers, posts, finish: None, acknowledged };
        if !is_started {
            return deployment;
        }
        deployment.acknowledged.push(deployment.start_message());
        for _ in 0..self.rng.u32(..12) {
            if self.is_stopped() {
                return deployment;
            }
            match self.rng.u32(..20) {
                0..12 => self.log(&mut deployment),
                12 => self.log_invalid_message(&mut deployment),
                13 => self.expect_rejection("POST", &path, &json!({ "engine": "another" }), 409),
                14 => {
                    let unknown = format!("/v1/deployments/{}", self.new_id());
                    self.expect_rejection("PUT", &unknown, &json!({ "result": "success" }), 404);
                }
                _ => self.report_server(&mut deployment),
            }
        }
        if self.is_stopped() || self.one_in(10) {
            return deployment;
        }
        let body = json!({
            "result": self.result(), "elapsed_seconds": self.rng.u32(..9999), "assert_empty_server_result": self.rng.bool(),
        });
        let finish = self.report("PUT", &path, body, 204);
        if finish.fate == Fate::Acknowledged {
            deployment.acknowledged.push(deployment.end_message());
        }
        deployment.finish = Some(finish);
        if self.one_in(4) {
            self.log(&mut deployment);
        }
        deployment
    }

    fn new_id(&mut self) -> String {
        let (a, b, c) = (self.rng.u32(..), self.rng.u16(..), self.rng.u64(..));
        format!("{a:08x}-{b:04x}-4{:03x}-8{:03x}-{:012x}", c >> 52, c >> 40 & 0xfff, c & 0xff_ffff_ffff)
    }

    fn result(&mut self) -> &'static str {
        if self.rng.bool() { "success" } else { "failure" }
    }

    /// Reports the start of a server, and often its finish.
    fn report_server(&mut self, deployment: &mut Deployment) {
        let path = format!("/v1/deployments/{}/servers", deployment.id);
        let hostname = format!("web{}.example.com", deployment.servers.len());
        let body = json!({ "hostname": hostname, "ip_address": format!("10.0.0.{}", self.rng.u8(..)) });
        let start = self.report("POST", &path, body, 201);
        let body = json!({ "hostname": hostname, "result": self.result(), "elapsed_seconds": self.rng.u32(..999) });
        let finishes = start.fate == Fate::Acknowledged && self.rng.bool() && !self.is_stopped();
        let finish = finishes.then(|| self.report("PUT", &path, body, 204));
        deployment.servers.push(ServerReports { hostname, start, finish });
    }

    /// Sends log messages, without a retry: posts are not idempotent, so a retry of one in doubt could record it twice.
    fn log(&mut self, deployment: &mut Deployment) {
        let count = match self.rng.u32(..40) {
            // More than the Redis output takes through its script.
            0 => self.rng.usize(250..600),
            1..20 => 1,
            _ => self.rng.usize(1..8),
        };
        let messages = self.messages(deployment, count);
        let body = if count == 1 && self.rng.bool() { messages[0].clone() } else { json!(messages) };
        let sending = self.sending();
        let path = format!("/v1/deployments/{}/logs", deployment.id);
        let fate = match self.attempt("POST", &path, &body, 201, sending) {
            Attempt::Succeeded => Fate::Acknowledged,
            Attempt::Failed(fate) => fate,
            Attempt::Unexpected => Fate::Refused,
        };
        if fate == Fate::Acknowledged {
            let sent = messages.iter().filter_map(|message| message["message"].as_str());
            deployment.acknowledged.extend(sent.map(str::to_owned));
        } else {
            self.back_off();
        }
        deployment.posts.push(Post { messages, fate });
    }

    /// Sends three valid messages and an invalid one: none may be recorded.
    fn log_invalid_message(&mut self, deployment: &mut Deployment) {
        let valid = self.messages(deployment, 3);
        let mut messages = valid.clone();
        messages.push(json!({ "text": "not a message" }));
        self.expect_rejection("POST", &format!("/v1/deployments/{}/logs", deployment.id), &json!(messages), 400);
        deployment.posts.push(Post { messages: valid, fate: Fate::Refused });
    }

    /// The next `count` messages of a deployment, numbered over all its posts.
    fn messages(&mut self, deployment: &Deployment, count: usize) -> Vec<Value> {
        let first: usize = deployment.posts.iter().map(|post| post.messages.len()).sum();
        (first..first + count).map(|number| self.message(&deployment.id, number)).collect()
    }

    fn message(&mut self, id: &str, number: usize) -> Value {
        let tail = ["", " Zoë \u{2028} 😀", " \"quoted\" \\ \n\t", " </script>"][self.rng.usize(..4)];
        let mut message = json!({ "message": format!("{id} message {number}{tail}") });
        match self.rng.u32(..5) {
            0 => message["details"] = json!({ "f": 1e-7, "i": u64::MAX, "a": [1, null, true, { "b": "" }] }),
            1 => message["@timestamp"] = json!("2015-07-07T17:34:12.075Z"),
            2 => message["text"] = "x".repeat(self.rng.usize(..3000)).into(),
            3 => message["index"] = json!("is replaced"),
            _ => {}
        }
        message
    }

    fn sending(&mut self) -> Sending {
        match self.rng.u32(..60) {
            0 => Sending::HangUpAfter,
            1 => Sending::HangUpHalfWay,
            _ => Sending::Complete,
        }
    }

    /// Sends a report until it is acknowledged or the round ends. One acknowledged report in eight is sent again.
    fn report(&mut self, method: &str, path: &str, body: Value, success: u16) -> Report {
        let mut fate = Fate::Refused;
        loop {
            let sending = self.sending();
            match self.attempt(method, path, &body, success, sending) {
                Attempt::Succeeded => fate = Fate::Acknowledged,
                // An earlier try may be in doubt.
                Attempt::Failed(Fate::Refused) => {}
                Attempt::Failed(_) | Attempt::Unexpected => fate = Fate::Unknown,
            }
            if fate == Fate::Acknowledged || self.is_stopped() {
                break;
            }
            self.back_off();
        }
        while fate == Fate::Acknowledged && self.one_in(8) {
            let sending = self.sending();
            self.attempt(method, path, &body, success, sending);
        }
        Report { body, fate }
    }

    fn attempt(&mut self, method: &str, path: &str, body: &Value, success: u16, sending: Sending) -> Attempt {
        let timeout = Duration::from_millis([300, 1_000, 8_000, 8_000][self.rng.usize(..4)]);
        let response = match self.client.send(method, path, &body.to_string(), sending, timeout) {
            Answer::Received(response) => response,
            Answer::NotSent => return Attempt::Failed(Fate::Refused),
            Answer::Lost => {
                self.work.tally.lost += 1;
                return Attempt::Failed(Fate::Unknown);
            }
        };
        if response.status == success {
            self.work.tally.acknowledged += 1;
            return Attempt::Succeeded;
        }
        if response.status == 503 && response.has_retry_after {
            self.work.tally.unavailable += 1;
            // Any other 503 may come after the change was made.
            let fate = if response.body.contains(OUTBOX_FULL) { Fate::Refused } else { Fate::Unknown };
            return Attempt::Failed(fate);
        }
        self.record_violation(method, path, success, &response);
        Attempt::Unexpected
    }

    /// Sends an invalid request, which must be answered with `status`, with 503 or not at all.
    fn expect_rejection(&mut self, method: &str, path: &str, body: &Value, status: u16) {
        match self.client.send(method, path, &body.to_string(), Sending::Complete, Duration::from_secs(8)) {
            Answer::Received(response) if response.status == status => self.work.tally.rejected += 1,
            Answer::Received(response) if response.status == 503 => self.work.tally.unavailable += 1,
            Answer::Received(response) => self.record_violation(method, path, status, &response),
            Answer::NotSent | Answer::Lost => {}
        }
    }

    fn record_violation(&mut self, method: &str, path: &str, expected: u16, response: &Response) {
        let Response { status, body, .. } = response;
        self.work.violations.push(format!("{method} {path} was answered {status} instead of {expected}: {body}"));
    }

    fn back_off(&mut self) {
        thread::sleep(Duration::from_millis(self.rng.u64(5..120)));
    }
}
