//! Errors say what to do, come within a deadline, and contain no secret.

use std::sync::Mutex;

use serde_json::json;
use test_servers::{Certificates, Nats};
use tracker_core::testing::eventually;
use tracker_core::{Output, OutputError};
use tracker_nats::{ConfigError, NatsConfig, NatsOutput, Tls};

use crate::support::{config, message, output, start, texts};

const USERS: &str = r#"authorization { users: [
    { user: "admin", password: "secret" },
    { user: "reader", password: "secret", permissions: { publish: { deny: "deployment-tracker.>" } } }
] }"#;

async fn errors(output: &NatsOutput) -> [String; 2] {
    let message = |result: Result<(), OutputError>| message(&result.expect_err("NATS refuses"));
    [message(output.check().await), message(output.deliver(&[start()]).await)]
}

fn new(config: NatsConfig) -> NatsOutput {
    NatsOutput::new(config).expect("the configuration is valid")
}

#[tokio::test]
async fn each_refusal_has_a_remedy() {
    let absent = Nats::absent();
    let no_stream = Nats::start_with("", json!({}));
    let no_jetstream = Nats::start_with("jetstream: false", json!({}));
    let users = Nats::start_with(USERS, json!({ "user": "admin", "pass": "secret" }));
    let token = Nats::start_with(r#"authorization { token: "secret" }"#, json!({ "auth_token": "secret" }));
    let credentials = "check `username`, `password`, `token`, `nkey_seed` and `credentials_file`";
    for (output, expected) in [
        (output(&absent), "cannot connect to NATS; check that the server is running, and check `url`"),
        (
            output(&no_stream),
            "no stream in NATS has the subject `deployment-tracker.one`; create one, for example with",
        ),
        (output(&no_jetstream), "cannot find the stream in NATS; enable JetStream in the server"),
        (output(&users), credentials),
        (new(config(&users).username("admin").password("hunter2")), credentials),
        (new(config(&token).token("hunter2")), credentials),
    ] {
        for error in errors(&output).await {
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}

#[tokio::test]
async fn users_and_tokens_are_accepted_and_missing_permissions_are_named() {
    let users = Nats::start_with(USERS, json!({ "user": "admin", "pass": "secret" }));
    users.create_stream(json!({}));
    let admin = new(config(&users).username("admin").password("secret"));
    admin.deliver(&[start()]).await.expect("the password is right");
    let reader = new(config(&users).username("reader").password("secret"));
    let error = message(&reader.deliver(&[start()]).await.expect_err("the permission is missing"));
    assert!(error.contains("grant the user the permissions"), "{error}");
    assert!(error.to_lowercase().contains("publish to \"deployment-tracker.one\""), "{error}");

    let token = Nats::start_with(r#"authorization { token: "secret" }"#, json!({ "auth_token": "secret" }));
    token.create_stream(json!({}));
    new(config(&token).token("secret")).deliver(&[start()]).await.expect("the token is right");
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let nats = Nats::start_with(
        r#"authorization { users: [
            { user: "admin", password: "secret" },
            { user: "tracker", password: "secret", permissions: {
                publish: { allow: [
                    "deployment-tracker.one", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.deployments",
                    "$JS.API.STREAM.MSG.GET.deployments", "$JS.API.CONSUMER.CREATE.deployments",
                    "$JS.API.CONSUMER.CREATE.deployments.>", "$JS.API.CONSUMER.MSG.NEXT.deployments.>"
                ] },
                subscribe: { allow: ["_INBOX.>"] }
            } }
        ] }"#,
        json!({ "user": "admin", "pass": "secret" }),
    );
    nats.create_stream(json!({}));
    let tracker = || new(config(&nats).username("tracker").password("secret"));
    let batches = [start(), start(), start()];
    for _ in 0..2 {
        tracker().check().await.expect("the check needs no more");
        // The second time, it reads which messages have arrived.
        tracker().deliver(&batches).await.expect("the delivery needs no more");
    }
    assert_eq!(texts(&nats).len(), 3);
}

#[tokio::test]
async fn an_nkey_is_accepted() {
    // A pair that was generated for this test.
    let (seed, public) = (
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    );
    let nats = Nats::start_with(
        &format!("authorization {{ users: [ {{ nkey: {public} }}, {{ user: \"admin\", password: \"secret\" }} ] }}"),
        json!({ "user": "admin", "pass": "secret" }),
    );
    nats.create_stream(json!({}));
    new(config(&nats).nkey_seed(seed)).deliver(&[start()]).await.expect("the seed is right");
}

#[tokio::test]
async fn a_full_stream_holds_events_back_until_it_has_room() {
    let nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "max_msgs": 1, "discard": "new" }));
    let output = output(&nats);
    output.deliver(&[start()]).await.expect("the first message fits");
    let next = start();
    let error = message(&output.deliver(std::slice::from_ref(&next)).await.expect_err("the stream is full"));
    assert!(error.contains("the stream is full: raise its limits"), "{error}");
    nats.update_stream(json!({ "max_msgs": 2, "discard": "new" }));
    output.deliver(&[next]).await.expect("the stream has room");
    assert_eq!(texts(&nats).len(), 2);
}

#[tokio::test]
async fn a_stream_that_cannot_keep_the_promises_is_named() {
    let nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "no_ack": true }));
    for error in errors(&output(&nats)).await {
        assert!(error.contains("has the option `no_ack`; turn it off"), "{error}");
    }
    nats.request("$JS.API.STREAM.DELETE.deployments", &json!({})).expect("NATS answers");
}

#[tokio::test]
async fn the_warning_about_a_stream_that_deletes_messages_follows_its_settings_and_is_logged_once() {
    log::set_logger(&Capture).expect("no other test sets a logger");
    log::set_max_level(log::LevelFilter::Warn);
    let nats = Nats::start_with("", json!({}));
    nats.create_stream(json!({ "retention": "workqueue" }));
    let [output, delivering] = [output(&nats), output(&nats)];
    assert_eq!(output.warning(), None, "it is not connected yet");
    delivering.deliver(&[start()]).await.expect("the stream acknowledges");
    for _ in 0..2 {
        output.check().await.expect("the stream acknowledges");
    }
    output.deliver(&[start()]).await.expect("the stream acknowledges");
    for output in [&output, &delivering] {
        let warning = output.warning().expect("a warning");
        assert!(warning.contains("set its retention policy to `limits`"), "{warning}");
    }
    let logged = || WARNINGS.lock().expect("no holder panics").len();
    assert_eq!(logged(), 2, "once for each output");

    nats.request("$JS.API.STREAM.DELETE.deployments", &json!({})).expect("NATS answers");
    nats.create_stream(json!({}));
    output.check().await.expect("the stream acknowledges");
    assert_eq!((output.warning(), logged()), (None, 2));
    nats.request("$JS.API.STREAM.DELETE.deployments", &json!({})).expect("NATS answers");
    nats.create_stream(json!({ "retention": "interest" }));
    output.check().await.expect("the stream acknowledges");
    assert_eq!((output.warning().is_some(), logged()), (true, 3));
}

/// Keeps the warnings about the retention policy.
struct Capture;

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let text = record.args().to_string();
        if text.contains("retention policy") {
            WARNINGS.lock().expect("no holder panics").push(text);
        }
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn tls_verifies_the_server_and_presents_a_certificate() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name);
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    // The stream is created without TLS.
    let mut nats = Nats::start();
    nats.kill();
    nats.configure(&tls);
    nats.restart_with_tls();
    let at = |host: &str| config(&nats).url(format!("tls://{host}:{}", nats.port));
    let client = Tls::default().certificate(path("client.pem")).key(path("client.key"));
    let trusted = at("localhost").tls(client.clone().ca(path("ca.pem")));
    new(trusted.clone()).deliver(&[start()]).await.expect("the certificates are right");
    for (config, expected) in [
        (at("localhost").tls(client.clone()), "set `tls.ca` to the authority that signed its certificate"),
        (at("127.0.0.1").tls(client.clone().ca(path("ca.pem"))), "use a name from its certificate in `url`"),
        (at("localhost").tls(Tls::default().ca(path("ca.pem"))), "set `tls.certificate` and `tls.key`"),
    ] {
        for error in errors(&new(config)).await {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}

#[tokio::test]
async fn a_suspended_server_fails_the_health_check_in_time() {
    let nats = Nats::start();
    let output = new(config(&nats).timeout_millis(10_000));
    output.check().await.expect("NATS runs");
    nats.freeze();
    let error = message(&output.check().await.expect_err("NATS is suspended"));
    assert!(error.contains("NATS does not answer; check that the server is running"), "{error}");
    nats.thaw();
    eventually("the check succeeds", async || output.check().await.is_ok()).await;
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let url = "must be a URL such as nats://nats.example.com:4222, or several, separated by commas";
    let prefix = "must be words, separated by `.`, without spaces, `*` or `>`, and not begin with `$`";
    let instance = "must be one word, without spaces, `.`, `*` or `>`";
    let seed = "must be a seed of a user: 58 characters that begin with `SU`";
    for (json, field, problem) in [
        (json!({ "url": "" }), "url", url),
        (json!({ "url": "nats://a,,nats://b" }), "url", url),
        (json!({ "url": "http://a" }), "url", url),
        (json!({ "url": "wss://a" }), "url", url),
        (json!({ "url": "nats://a:x" }), "url", url),
        (
            json!({ "url": "nats://u:hunter2@a" }),
            "url",
            "must have no user and no password; use `username` and `password`",
        ),
        (json!({ "prefix": "" }), "prefix", prefix),
        (json!({ "prefix": "a..b" }), "prefix", prefix),
        (json!({ "prefix": "a.>" }), "prefix", prefix),
        (json!({ "prefix": "$JS.a" }), "prefix", prefix),
        (json!({ "instance": "" }), "instance", instance),
        (json!({ "instance": "web01.example.com" }), "instance", instance),
        (
            json!({ "prefix": "p".repeat(260) }),
            "prefix",
            "must be shorter: the subject `<prefix>.<instance>` may have 256 bytes",
        ),
        (json!({ "timeout_millis": 0 }), "timeout_millis", "must be from 1 to 600000 milliseconds"),
        (json!({ "username": "u" }), "username", "needs `password`"),
        (json!({ "password": "hunter2" }), "password", "needs `username`"),
        (json!({ "token": "hunter2", "nkey_seed": "hunter2" }), "nkey_seed", "must be left out with `token`"),
        (json!({ "nkey_seed": "hunter2" }), "nkey_seed", seed),
        (
            json!({ "credentials_file": "/no/such/file" }),
            "credentials_file",
            "cannot be read: No such file or directory (os error 2)",
        ),
        (
            json!({ "credentials_file": "/proc/self/status" }),
            "credentials_file",
            "must be a file with a JWT and a seed, as `nsc generate creds` writes it",
        ),
        (json!({ "tls": { "key": "/a" } }), "tls.certificate", "must be set with `tls.key`"),
        (json!({ "tls": { "certificate": "/a" } }), "tls.key", "must be set with `tls.certificate`"),
        (json!({ "tls": { "ca": "/no" } }), "tls.ca", "cannot be read: No such file or directory (os error 2)"),
        (json!({ "tls": { "ca": "/proc/self/status" } }), "tls.ca", "must be a PEM file with a certificate"),
    ] {
        let config: NatsConfig = serde_json::from_value(json.clone()).expect("valid JSON");
        assert_eq!(config.check(), Err(ConfigError::new(field, problem)), "{json}");
        assert!(!format!("{config:?}").contains("hunter2") || field == "url", "{config:?}");
    }
    assert_eq!(serde_json::from_str::<NatsConfig>("{}").ok(), Some(NatsConfig::default()));
    assert_eq!(NatsConfig::default().check(), Ok(()));
    assert_eq!(NatsConfig::default().url("a:1, tls://b,nats://[::1]:4222").check(), Ok(()));
}
