//! Databases and outputs that are down, frozen, or answer with errors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_servers::{Database, Postgres, Redis, Response, Statsd, eventually};

use crate::support::{Stack, full_start, new_id, on_each_store, serve};

/// The messages of the elements of one deployment, in order.
fn messages(elements: &[Value], id: &str) -> Vec<String> {
    let own = elements.iter().filter(|element| element["deployment_id"] == json!(id));
    own.map(|element| element["message"].as_str().expect("message").to_owned()).collect()
}

fn event_ids(elements: &[Value]) -> BTreeSet<String> {
    elements.iter().map(|element| element["event_id"].to_string()).collect()
}

fn start_message(id: &str) -> String {
    format!("Deployment Tracker recording deployment start for deployment {id}")
}

fn end_message(id: &str) -> String {
    format!("Deployment Tracker recording deployment end for deployment {id}")
}

fn redis_config(redis: &Redis) -> Value {
    json!({ "host": "127.0.0.1", "port": redis.port })
}

#[test]
fn the_server_starts_without_postgresql_and_recovers() {
    starts_without_the_database_and_recovers(&mut Postgres::absent());
}

#[cfg(feature = "mysql")]
#[test]
fn the_server_starts_without_mariadb_and_recovers() {
    starts_without_the_database_and_recovers(&mut test_servers::Mariadb::absent());
}

fn starts_without_the_database_and_recovers(database: &mut dyn Database) {
    let server = serve(json!({ "database": { "url": database.url(database.default_database()) } }));
    let id = new_id();
    let path = format!("/v1/deployments/{id}");
    let assert_unavailable = || {
        for answer in [
            server.post(&path, &full_start()),
            server.put(&path, &json!({ "result": "success" })),
            server.post(&format!("{path}/logs"), &json!({ "message": "m" })),
            server.get("/v1/deployments"),
        ] {
            answer.is_error(503, None);
            let seconds = answer.header("retry-after").and_then(|value| value.parse::<u32>().ok());
            assert!(seconds.is_some_and(|seconds| seconds <= 60), "{answer:?}");
        }
        let begun = Instant::now();
        let health = server.get("/healthcheck");
        assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
        assert_eq!((health.status, &health.json()["tests"]["db"]["result"]), (503, &json!("failed")));
        assert!(!health.text().contains("a-password"), "{}", health.text());
    };
    assert_unavailable();
    assert_eq!(server.get("/config").status, 200, "a route without database access still answers");
    database.start();
    eventually("a start is recorded", || (server.post(&path, &full_start()).status == 201).then_some(()));
    assert_eq!(server.read("/v1/deployments").as_array().map(Vec::len), Some(1));

    let before = server.read(&path);
    database.stop();
    assert_unavailable();
    database.start();
    let is_back = AtomicBool::new(false);
    let read_until_back = || {
        eventually("the record can be read again", || {
            let was_back = is_back.load(Ordering::SeqCst);
            let answer = server.get(&path);
            assert!(answer.status == 200 || !was_back, "once one reader succeeds, every reader does: {answer:?}");
            is_back.fetch_or(answer.status == 200, Ordering::SeqCst);
            was_back.then_some(())
        });
    };
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(read_until_back))));
    let after = server.read(&path);
    assert!(
        after == before || after["result"] == json!("success"),
        "the finish is recorded completely or not at all: {after}"
    );
    eventually("a finish is recorded", || {
        (server.put(&path, &json!({ "result": "failure" })).status == 204).then_some(())
    });
    assert_eq!(server.read(&path)["result"], json!("failure"));
    assert!(!server.stderr().contains("a-password"), "no secrets in the log: {}", server.stderr());
}

#[test]
fn a_dead_redis_delays_no_report_and_receives_the_elements_later() {
    let mut redis = Redis::absent();
    let server = serve(json!({ "redis": redis_config(&redis) }));
    let ids: Vec<_> = (0..20).map(|_| new_id()).collect();
    for id in &ids {
        let begun = Instant::now();
        assert_eq!(server.post(&format!("/v1/deployments/{id}"), &full_start()).status, 201);
        assert_eq!(server.put(&format!("/v1/deployments/{id}"), &json!({ "result": "success" })).status, 204);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    redis.restart();
    let elements = redis.wait_for(40);
    for id in &ids {
        assert_eq!(messages(&elements, id), [start_message(id), end_message(id)]);
    }
    redis.kill();
    assert_eq!(server.put(&format!("/v1/deployments/{}", ids[0]), &json!({ "result": "failure" })).status, 204);
    redis.restart();
    assert_eq!(redis.wait_for(41).len(), 41);
}

#[test]
fn a_report_in_doubt_is_not_called_unrecorded() {
    let mut postgres = Postgres::absent();
    postgres.start();
    let server = serve(json!({ "database": { "url": postgres.url("postgres") } }));
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(server.post(&path, &full_start()).status, 201);
    postgres.freeze();
    let in_doubt = |answer: &Response, advice: &str| {
        let error = answer.is_error(503, None);
        assert!(error.contains("may or may not be recorded; ") && error.ends_with(advice), "{error}");
    };
    thread::scope(|scope| {
        let logs = scope.spawn(|| server.post(&format!("{path}/logs"), &json!({ "message": "m" })));
        in_doubt(&server.put(&path, &json!({ "result": "success" })), "; send the same request again, which is safe");
        let logs = logs.join().expect("the server answers");
        in_doubt(&logs, "; send it again, which may record its log messages twice");
    });
}

#[test]
fn a_frozen_redis_delays_no_report_and_receives_each_element_once() {
    let redis = Redis::start();
    let statsd = Statsd::listen();
    let server = serve(json!({
        "redis": redis_config(&redis),
        "statsd": { "host": "127.0.0.1", "port": statsd.port, "prefix": "dt" },
    }));
    let id = new_id();
    let path = format!("/v1/deployments/{id}");
    assert_eq!(server.post(&format!("{path}/logs"), &json!({ "message": "before" })).status, 201);
    redis.freeze();
    let begun = Instant::now();
    assert_eq!(server.post(&path, &full_start()).status, 201);
    assert_eq!(server.post(&format!("{path}/servers"), &json!({ "hostname": "h" })).status, 201);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let logged = server.post(&format!("{path}/logs"), &json!({ "message": "meanwhile" }));
    assert!(begun.elapsed() < Duration::from_secs(10), "the response took {:?}", begun.elapsed());
    assert_eq!(logged.status, 201, "{}", logged.text());
    eventually("StatsD receives the metric while Redis is frozen", || {
        statsd.lines().contains(&"dt.deployments.started:1|c".to_owned()).then_some(())
    });
    redis.thaw();
    assert_eq!(server.post(&format!("{path}/logs"), &json!({ "message": "after" })).status, 201);
    let expected = ["before".to_owned(), start_message(&id), "meanwhile".to_owned(), "after".to_owned()];
    assert_eq!(messages(&redis.wait_for(expected.len()), &id), expected);
}

#[test]
fn log_messages_reach_a_restarted_redis_once_and_in_order() {
    let mut redis = Redis::start();
    let server = serve(json!({ "redis": redis_config(&redis) }));
    let ids: Vec<_> = (0..3).map(|_| new_id()).collect();
    let mut expected = BTreeMap::<&str, Vec<String>>::new();
    let mut post = |n: u32| {
        for id in &ids {
            let batch = [format!("{n}, first"), format!("{n}, second")];
            let body = json!(batch.each_ref().map(|message| json!({ "message": message })));
            let answer = server.post(&format!("/v1/deployments/{id}/logs"), &body);
            assert_eq!(answer.status, 201, "{}", answer.text());
            expected.entry(id).or_default().extend(batch);
        }
    };
    (0..3).for_each(&mut post);
    redis.kill();
    (3..8).for_each(&mut post);
    redis.restart();
    (8..11).for_each(&mut post);
    let elements = redis.wait_for(3 * 11 * 2);
    assert_eq!(elements.len(), 3 * 11 * 2);
    for (id, expected) in expected {
        assert_eq!(messages(&elements, id), expected);
    }
    assert_eq!(event_ids(&elements).len(), elements.len(), "every event once");
}

#[test]
fn acknowledged_reports_survive_kill_9_and_are_delivered() {
    let mut redis = Redis::absent();
    let mut server = serve(json!({ "redis": redis_config(&redis) }));
    let id = new_id();
    let path = format!("/v1/deployments/{id}");
    assert_eq!(server.post(&path, &full_start()).status, 201);
    assert_eq!(server.post(&format!("{path}/logs"), &json!([{ "message": "a" }, { "message": "b" }])).status, 201);
    assert_eq!(server.put(&path, &json!({ "result": "success" })).status, 204);
    server.kill();
    redis.restart();
    server.restart();
    let expected = [start_message(&id), "a".to_owned(), "b".to_owned(), end_message(&id)];
    assert_eq!(messages(&redis.wait_for(expected.len()), &id), expected);
    assert_eq!(server.read(&path)["result"], json!("success"));

    server.kill();
    server.restart();
    assert_eq!(server.post(&format!("{path}/logs"), &json!({ "message": "c" })).status, 201);
    let elements = redis.wait_for(expected.len() + 1);
    assert_eq!(elements.len(), expected.len() + 1, "a delivered element is not delivered again: {elements:?}");
}

#[test]
fn a_redis_that_answers_with_errors_receives_the_elements_once_it_accepts_them() {
    let redis = Redis::start();
    redis.command(&["SET", "logstash", "not a list"]);
    let server = serve(json!({ "redis": redis_config(&redis) }));
    let id = new_id();
    assert_eq!(server.post(&format!("/v1/deployments/{id}"), &full_start()).status, 201);
    eventually("the failure is logged", || server.stderr().contains("WRONGTYPE").then_some(()));
    redis.command(&["DEL", "logstash"]);
    assert_eq!(messages(&redis.wait_for(1), &id), [start_message(&id)]);
}

#[test]
fn an_unresolvable_statsd_host_delays_no_report() {
    let server = serve(json!({ "statsd": { "host": "no-such-host.invalid" } }));
    let begun = Instant::now();
    assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &full_start()).status, 201);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let health = server.get("/healthcheck");
    assert_eq!((health.status, &health.json()["tests"]["statsd"]["result"]), (503, &json!("failed")));
}

#[test]
fn instances_started_together_share_one_postgresql_and_one_redis() {
    instances_share_one_database_and_one_redis(Postgres::shared());
}

#[cfg(feature = "mysql")]
#[test]
fn instances_started_together_share_one_mariadb_and_one_redis() {
    instances_share_one_database_and_one_redis(test_servers::Mariadb::shared());
}

fn instances_share_one_database_and_one_redis(database: &dyn Database) {
    let mut redis = Redis::start();
    let url = database.new_database();
    let config = json!({ "database": { "url": url }, "redis": redis_config(&redis) });
    let ids: Vec<_> = (0..40).map(|_| new_id()).collect();
    // Engines retry, and a retry may go to another instance.
    let instance = || {
        let server = serve(config.clone());
        for id in &ids {
            let path = format!("/v1/deployments/{id}");
            eventually("the start is recorded", || (server.post(&path, &full_start()).status == 201).then_some(()));
            let finish = json!({ "result": "success", "elapsed_seconds": 1 });
            assert_eq!(server.put(&path, &finish).status, 204);
        }
        server
    };
    let servers: Vec<_> = thread::scope(|scope| {
        let instances: Vec<_> = (0..3).map(|_| scope.spawn(instance)).collect();
        instances.into_iter().map(|instance| instance.join().expect("no thread panicked")).collect()
    });
    redis.wait_for(2 * ids.len());
    redis.kill();
    for (id, server) in ids.iter().zip(servers.iter().cycle()) {
        assert_eq!(server.put(&format!("/v1/deployments/{id}"), &json!({ "result": "failure" })).status, 204);
    }
    redis.restart();
    redis.wait_for(3 * ids.len());
    for server in &servers {
        assert_eq!(server.post("/v1/deployments/last/logs", &json!({ "message": "last" })).status, 201);
    }
    let elements = redis.wait_for(3 * ids.len() + servers.len());
    assert_eq!(event_ids(&elements).len(), elements.len(), "every event once");
    for id in &ids {
        // The order holds per instance: a start and a finish that two instances record at the same time may arrive in
        // either order.
        let mut messages = messages(&elements, id);
        messages.sort();
        assert_eq!(messages, [end_message(id), end_message(id), start_message(id)]);
        let records: Vec<_> = servers.iter().map(|server| server.read(&format!("/v1/deployments/{id}"))).collect();
        let same = records.iter().all(|record| *record == records[0] && record["result"] == json!("failure"));
        assert!(same, "{records:?}");
    }
}

#[test]
fn a_report_from_a_client_that_disconnects_is_recorded_completely_or_not_at_all() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let ids: Vec<_> = (0..50).map(|_| new_id()).collect();
        let body = full_start().to_string();
        for id in &ids {
            let head = format!("POST /v1/deployments/{id} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n");
            let mut stream = TcpStream::connect(("127.0.0.1", stack.server.port)).expect("the server listens");
            let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(request.as_bytes()).expect("the server reads");
        }
        for id in &ids {
            // The first attempt may have been recorded; after a retry the outputs still receive the start once.
            assert_eq!(stack.server.post(&format!("/v1/deployments/{id}"), &full_start()).status, 201);
            assert_eq!(messages(&stack.forwarded(id).0, id), [start_message(id)]);
        }
    });
}
