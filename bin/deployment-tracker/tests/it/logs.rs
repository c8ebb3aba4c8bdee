//! Log messages: kept in the store, forwarded to Redis, or both.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use test_servers::JSON;

use crate::support::{Stack, is_timestamp, new_id, on_each_store, serve, with};

#[test]
fn without_redis_the_store_keeps_log_messages() {
    on_each_store(|config| {
        let server = serve(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}/logs");
        let own = "2015-07-07T17:34:12.075Z";
        let posts = [
            json!([{ "message": "one" },
                { "message": "two", "n": 5, "o": { "a": [1, null] }, "host": "h", "nil": null }]),
            json!([]),
            json!({ "message": "three", "@timestamp": own, "deployment_id": "mine" }),
            json!([{ "message": "Zoë \u{2028} 😀 </x>" }]),
        ];
        for body in &posts {
            let answer = server.post(&path, body);
            assert_eq!((answer.status, answer.text()), (201, ""), "{body}");
        }
        assert_eq!(server.post(&format!("/v1/deployments/{id}"), &json!({ "message": "five" })).status, 201);

        let kept = server.read(&path);
        let kept = kept.as_array().expect("JSON array");
        let expected = [
            json!({ "message": "one" }),
            posts[0][1].clone(),
            json!({ "message": "three", "@timestamp": own }),
            posts[3][0].clone(),
            json!({ "message": "five" }),
        ];
        assert_eq!(kept.len(), expected.len(), "{kept:?}");
        for (message, expected) in kept.iter().zip(expected) {
            let added =
                json!({ "deployment_id": id, "event_id": message["event_id"], "@timestamp": message["@timestamp"] });
            assert_eq!(*message, with(&with(&added, expected.clone()), json!({ "deployment_id": id })));
            assert!(expected.get("@timestamp").is_some() || is_timestamp(&message["@timestamp"]), "{message}");
        }
        let mut ids: Vec<_> = kept.iter().map(|message| message["event_id"].as_str().expect("id")).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        ids.dedup();
        assert_eq!(ids.len(), kept.len(), "unique");
        assert_eq!(server.read(&path), json!(kept), "an event_id is stable");
    });
}

#[test]
fn with_redis_the_store_keeps_log_messages_only_if_configured() {
    on_each_store(|mut config| {
        let forwarding = Stack::start(config.clone());
        let id = new_id();
        let path = format!("/v1/deployments/{id}/logs");
        assert_eq!(forwarding.server.post(&path, &json!({ "message": "m" })).status, 201);
        let answer = forwarding.server.get(&path);
        answer.is_error(404, None);
        assert_eq!(answer.json()["code"], json!("logs_not_kept"));
        assert_eq!(forwarding.forwarded(&id).0.len(), 1);
        drop(forwarding);

        config["database"]["logs"] = json!(true);
        let both = Stack::start(config.clone());
        assert_eq!(both.server.post(&path, &json!([{ "message": "a" }, { "message": "b" }])).status, 201);
        let kept = both.server.read(&path);
        let (elements, metrics) = both.forwarded(&id);
        let messages_and_ids = |list: &[Value]| {
            list.iter().map(|one| (one["message"].clone(), one["event_id"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(
            messages_and_ids(kept.as_array().expect("JSON array")),
            messages_and_ids(&elements),
            "the same events in both"
        );
        assert_eq!(elements.len(), 2);
        assert_eq!(metrics, ["dt.logs.message:2|c"]);
        drop(both);

        config["database"]["logs"] = json!(false);
        let neither = serve(config);
        assert_eq!(neither.get(&path).json()["code"], json!("logs_not_kept"));
        for path in [&path, &format!("/v1/deployments/{id}")] {
            let refused = neither.post(path, &json!({ "message": "m" }));
            assert!(refused.is_error(404, None).contains("takes no log messages"), "a retry can never succeed");
            assert_eq!((&refused.json()["code"], refused.header("retry-after")), (&json!("logs_not_taken"), None));
        }
    });
}

#[test]
fn redis_receives_every_member_unchanged_with_the_deployment_id_and_the_index() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}/logs");
        let text = r#"[{"deployment_id":"mine","message":"m","index":"mine","event_id":"mine","@version":"mine"},
            {"message":"Zo\u00eb \u2028 \ud83d\ude00","big":123456789012345678901234567890,
                "f":0.1,"nil":null,"o":{"a":[]}},
            {"message":"own","@timestamp":"2015-07-07T17:34:12.075Z"},{"message":"first","message":"last"}]"#;
        assert_eq!(stack.server.send("POST", &path, &[JSON], text.as_bytes()).status, 201);
        assert_eq!(stack.server.post("/v1/deployments/no-uuid/logs", &json!({ "message": "elsewhere" })).status, 201);

        let (elements, metrics) = stack.forwarded(&id);
        let element_of = |message: &str| {
            elements
                .iter()
                .find(|element| element["message"] == json!(message))
                .unwrap_or_else(|| panic!("{elements:?}"))
        };
        for message in ["m", "Zoë \u{2028} 😀", "own", "last"] {
            let element = element_of(message);
            assert_eq!((&element["deployment_id"], &element["index"]), (&json!(id), &json!("deployment-tracker")));
            assert!(is_timestamp(&element["@timestamp"]) && element["event_id"].is_string(), "{element}");
        }
        let odd = element_of("Zoë \u{2028} 😀");
        assert_eq!((&odd["f"], &odd["nil"], &odd["o"]), (&json!(0.1), &json!(null), &json!({ "a": [] })));
        assert!(odd.as_object().is_some_and(|members| members.contains_key("nil")), "{odd}");
        assert_eq!(element_of("own")["@timestamp"], json!("2015-07-07T17:34:12.075Z"));
        assert_eq!(element_of("elsewhere")["deployment_id"], json!("no-uuid"));
        let raw = stack.redis.command(&["LRANGE", "logstash", "0", "-1"]).to_string();
        assert!(raw.contains("123456789012345678901234567890"), "every digit is kept: {raw}");
        assert_eq!(metrics, ["dt.logs.message:5|c"]);
    });
}

#[test]
fn messages_sent_immediately_after_start_up_keep_their_order() {
    on_each_store(|config| {
        let stack = Stack::start(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}/logs");
        let messages: Vec<_> = (0..20).map(|n| json!(n.to_string())).collect();
        for message in &messages {
            assert_eq!(stack.server.post(&path, &json!({ "message": message })).status, 201);
        }
        let elements = stack.redis.wait_for(messages.len());
        let received: Vec<_> = elements.iter().map(|element| element["message"].clone()).collect();
        assert_eq!(received, messages);
    });
}

/// The largest number of messages that fits into the default limit of a body.
const MOST_MESSAGES: usize = 69_904;

#[test]
fn the_most_messages_that_fit_into_a_body_arrive_once_and_in_order() {
    on_each_store(|config| {
        for keeps_logs in [false, true] {
            let mut config = config.clone();
            config["database"]["logs"] = json!(keeps_logs);
            config["redis"]["additional_fields"] = json!({ "more": "x".repeat(300) });
            let stack = Stack::start(config);
            let id = new_id();
            let path = format!("/v1/deployments/{id}/logs");
            // A message of its own at each end shows the order among posts.
            assert_eq!(stack.server.post(&path, &json!({ "message": "before" })).status, 201);
            let body = format!("[{}]", vec![r#"{"message":""}"#; MOST_MESSAGES].join(","));
            assert_eq!(body.len(), (1 << 20) - 15, "the body is just within its limit");
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(body.as_bytes()).expect("a Vec accepts every write");
            let gzip = gzip.finish().expect("a Vec accepts every write");
            let answer = stack.server.send("POST", &path, &[JSON, ("Content-Encoding", "gzip")], &gzip);
            assert_eq!(answer.status, 201, "{}", answer.text());
            assert_eq!(stack.server.post(&path, &json!({ "message": "after" })).status, 201);

            let (elements, metrics) = stack.forwarded(&id);
            assert_eq!(elements.len(), MOST_MESSAGES + 2);
            let at = |index: usize| elements[index]["message"].as_str().expect("text");
            assert_eq!((at(0), at(1), at(MOST_MESSAGES), at(MOST_MESSAGES + 1)), ("before", "", "", "after"));
            let ids: Vec<_> = elements.iter().map(|element| element["event_id"].as_str().expect("id")).collect();
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each once and in the order of receipt");
            assert_eq!(metrics, [format!("dt.logs.message:{}|c", MOST_MESSAGES + 2)]);
            if keeps_logs {
                let kept = stack.server.read(&format!("{path}?limit=1&offset={}", MOST_MESSAGES + 1));
                assert_eq!(kept[0]["message"], json!("after"));
            }
        }
    });
}
