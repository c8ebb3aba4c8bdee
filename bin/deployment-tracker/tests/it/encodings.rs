//! Databases whose character encoding lacks characters.

use std::thread;

use serde_json::json;
use test_servers::{Database as _, Postgres, Redis, Server, eventually};

use crate::support::{new_id, serve};

const ROCKET: &str = "%F0%9F%9A%80";

/// A new database on the shared PostgreSQL with the encoding.
fn database(name: &str, encoding: &str) -> String {
    let create =
        format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0");
    Postgres::shared().psql("postgres", &create).expect("created");
    Postgres::shared().url(name)
}

#[track_caller]
fn lacks_a_character(response: &test_servers::Response, field: &str) {
    let message = response.is_error(400, Some(field));
    let expected = format!(
        "`{field}` contains a character that the character encoding of the database lacks; replace the character"
    );
    assert_eq!(message, expected);
}

#[test]
fn a_character_that_a_latin1_database_lacks_affects_only_its_own_report() {
    let server = serve(json!({ "database": { "url": database("latin1", "LATIN1"), "logs": true } }));
    let start = |number: usize| {
        let user = if number.is_multiple_of(5) { "🚀" } else { "Jörg" };
        let body = json!({ "engine": "e", "user": user });
        let id = new_id();
        (number, id.clone(), server.post(&format!("/v1/deployments/{id}"), &body))
    };
    let mut answers: Vec<_> = thread::scope(|scope| {
        let requests: Vec<_> = (0..40).map(|number| scope.spawn(move || start(number))).collect();
        requests.into_iter().map(|request| request.join().expect("no panic")).collect()
    });
    answers.sort_by_key(|(number, ..)| *number);
    for (number, id, response) in &answers {
        let path = format!("/v1/deployments/{id}");
        if number % 5 == 0 {
            lacks_a_character(response, "user");
            assert_eq!(server.get(&path).status, 404, "nothing is recorded");
        } else {
            assert_eq!(response.status, 201, "{response:?}");
            assert_eq!(server.read(&path)["user"], "Jörg");
        }
    }

    let path = format!("/v1/deployments/{}", answers[1].1);
    let rocket = json!({ "hostname": "🚀" });
    lacks_a_character(&server.post(&format!("{path}/servers"), &rocket), "hostname");
    lacks_a_character(&server.put(&format!("{path}/servers"), &rocket), "hostname");
    lacks_a_character(&server.put(&path, &json!({ "package": "🚀" })), "package");
    for hostname in ["a", "é", "ÿÿ"] {
        assert_eq!(server.post(&format!("{path}/servers"), &json!({ "hostname": hostname })).status, 201);
    }
    assert_eq!(server.get(&format!("/v1/servers/{ROCKET}")).status, 404);
    assert_eq!(server.read("/v1/servers"), json!(["ÿÿ", "é", "a"]));
    assert_eq!(server.read("/v1/servers?before="), json!(["ÿÿ", "é", "a"]));

    // Log messages are JSON, which can express every character in ASCII.
    let message = json!({ "message": "Jörg 🚀", "🚀": ["\u{FFFD}"] });
    assert_eq!(server.post(&format!("{path}/logs"), &message).status, 201);
    let kept = server.read(&format!("{path}/logs"));
    assert_eq!((&kept[0]["message"], &kept[0]["🚀"]), (&json!("Jörg 🚀"), &json!(["\u{FFFD}"])));
    lacks_a_character(&server.post(&format!("/v1/deployments/{ROCKET}/logs"), &message), "deployment_id");
    assert_eq!(server.read(&format!("/v1/deployments/{ROCKET}/logs")), json!([]));

    let warning = "the encoding `LATIN1` of the PostgreSQL database lacks characters that reports may contain";
    assert_eq!(server.stderr().matches(warning).count(), 1, "{}", server.stderr());
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn the_outbox_of_a_latin1_database_holds_every_log_message() {
    let mut redis = Redis::start();
    let config = json!({
        "database": { "url": database("latin1_outbox", "LATIN1") },
        "redis": { "host": "127.0.0.1", "port": redis.port },
    });
    let server: Server = serve(config);
    redis.kill();
    let path = format!("/v1/deployments/{}/logs", new_id());
    for text in ["first 🚀", "plain", "second 🚀"] {
        assert_eq!(server.post(&path, &json!({ "message": text })).status, 201);
    }
    redis.restart();
    let messages = || -> Vec<String> {
        redis.elements().iter().filter_map(|element| Some(element["message"].as_str()?.to_owned())).collect()
    };
    eventually("the messages arrive", || messages() == ["first 🚀", "plain", "second 🚀"]);
}

#[test]
fn a_database_without_an_encoding_records_every_character_and_is_warned_about() {
    let server = serve(json!({ "database": { "url": database("sql_ascii", "SQL_ASCII") } }));
    let path = format!("/v1/deployments/{}", new_id());
    assert_eq!(server.post(&path, &json!({ "user": "🚀" })).status, 201);
    assert_eq!(server.post(&format!("{path}/servers"), &json!({ "hostname": "🚀" })).status, 201);
    assert_eq!(server.read(&path)["user"], "🚀");
    assert_eq!(server.read(&format!("/v1/servers/{ROCKET}"))[0]["hostname"], "🚀");
    let warning = "the encoding `SQL_ASCII` of the PostgreSQL database does not check texts";
    assert_eq!(server.stderr().matches(warning).count(), 1, "{}", server.stderr());
}
