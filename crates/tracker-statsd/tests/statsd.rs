//! The output as a StatsD server sees it, over a real socket.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proptest::prelude::*;
use tracker_config::ConfiguredOutput;
use tracker_core::testing::{OutputHarness, logged, new_id, output_suite, started};
use tracker_core::{Batch, DeploymentFields, Event, EventKind, Hostname, Output, Server, ServerFields, chain, time};
use tracker_statsd::{Names, StatsdConfig, StatsdOutput};

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
        let socket = UdpSocket::bind(("127.0.0.1", self.port)).expect("the port is free");
        socket.set_nonblocking(true).expect("the socket can be non-blocking");
        self.port = socket.local_addr().expect("the socket is bound").port();
        self.socket = Some(socket);
    }

    /// Every packet that has arrived. On the loopback interface, a packet arrives when it is sent.
    fn packets(&mut self) -> &[String] {
        let mut packet = vec![0; 65_536];
        while let Some(socket) = &self.socket {
            match socket.recv(&mut packet) {
                Ok(length) => {
                    self.packets.push(String::from_utf8(packet[..length].to_vec()).expect("packets are UTF-8"))
                }
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
        output(|config| {
            config.port = self.port;
            config.prefix = prefix.into();
            config.names = names;
        })
    }
}

/// An output with a changed default configuration.
fn output(change: impl FnOnce(&mut StatsdConfig)) -> StatsdOutput {
    let mut config = StatsdConfig::default();
    change(&mut config);
    StatsdOutput::new(config).expect("valid configuration")
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
    let output = output(|config| {
        config.port = statsd.port;
        config.prefix = "p".into();
        config.suffix = ".eu:1|c\n".into();
    });
    let events = vec![started(DeploymentFields::default()), logged(r#"{"message":"m"}"#)];
    output.deliver(&[batch(events)]).await.expect("UDP sends without a receiver");
    output.check().await.expect("UDP sends without a receiver");
    let names = ["deployments.started", "logs.message", "healthcheck"].map(|name| format!("p.{name}.eu_1_c_:1|c"));
    assert_eq!(statsd.lines(), names);
}

#[tokio::test]
async fn it_passes_the_output_suite() {
    let statsd = Statsd::start();
    let output = Arc::new(statsd.output("deployment-tracker.", Names::Clean));
    output_suite(&mut Harness { statsd, output }).await;
}

#[tokio::test]
async fn metrics_share_a_packet_and_have_the_prefix() {
    let mut statsd = Statsd::start();
    let output = statsd.output("deployment-tracker.", Names::Original);
    let fields = DeploymentFields {
        engine: Some("e".into()),
        environment: Some("dev".into()),
        package: Some("test".into()),
        ..Default::default()
    };
    let two = logged(r#"[{"message":"one"},{"message":"two"}]"#);
    let batches = [batch(vec![started(fields), two.clone()]), batch(vec![two])];
    output.deliver(&batches).await.expect("UDP sends without a receiver");
    output.check().await.expect("the server listens");
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
async fn names_without_a_prefix_do_not_begin_with_a_dot() {
    let mut statsd = Statsd::start();
    let output = statsd.output("", Names::Clean);
    output.deliver(&[batch(vec![started(DeploymentFields::default())])]).await.expect("UDP sends without a receiver");
    output.check().await.expect("the server listens");
    assert_eq!(statsd.lines(), ["deployments.started:1|c", "healthcheck:1|c"]);
}

#[tokio::test]
async fn two_thousand_metrics_arrive_once_each_in_shared_packets() {
    let mut statsd = Statsd::start();
    let output = statsd.output("p", Names::Clean);
    let event = started(DeploymentFields { engine: Some("e".into()), ..Default::default() });
    let batches: Vec<_> = (0..10).map(|_| batch(vec![event.clone(); 100])).collect();
    output.deliver(&batches).await.expect("UDP sends without a receiver");
    let lines = statsd.lines();
    assert_eq!(lines.len(), 2_000);
    assert_eq!(lines.iter().filter(|line| *line == "p.deployments.started:1|c").count(), 1_000);
    assert!(statsd.packets().len() < 100, "metrics must share packets: {}", statsd.packets().len());
}

#[tokio::test]
async fn errors_name_an_unknown_host_and_arrive_within_the_timeout() {
    let output = output(|config| config.host = "statsd.invalid".into());
    let begun = Instant::now();
    let error = output.check().await.expect_err("the name does not exist");
    assert!(chain(&error).contains("cannot look up `statsd.invalid`; check `host`"), "{}", chain(&error));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let begun = Instant::now();
    output.deliver(&[batch(vec![logged(r#"{"message":"m"}"#)])]).await.expect_err("the name does not exist");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_health_check_fails_on_a_closed_port_and_names_it() {
    let mut statsd = Statsd::start();
    let output = statsd.output("", Names::Clean);
    statsd.socket = None;
    let error = chain(&output.check().await.expect_err("the port is closed"));
    assert!(error.contains(&format!("127.0.0.1:{}; check `host` and `port`", statsd.port)), "{error}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let mut config = StatsdConfig::default();
    config.host.clear();
    assert_eq!(StatsdOutput::new(config).expect_err("an empty host is refused").field, "host");
}

/// A text, often with characters that StatsD interprets, sometimes long.
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
    fn every_line_is_well_formed_for_any_report(
        engine in text(), environment in text(), package in text(), hostname in text(),
        prefix in text().prop_filter("a longer prefix is refused", |prefix| prefix.len() <= 255),
        elapsed in i64::from(i32::MIN)..=1_438_423_200_000, is_clean: bool,
    ) {
        let names = if is_clean { Names::Clean } else { Names::Original };
        let mut statsd = Statsd::start();
        let output = statsd.output(&prefix, names);
        let fields = DeploymentFields {
            engine: Some(engine.as_str().into()),
            environment: Some(environment.as_str().into()),
            package: Some(package.as_str().into()),
            elapsed_seconds: Some(elapsed),
            ..Default::default()
        };
        let start = started(fields);
        let EventKind::DeploymentStarted(deployment) = &start.kind else { unreachable!() };
        let finish = Event { kind: EventKind::DeploymentFinished(deployment.clone()), ..Event::clone(&start) };
        let now = Some(time::now());
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

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
        runtime.block_on(output.deliver(&[batch(events.to_vec())])).expect("UDP sends without a receiver");
        for packet in statsd.packets() {
            // An original name has no maximum length. A long one gets its own packet.
            let is_alone = !is_clean && !packet.contains('\n');
            prop_assert!(packet.len() <= 1_432 || is_alone, "{} bytes", packet.len());
        }
        let lines = statsd.lines();
        let both = |a: &str, b: &str| usize::from(!a.is_empty() && !b.is_empty());
        let expected = 2 + both(&engine, "x") + 2 * both(&environment, &package) + 2 * both(&hostname, "x");
        prop_assert_eq!(lines.len(), expected, "no metric is injected or lost: {:?}", lines);
        for line in lines {
            prop_assert!(is_well_formed(&line), "{line:?}");
            prop_assert!(!is_clean || line.split([':', '.']).all(|part| !part.is_empty()), "{line:?}");
        }
    }
}
