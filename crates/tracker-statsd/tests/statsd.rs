//! The output as a StatsD server sees it.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proptest::prelude::*;
use tracker_core::testing::{OutputHarness, logged, new_id, output_suite, started};
use tracker_core::{Batch, DeploymentFields, Event, EventKind, Hostname, Output, Server, ServerFields, chain, time};
use tracker_statsd::{ConfigError, Names, StatsdConfig, StatsdOutput};

/// A StatsD server that keeps every packet.
struct Statsd {
    socket: Option<UdpSocket>,
    port: u16,
    packets: Vec<String>,
}

impl Statsd {
    fn start() -> Self {
        let mut statsd = Self { socket: None, port: 0, packets: Vec::new() };
        statsd.listen();
        statsd
    }

    fn listen(&mut self) {
        let socket = UdpSocket::bind(("127.0.0.1", self.port)).expect("a socket");
        socket.set_nonblocking(true).expect("a socket that does not block");
        self.port = socket.local_addr().expect("an address").port();
        self.socket = Some(socket);
    }

    /// Every packet that has arrived. On the loopback interface that is every packet that was sent.
    fn packets(&mut self) -> &[String] {
        let mut packet = vec![0; 65_536];
        while let Some(socket) = &self.socket {
            match socket.recv(&mut packet) {
                Ok(length) => self.packets.push(String::from_utf8(packet[..length].to_vec()).expect("UTF-8")),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    break;
                }
            }
        }
        &self.packets
    }

    fn lines(&mut self) -> Vec<String> {
        self.packets().iter().flat_map(|packet| packet.split('\n')).map(str::to_owned).collect()
    }

    fn output(&self, prefix: &str, names: Names) -> StatsdOutput {
        let config = StatsdConfig { port: self.port, prefix: prefix.into(), names, ..StatsdConfig::default() };
        StatsdOutput::new(config).expect("a configuration that works")
    }
}

fn batch(events: Vec<Arc<Event>>) -> Arc<Batch> {
    Arc::new(Batch::new(events))
}

struct Harness {
    statsd: Statsd,
    output: Arc<StatsdOutput>,
}

#[async_trait]
impl OutputHarness for Harness {
    fn output(&self) -> Arc<dyn Output> {
        self.output.clone()
    }

    async fn received(&mut self) -> Vec<String> {
        self.statsd.lines()
    }

    async fn take_away(&mut self) {
        self.statsd.socket = None;
    }

    async fn bring_back(&mut self) {
        self.statsd.listen();
    }
}

#[tokio::test]
async fn a_suffix_ends_every_name() {
    let mut statsd = Statsd::start();
    let config =
        StatsdConfig { port: statsd.port, prefix: "p".into(), suffix: ".eu:1|c\n".into(), ..StatsdConfig::default() };
    let output = StatsdOutput::new(config).expect("a configuration that works");
    let events = vec![started(DeploymentFields::default()), logged(r#"{"message":"m"}"#)];
    output.deliver(&[batch(events)]).await.expect("sent");
    output.check().await.expect("sent");
    let names = ["deployments.started", "logs.message", "healthcheck"].map(|name| format!("p.{name}.eu_1_c_:1|c"));
    assert_eq!(statsd.lines(), names);
}

#[tokio::test]
async fn it_keeps_to_what_an_output_promises() {
    let statsd = Statsd::start();
    let output = Arc::new(statsd.output("deployment-tracker.", Names::Clean));
    output_suite(&mut Harness { statsd, output }).await;
}

#[tokio::test]
async fn one_packet_has_all_that_fits_under_the_prefix() {
    let mut statsd = Statsd::start();
    let output = statsd.output("deployment-tracker.", Names::Original);
    let members = DeploymentFields {
        engine: Some("e".into()),
        environment: Some("dev".into()),
        package: Some("test".into()),
        ..Default::default()
    };
    let two = logged(r#"[{"message":"one"},{"message":"two"}]"#);
    let batches = [batch(vec![started(members), two.clone()]), batch(vec![two])];
    output.deliver(&batches).await.expect("sent");
    output.check().await.expect("there");
    let expected = [
        "deployment-tracker.deployments.started:1|c\n\
         deployment-tracker.deployments.engine.e:1|c\n\
         deployment-tracker.deployments.environments.dev.packages.test..started:1|c\n\
         deployment-tracker.logs.message:4|c",
        "deployment-tracker.healthcheck:1|c",
    ];
    assert_eq!(statsd.packets(), expected);
    assert_eq!(output.location(), format!("127.0.0.1:{} prefix deployment-tracker", statsd.port));
}

#[tokio::test]
async fn without_a_prefix_names_stand_alone() {
    let mut statsd = Statsd::start();
    let output = statsd.output("", Names::Clean);
    output.deliver(&[batch(vec![started(DeploymentFields::default())])]).await.expect("sent");
    output.check().await.expect("there");
    assert_eq!(statsd.lines(), ["deployments.started:1|c", "healthcheck:1|c"]);
}

#[tokio::test]
async fn thousands_of_metrics_arrive_each_once() {
    let mut statsd = Statsd::start();
    let output = statsd.output("p", Names::Clean);
    let event = started(DeploymentFields { engine: Some("e".into()), ..Default::default() });
    let batches: Vec<_> = (0..10).map(|_| batch(vec![event.clone(); 100])).collect();
    output.deliver(&batches).await.expect("sent");
    let lines = statsd.lines();
    assert_eq!(lines.len(), 2_000);
    assert_eq!(lines.iter().filter(|line| *line == "p.deployments.started:1|c").count(), 1_000);
    assert!(statsd.packets().len() < 100, "they are packed: {}", statsd.packets().len());
}

#[tokio::test]
async fn a_host_that_nobody_knows_harms_nothing_and_is_named() {
    let config = StatsdConfig { host: "statsd.invalid".into(), ..StatsdConfig::default() };
    let output = StatsdOutput::new(config).expect("nothing is looked up yet");
    let begun = Instant::now();
    let error = output.check().await.expect_err("nobody there");
    assert!(chain(&error).contains("`statsd.invalid`; check `statsd.host`"), "{}", chain(&error));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let begun = Instant::now();
    output.deliver(&[batch(vec![logged(r#"{"message":"m"}"#)])]).await.expect_err("nowhere to send");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_closed_port_fails_the_check_and_is_named() {
    let mut statsd = Statsd::start();
    let output = statsd.output("", Names::Clean);
    statsd.socket = None;
    let error = chain(&output.check().await.expect_err("nobody listens"));
    assert!(error.contains(&format!("127.0.0.1:{}; check `statsd.host` and `statsd.port`", statsd.port)), "{error}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let config = StatsdConfig { host: String::new(), ..StatsdConfig::default() };
    assert_eq!(StatsdOutput::new(config).map(drop), Err(ConfigError::Host));
}

/// A text, often one that means something to StatsD, sometimes a long one.
fn text() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![':', '|', '@', '/', '\n', ' ', '\u{85}']);
    let char = prop_oneof![Just('.'), marks, any::<char>()];
    let times = prop_oneof![3 => Just(1), 1 => Just(200)];
    (prop::collection::vec(char, 0..12), times).prop_map(|(chars, times)| String::from_iter(chars).repeat(times))
}

fn is_well_formed(line: &str) -> bool {
    let Some((name, rest)) = line.split_once(':') else { return false };
    let Some((value, kind)) = rest.split_once('|') else { return false };
    let ends_it = |c: char| matches!(c, ':' | '|' | '@' | '/') || c.is_whitespace() || c.is_control();
    !name.is_empty()
        && !name.contains(ends_it)
        && !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(kind, "c" | "ms")
}

proptest! {
    #[test]
    fn whatever_is_reported_every_line_is_well_formed(
        engine in text(), environment in text(), package in text(), hostname in text(),
        prefix in text().prop_filter("a prefix that is not refused", |prefix| prefix.len() <= 255),
        elapsed in 0..=i32::MAX, is_clean: bool,
    ) {
        let names = if is_clean { Names::Clean } else { Names::Original };
        let mut statsd = Statsd::start();
        let output = statsd.output(&prefix, names);
        let members = DeploymentFields {
            engine: Some(engine.as_str().into()),
            environment: Some(environment.as_str().into()),
            package: Some(package.as_str().into()),
            elapsed_seconds: Some(elapsed),
            ..Default::default()
        };
        let start = started(members);
        let EventKind::DeploymentStarted(deployment) = &start.kind else { unreachable!() };
        let finish = Event { kind: EventKind::DeploymentFinished(deployment.clone()), ..Event::clone(&start) };
        let now = time::now();
        let server = Server {
            hostname: Hostname::stored(hostname.as_str()),
            deployment_id: new_id(),
            fields: ServerFields { elapsed_seconds: Some(elapsed), ..Default::default() },
            created_at: now,
            updated_at: now,
        };
        let server_start = Event { kind: EventKind::ServerStarted(server.clone()), ..Event::clone(&start) };
        let server_finish = Event { kind: EventKind::ServerFinished(server), ..Event::clone(&start) };
        let events = [start, finish.into(), server_start.into(), server_finish.into()];

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(output.deliver(&[batch(events.to_vec())])).expect("sent");
        for packet in statsd.packets() {
            // An original name has any length, and then a packet of its own.
            let is_alone = !is_clean && !packet.contains('\n');
            prop_assert!(packet.len() <= 1_432 || is_alone, "{} bytes", packet.len());
        }
        let lines = statsd.lines();
        let both = |a: &str, b: &str| usize::from(!a.is_empty() && !b.is_empty());
        let expected = 2 + both(&engine, "x") + 2 * both(&environment, &package) + 2 * both(&hostname, "x");
        prop_assert_eq!(lines.len(), expected, "nothing is injected, nothing lost: {:?}", lines);
        for line in lines {
            prop_assert!(is_well_formed(&line), "{line:?}");
            prop_assert!(!is_clean || line.split([':', '.']).all(|part| !part.is_empty()), "{line:?}");
        }
    }
}
