//! Error messages name the field to check, and never a secret.

use std::{fs, slice};

use test_servers::Redis;
use tracker_core::{Output, chain};
use tracker_redis::{RedisOutput, Secret};

use crate::support::{LARGE, PERMISSIONS, batch, config, markers, numbered, output, pushed, with};

#[tokio::test]
async fn connection_errors_name_the_field_to_check() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let right = with(&config(&redis), |config| config.password = Some(Secret::new("right")));
    let batch = numbered(0..1);
    for (config, remedy) in [
        (with(&right, |config| config.password = Some(Secret::new("wrong"))), "check `username` and `password`"),
        (with(&right, |config| config.password = None), "check `username` and `password`"),
        (with(&right, |config| config.username = Some("missing".into())), "check `username` and `password`"),
        (with(&right, |config| config.db = Some(200)), "check `db`"),
        (
            with(&right, |config| config.port = 1),
            "127.0.0.1:1; check that Redis is running, and check `host` and `port`",
        ),
        (
            with(&right, |config| config.path = Some("/nowhere".into())),
            "/nowhere; check that Redis is running, and check `path`",
        ),
        (with(&right, |config| config.host = "redis.invalid".into()), "cannot connect to Redis at redis.invalid:"),
    ] {
        let output = output(config);
        let check = chain(&output.check().await.expect_err("cannot connect"));
        let push = chain(&output.deliver(slice::from_ref(&batch)).await.expect_err("cannot connect"));
        for error in [check, push] {
            assert!(error.contains(remedy) && !error.contains("wrong"), "{remedy}: {error}");
        }
    }
    let error = RedisOutput::new(with(&right, |config| config.key.clear())).expect_err("an empty key is refused");
    assert_eq!(error.field, "key");
}

#[tokio::test]
async fn the_documented_permissions_are_enough_and_errors_point_to_them() {
    let redis = Redis::start();
    let user = ["ACL", "SETUSER", "few", "on", ">pass", "~logstash", "~{logstash}:delivered:*"];
    redis.command(&[&user[..], &PERMISSIONS].concat());
    let output = output(with(&config(&redis), |config| {
        config.username = Some("few".into());
        config.password = Some(Secret::new("pass"));
    }));
    let batch = numbered(0..1);
    output.check().await.expect("permitted");
    output.deliver(slice::from_ref(&batch)).await.expect("permitted");
    let large = numbered(1..1 + LARGE);
    output.forget(&[batch.id]);
    output.deliver(slice::from_ref(&large)).await.expect("permitted");
    output.forget(&[large.id]);
    output.deliver(&[]).await.expect("permitted");

    let (any_size, large) = (&[1, LARGE][..], &[LARGE][..]);
    for (forbidden, sizes) in [
        ("set", any_size),
        ("eval", any_size),
        ("rpush", any_size),
        ("multi", large),
        ("watch", large),
        ("exec", large),
        ("lindex", large),
        ("mget", large),
        ("llen", large),
    ] {
        redis.command(&["ACL", "SETUSER", "few", &format!("-{forbidden}")]);
        for &size in sizes {
            let error = chain(&output.deliver(&[numbered(0..size)]).await.expect_err("not permitted"));
            assert!(error.contains("grant the user the permissions that are listed for `username`"), "{error}");
        }
        redis.command(&["ACL", "SETUSER", "few", &format!("+{forbidden}")]);
        assert!(pushed(&redis).into_iter().eq(0..1 + LARGE), "a batch without a marker was pushed: {forbidden}");
        assert!(markers(&redis).is_empty());
    }
}

#[tokio::test]
async fn errors_that_redis_returns_get_a_remedy_and_delivery_resumes() {
    let stale: &[&[&str]] = &[&["REPLICAOF", "127.0.0.1", "1"], &["CONFIG", "SET", "replica-serve-stale-data", "no"]];
    let unsaved: &[&[&str]] = &[&["CONFIG", "SET", "save", "1 1"], &["BGSAVE"]];
    let primary: &[&str] = &["REPLICAOF", "NO", "ONE"];
    for (refusal, code, remedy, repair) in [
        (
            &[&["CONFIG", "SET", "maxmemory", "1"][..]][..],
            "OOM",
            "check whether Logstash is behind, or raise `maxmemory`",
            &["CONFIG", "SET", "maxmemory", "0"][..],
        ),
        (&[&["REPLICAOF", "127.0.0.1", "1"]], "READONLY", "configure its primary, or `sentinels`", primary),
        (stale, "MASTERDOWN", "configure its primary, or `sentinels`", primary),
        (
            &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
            "NOREPLICAS",
            "start the replicas of Redis, or lower its setting `min-replicas-to-write`",
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        (unsaved, "MISCONF", "Redis cannot save its data: check its log", &["CONFIG", "SET", "save", ""]),
    ] {
        let redis = Redis::start();
        // Redis cannot replace a folder with a snapshot.
        fs::create_dir_all(redis.socket().with_file_name("dump.rdb").join("full")).expect("the folder is writable");
        let (connected, fresh) = (output(config(&redis)), output(config(&redis)));
        connected.deliver(&[numbered(0..1)]).await.expect("Redis accepts everything");
        for command in refusal {
            redis.command(command);
        }
        let batches = [numbered(1..2), numbered(2..2 + LARGE)];
        test_servers::eventually("Redis refuses writes", || {
            (redis.command(&["SET", "other", ""]) != "OK").then_some(())
        });
        for output in [&connected, &fresh] {
            for batch in &batches {
                let error = chain(&output.deliver(slice::from_ref(batch)).await.expect_err("Redis refuses writes"));
                assert!(error.contains(code) && error.contains(remedy), "{error}");
                assert!(!error.contains("Unknown Error"), "{error}");
            }
        }
        redis.command(repair);
        for output in [&connected, &fresh] {
            output.deliver(&batches).await.expect("Redis accepts everything");
        }
        assert!(pushed(&redis).into_iter().eq(0..2 + LARGE), "{code}");
        assert_eq!((connected.warning(), fresh.warning()), (None, None), "{code}");
    }
}

#[tokio::test]
async fn an_error_does_not_quote_a_log_message() {
    let redis = Redis::start_with(&["--rename-command", "EVAL", "", "--rename-command", "RPUSH", ""]);
    redis.command(&["ACL", "SETUSER", "default", "-multi"]);
    let error =
        chain(&output(config(&redis)).deliver(&[batch(r#"{"message":"hunter2"}"#)]).await.expect_err("no RPUSH"));
    assert!(error.ends_with("ERR unknown command 'RPUSH'"), "{error}");
}
