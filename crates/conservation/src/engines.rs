//! Engines: they start, log, finish, repeat, make mistakes and hang up, each one deployment after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Manner, Response};
use crate::ledger::{Deployment, Fate, Post, Report, Tally, Visit};

/// What an engine did.
#[derive(Debug, Default)]
pub struct Work {
    pub deployments: Vec<Deployment>,
    pub tally: Tally,
    /// Answers that should not have been.
    pub complaints: Vec<String>,
}

/// Runs `count` engines against the server on `port` until `stop`.
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
            all.complaints.extend(work.complaints);
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

/// What one attempt came to.
enum Attempt {
    Done,
    Failed(Fate),
    /// Answered with a status that should not have been.
    Wrong,
}

impl Engine<'_> {
    fn run(mut self) -> Work {
        while !self.is_over() {
            let deployment = self.deploy();
            self.work.deployments.push(deployment);
        }
        self.work
    }

    fn is_over(&self) -> bool {
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
        let begun = start.fate == Fate::Acknowledged;
        let (visits, posts, acknowledged) = (Vec::new(), Vec::new(), Vec::new());
        let mut deployment = Deployment { id, start, visits, posts, finish: None, acknowledged };
        if !begun {
            return deployment;
        }
        deployment.acknowledged.push(deployment.start_message());
        for _ in 0..self.rng.u32(..12) {
            if self.is_over() {
                return deployment;
            }
            match self.rng.u32(..20) {
                0..12 => self.log(&mut deployment),
                12 => self.log_what_is_wrong(&mut deployment),
                13 => self.must_be_refused("POST", &path, &json!({ "engine": "another" }), 409),
                14 => {
                    let nobody = format!("/v1/deployments/{}", self.new_id());
                    self.must_be_refused("PUT", &nobody, &json!({ "result": "success" }), 404);
                }
                _ => self.visit(&mut deployment),
            }
        }
        if self.is_over() || self.one_in(10) {
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

    fn visit(&mut self, deployment: &mut Deployment) {
        let path = format!("/v1/deployments/{}/servers", deployment.id);
        let hostname = format!("web{}.example.com", deployment.visits.len());
        let body = json!({ "hostname": hostname, "ip_address": format!("10.0.0.{}", self.rng.u8(..)) });
        let start = self.report("POST", &path, body, 201);
        let body = json!({ "hostname": hostname, "result": self.result(), "elapsed_seconds": self.rng.u32(..999) });
        let goes_on = start.fate == Fate::Acknowledged && self.rng.bool() && !self.is_over();
        let finish = goes_on.then(|| self.report("PUT", &path, body, 204));
        deployment.visits.push(Visit { hostname, start, finish });
    }

    /// Sends log messages, once: whoever does not know whether they arrived has to send others.
    fn log(&mut self, deployment: &mut Deployment) {
        let count = match self.rng.u32(..40) {
            // More than the Redis output takes through its script.
            0 => self.rng.usize(250..600),
            1..20 => 1,
            _ => self.rng.usize(1..8),
        };
        let first: usize = deployment.posts.iter().map(|post| post.messages.len()).sum();
        let messages: Vec<_> = (first..first + count).map(|n| self.message(&deployment.id, n)).collect();
        let body = if count == 1 && self.rng.bool() { messages[0].clone() } else { json!(messages) };
        let manner = self.manner();
        let path = format!("/v1/deployments/{}/logs", deployment.id);
        let fate = match self.attempt("POST", &path, &body, 201, manner) {
            Attempt::Done => Fate::Acknowledged,
            Attempt::Failed(fate) => fate,
            Attempt::Wrong => Fate::Refused,
        };
        if fate == Fate::Acknowledged {
            deployment
                .acknowledged
                .extend(messages.iter().filter_map(|message| message["message"].as_str().map(str::to_owned)));
        } else {
            self.pause();
        }
        deployment.posts.push(Post { messages, fate });
    }

    /// Sends log messages of which one is none: none may be recorded.
    fn log_what_is_wrong(&mut self, deployment: &mut Deployment) {
        let first: usize = deployment.posts.iter().map(|post| post.messages.len()).sum();
        let mut messages: Vec<_> = (first..first + 3).map(|n| self.message(&deployment.id, n)).collect();
        let good = messages.clone();
        messages.push(json!({ "text": "not a message" }));
        self.must_be_refused("POST", &format!("/v1/deployments/{}/logs", deployment.id), &json!(messages), 400);
        deployment.posts.push(Post { messages: good, fate: Fate::Refused });
    }

    fn message(&mut self, id: &str, n: usize) -> Value {
        let tail = ["", " Zoë \u{2028} 😀", " \"quoted\" \\ \n\t", " </script>"][self.rng.usize(..4)];
        let mut message = json!({ "message": format!("{id} message {n}{tail}") });
        match self.rng.u32(..5) {
            0 => message["details"] = json!({ "f": 1e-7, "i": u64::MAX, "a": [1, null, true, { "b": "" }] }),
            1 => message["@timestamp"] = json!("2015-07-07T17:34:12.075Z"),
            2 => message["text"] = "x".repeat(self.rng.usize(..3000)).into(),
            3 => message["index"] = json!("is replaced"),
            _ => {}
        }
        message
    }

    fn manner(&mut self) -> Manner {
        match self.rng.u32(..60) {
            0 => Manner::HangUpAfter,
            1 => Manner::HangUpHalfWay,
            _ => Manner::Whole,
        }
    }

    /// Sends a report until it is acknowledged, or the end has come; then, sometimes, once more.
    fn report(&mut self, method: &str, path: &str, body: Value, success: u16) -> Report {
        let mut fate = Fate::Refused;
        loop {
            let manner = self.manner();
            match self.attempt(method, path, &body, success, manner) {
                Attempt::Done => fate = Fate::Acknowledged,
                Attempt::Failed(Fate::Refused) => {}
                Attempt::Failed(_) | Attempt::Wrong => fate = Fate::Unknown,
            }
            if fate == Fate::Acknowledged || self.is_over() {
                break;
            }
            self.pause();
        }
        while fate == Fate::Acknowledged && self.one_in(8) {
            let manner = self.manner();
            self.attempt(method, path, &body, success, manner);
        }
        Report { body, fate }
    }

    fn attempt(&mut self, method: &str, path: &str, body: &Value, success: u16, manner: Manner) -> Attempt {
        let patience = Duration::from_millis([300, 1_000, 8_000, 8_000][self.rng.usize(..4)]);
        let response = match self.client.send(method, path, &body.to_string(), manner, patience) {
            Answer::Given(response) => response,
            Answer::NotSent => return Attempt::Failed(Fate::Refused),
            Answer::Lost => {
                self.work.tally.lost += 1;
                return Attempt::Failed(Fate::Unknown);
            }
        };
        if response.status == success {
            self.work.tally.acknowledged += 1;
            return Attempt::Done;
        }
        if response.status == 503 && response.has_retry_after {
            self.work.tally.refused += 1;
            // What is refused because of what waits already was not begun. Anything else may have been.
            let fate = if response.body.contains("too many messages wait") { Fate::Refused } else { Fate::Unknown };
            return Attempt::Failed(fate);
        }
        let Response { status, body, .. } = response;
        self.work.complaints.push(format!("{method} {path} was answered {status} instead of {success}: {body}"));
        Attempt::Wrong
    }

    fn must_be_refused(&mut self, method: &str, path: &str, body: &Value, status: u16) {
        match self.client.send(method, path, &body.to_string(), Manner::Whole, Duration::from_secs(8)) {
            Answer::Given(response) if response.status == status => self.work.tally.wrong += 1,
            Answer::Given(response) if response.status == 503 => self.work.tally.refused += 1,
            Answer::Given(Response { status: other, body, .. }) => {
                self.work.complaints.push(format!("{method} {path} was answered {other} instead of {status}: {body}"));
            }
            Answer::NotSent | Answer::Lost => {}
        }
    }

    fn pause(&mut self) {
        thread::sleep(Duration::from_millis(self.rng.u64(5..120)));
    }
}
