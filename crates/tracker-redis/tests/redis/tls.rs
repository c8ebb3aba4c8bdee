//! TLS, verified both ways.

use std::fs;
use std::sync::Arc;

use test_servers::{Certificates, Redis, free_port};
use tracker_core::testing::output_suite;
use tracker_core::{Output, chain};
use tracker_redis::{ConfigError, RedisConfig, RedisOutput, Secret, Tls};

use crate::{Away, Harness, PERMISSIONS, config, many, messages, output};

fn start(certificates: &Certificates) -> (Redis, RedisConfig) {
    let port = free_port();
    let options = certificates.options(port);
    let redis = Redis::start_with(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let config = RedisConfig { host: "localhost".into(), port, tls: Some(ours(certificates)), ..config(&redis) };
    (redis, config)
}

pub fn ours(certificates: &Certificates) -> Tls {
    let path = |name| Some(certificates.path(name));
    Tls { ca: path("ca.pem"), certificate: path("client.pem"), key: path("client.key"), server_name: None }
}

#[tokio::test]
async fn it_keeps_to_what_an_output_promises_over_tls_with_a_certificate_and_a_user() {
    let certificates = Certificates::new();
    let (redis, config) = start(&certificates);
    let user = ["ACL", "SETUSER", "few", "on", ">pass", "~logstash", "~{logstash}:delivered:*"];
    redis.command(&[&user[..], &PERMISSIONS].concat());
    let way_in = RedisConfig { username: Some("few".into()), password: Some(Secret::new("pass")), ..config };
    let output = Arc::new(output(way_in));
    output_suite(&mut Harness { redis, output, away: Away::Frozen }).await;
}

#[tokio::test]
async fn who_cannot_be_verified_gets_nothing_and_it_is_said_why() {
    let certificates = Certificates::new();
    let (redis, right) = start(&certificates);
    let tls = |tls: Tls| RedisConfig { tls: Some(tls), ..right.clone() };
    let ours = || ours(&certificates);
    let others = Certificates::new();
    for (config, remedy) in [
        (tls(Tls { ca: Some(others.path("ca.pem")), ..ours() }), "give who signed its certificate in `redis.tls.ca`"),
        (tls(Tls { ca: None, ..ours() }), "give who signed its certificate in `redis.tls.ca`"),
        (
            RedisConfig { host: "127.0.0.1".into(), ..right.clone() },
            "its certificate is for in `redis.tls.server_name`",
        ),
        (
            tls(Tls { server_name: Some("elsewhere.example.com".into()), ..ours() }),
            "its certificate is for in `redis.tls.server_name`",
        ),
        (tls(Tls { certificate: None, key: None, ..ours() }), "give `redis.tls.certificate` and `redis.tls.key`"),
        (
            RedisConfig { port: redis.port, ..right.clone() },
            "check that it runs, and `redis.host` and `redis.port`, and `redis.tls`",
        ),
    ] {
        let output = output(config);
        let check = chain(&output.check().await.expect_err("no way in"));
        let push = chain(&output.deliver(&[many(0..1)]).await.expect_err("no way in"));
        for error in [check, push] {
            assert!(error.contains(remedy), "{remedy}: {error}");
        }
    }
    assert!(messages(&redis).is_empty());
    let by_name = Tls { server_name: Some("localhost".into()), ..ours() };
    output(RedisConfig { host: "127.0.0.1".into(), ..tls(by_name) }).check().await.expect("it is who it should be");
}

#[tokio::test]
async fn files_that_will_not_do_are_named_at_start_and_later_and_read_again() {
    let certificates = Certificates::new();
    let (redis, right) = start(&certificates);
    let ca = right.tls.as_ref().and_then(|tls| tls.ca.clone()).expect("a file");
    let other = Certificates::new();
    for (tls, problem) in [
        (Tls { ca: Some("/nowhere".into()), ..ours(&certificates) }, "cannot read `redis.tls.ca`: No such file"),
        (Tls { ca: Some(certificates.path("ca.key")), ..ours(&certificates) }, "`redis.tls.ca`"),
        (Tls { ca: Some(certificates.path("server.key")), ..ours(&certificates) }, "must hold a certificate in PEM"),
        (Tls { key: Some(certificates.path("ca.pem")), ..ours(&certificates) }, "must hold a private key in PEM"),
        (Tls { key: Some(other.path("client.key")), ..ours(&certificates) }, "`redis.tls.certificate` with"),
    ] {
        match RedisOutput::new(RedisConfig { tls: Some(tls), ..right.clone() }).map(drop) {
            Err(ConfigError::TlsFile(error)) => assert!(error.contains(problem), "{error}"),
            other => panic!("{other:?}"),
        }
    }

    let text = fs::read(&ca).expect("a file");
    let output = output(right);
    fs::write(&ca, "no longer").expect("a file");
    let error = chain(&output.deliver(&[many(0..1)]).await.expect_err("no authority"));
    assert!(error.contains("`redis.tls.ca`") && error.contains("must hold a certificate in PEM"), "{error}");
    fs::write(&ca, text).expect("a file");
    output.deliver(&[many(0..1)]).await.expect("there it is again");
    assert_eq!(messages(&redis), [0]);
}
