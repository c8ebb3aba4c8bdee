//! TLS with verification of the server and of the client.

use std::fs;
use std::sync::Arc;

use test_servers::{Certificates, Redis, free_port};
use tracker_core::testing::output_suite;
use tracker_core::{Output, chain};
use tracker_redis::{RedisConfig, RedisOutput, Secret, Tls};

use crate::support::{Harness, Outage, PERMISSIONS, config, numbered, output, pushed, with};

fn start(certificates: &Certificates) -> (Redis, RedisConfig) {
    let port = free_port();
    let options = certificates.options(port);
    let redis = Redis::start_with(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let config = with(&config(&redis), |config| {
        config.host = "localhost".into();
        config.port = port;
        config.tls = Some(client_tls(certificates));
    });
    (redis, config)
}

pub fn client_tls(certificates: &Certificates) -> Tls {
    let mut tls = Tls::default();
    tls.ca = Some(certificates.path("ca.pem"));
    tls.certificate = Some(certificates.path("client.pem"));
    tls.key = Some(certificates.path("client.key"));
    tls
}

/// A copy of `config` with changed TLS settings.
fn with_tls(config: &RedisConfig, change: impl FnOnce(&mut Tls)) -> RedisConfig {
    with(config, |config| change(config.tls.as_mut().expect("the configuration uses TLS")))
}

#[tokio::test]
async fn it_passes_the_output_suite_over_tls_with_a_client_certificate_and_a_user() {
    let certificates = Certificates::new();
    let (redis, config) = start(&certificates);
    let user = ["ACL", "SETUSER", "few", "on", ">pass", "~logstash", "~{logstash}:delivered:*"];
    redis.command(&[&user[..], &PERMISSIONS].concat());
    let output = Arc::new(output(with(&config, |config| {
        config.username = Some("few".into());
        config.password = Some(Secret::new("pass"));
    })));
    output_suite(&mut Harness { redis, output, outage: Outage::Frozen }).await;
}

#[tokio::test]
async fn a_server_or_client_that_fails_verification_is_refused_with_a_remedy() {
    let certificates = Certificates::new();
    let (redis, right) = start(&certificates);
    let others = Certificates::new();
    let expired_port = free_port();
    let expired = certificates.options(expired_port).join(" ").replace("/server.", "/expired.");
    let _expired = Redis::start_with(&expired.split(' ').collect::<Vec<_>>());
    for (config, remedy) in [
        (
            with_tls(&right, |tls| tls.ca = Some(others.path("ca.pem"))),
            "set `tls.ca` to the authority that signed its certificate",
        ),
        (with_tls(&right, |tls| tls.ca = None), "set `tls.ca` to the authority that signed its certificate"),
        (
            with(&right, |config| config.host = "127.0.0.1".into()),
            "set `tls.server_name` to the name in its certificate",
        ),
        (
            with_tls(&right, |tls| tls.server_name = Some("elsewhere.example.com".into())),
            "set `tls.server_name` to the name in its certificate",
        ),
        (with_tls(&right, |tls| (tls.certificate, tls.key) = (None, None)), "set `tls.certificate` and `tls.key`"),
        (
            with_tls(&right, |tls| {
                (tls.certificate, tls.key) = (Some(others.path("client.pem")), Some(others.path("client.key")));
            }),
            "set `tls.certificate` and `tls.key` to a certificate of an authority that Redis trusts",
        ),
        (
            with_tls(&right, |tls| {
                tls.certificate = Some(certificates.path("expired.pem"));
                tls.key = Some(certificates.path("expired.key"));
            }),
            "a certificate has expired: renew `tls.certificate`",
        ),
        (with(&right, |config| config.port = expired_port), "a certificate has expired: renew that of the server"),
        (
            with(&right, |config| config.port = redis.port),
            "check that Redis is running, and check `host`, `port` and `tls`",
        ),
    ] {
        let output = output(config);
        let check = chain(&output.check().await.expect_err("verification fails"));
        let push = chain(&output.deliver(&[numbered(0..1)]).await.expect_err("verification fails"));
        for error in [check, push] {
            assert!(error.contains(remedy), "{remedy}: {error}");
            assert!(!error.contains("PRIVATE KEY"), "{error}");
        }
    }
    assert!(pushed(&redis).is_empty());
    let by_name = with_tls(&right, |tls| tls.server_name = Some("localhost".into()));
    let by_address = with(&by_name, |config| config.host = "127.0.0.1".into());
    output(by_address).check().await.expect("the certificate is for `server_name`");
}

#[tokio::test]
async fn errors_name_an_unusable_file_and_the_output_reads_the_files_again() {
    let certificates = Certificates::new();
    let (redis, right) = start(&certificates);
    let ca = certificates.path("ca.pem");
    let other = Certificates::new();
    let corrupt = certificates.path("corrupt.pem");
    fs::write(&corrupt, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("the folder is writable");
    for (config, field, problem) in [
        (with_tls(&right, |tls| tls.ca = Some("/nowhere".into())), "tls.ca", "cannot be read: No such file"),
        (with_tls(&right, |tls| tls.ca = Some(corrupt.clone())), "tls.ca", "has an unusable certificate: "),
        (
            with_tls(&right, |tls| tls.ca = Some(certificates.path("server.key"))),
            "tls.ca",
            "must be a PEM file with a certificate",
        ),
        (
            with_tls(&right, |tls| tls.key = Some(certificates.path("ca.pem"))),
            "tls.key",
            "must be a PEM file with a private key",
        ),
        (
            with_tls(&right, |tls| tls.key = Some(other.path("client.key"))),
            "tls.certificate",
            "cannot be used with the key in `tls.key`",
        ),
    ] {
        let error = RedisOutput::new(config).expect_err("a file is unusable");
        assert_eq!(error.field, field, "{error}");
        assert!(error.problem.starts_with(problem), "{error}");
    }

    let text = fs::read(&ca).expect("the file exists");
    let output = output(right);
    fs::write(&ca, "not PEM").expect("the file is writable");
    let error = chain(&output.deliver(&[numbered(0..1)]).await.expect_err("there is no authority"));
    assert!(error.contains("`tls.ca` must be a PEM file with a certificate"), "{error}");
    fs::write(&ca, text).expect("the file is writable");
    output.deliver(&[numbered(0..1)]).await.expect("the authority is back");
    assert_eq!(pushed(&redis), [0]);
}
