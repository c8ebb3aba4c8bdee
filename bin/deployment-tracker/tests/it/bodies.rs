//! Request bodies: content type, encoding, size and syntax.

use std::io::Write;
use std::net::TcpStream;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use test_servers::JSON;

use crate::support::{Stack, new_id, on_each_store, serve, with};

fn compress(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match encoding {
        "gzip" => GzEncoder::new(&mut bytes, Compression::best()).write_all(body),
        "deflate" => ZlibEncoder::new(&mut bytes, Compression::best()).write_all(body),
        "raw deflate" => DeflateEncoder::new(&mut bytes, Compression::best()).write_all(body),
        "br" => brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22).write_all(body),
        _ => bytes.write_all(body),
    }
    .expect("writing to memory cannot fail");
    bytes
}

/// A deployment start of exactly `size` bytes.
fn start_with_size(size: usize) -> Vec<u8> {
    let around = br#"{"engine":"e","padding":""}"#.len();
    format!(r#"{{"engine":"e","padding":"{}"}}"#, "x".repeat(size - around)).into_bytes()
}

#[test]
fn only_json_in_utf_8_is_accepted() {
    on_each_store(|config| {
        let server = serve(config);
        let id = new_id();
        let routes = [
            ("POST", format!("/v1/deployments/{id}"), r#"{"engine":"e"}"#, 201),
            ("PUT", format!("/v1/deployments/{id}"), r#"{"result":"success"}"#, 204),
            ("POST", format!("/v1/deployments/{id}/logs"), r#"[{"message":"m"}]"#, 201),
            ("POST", format!("/v1/deployments/{id}/servers"), r#"{"hostname":"h"}"#, 201),
            ("PUT", format!("/v1/deployments/{id}/servers"), r#"{"hostname":"h","result":"success"}"#, 204),
        ];
        for (method, path, body, _) in &routes {
            server.send(method, path, &[], body.as_bytes()).is_error(415, None);
            for kind in [
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/json; charset=iso-8859-1",
                "application/json;charset=utf-16",
                "application/json; charset=utf-8; charset=latin1",
                "application/jsonx",
                "application /json",
                "nonsense",
                "",
            ] {
                server.send(method, path, &[("Content-Type", kind)], body.as_bytes()).is_error(415, None);
            }
            let twice = [JSON, ("Content-Type", "text/plain")];
            server.send(method, path, &twice, body.as_bytes()).is_error(415, None);
        }
        assert_eq!(server.get(&format!("/v1/deployments/{id}")).status, 404, "nothing was recorded");
        for (method, path, body, status) in &routes {
            for kind in [
                "application/json",
                "application/json; charset=utf-8",
                "application/json ; charset = utf-8",
                "Application/JSON;charset=\"UTF-8\";v=1;",
                "application/json;charset=UTF-8",
                "Application/JSON; charset=\"utf-8\"",
                "application/json; utf-8",
                "application/json;;charset=utf-8",
                "application/json; profile=http://example.com/a",
            ] {
                let twice = [("content-type", kind), JSON];
                let answer = server.send(method, path, &twice[..1 + usize::from(kind.contains(';'))], body.as_bytes());
                assert_eq!(answer.status, *status, "{method} {path} {kind}: {}", answer.text());
            }
        }
    });
}

#[test]
fn compressed_bodies_are_decompressed_and_corrupt_ones_rejected() {
    on_each_store(|config| {
        let server = serve(config);
        for encoding in ["gzip", "deflate", "br", "identity"] {
            let path = format!("/v1/deployments/{}", new_id());
            let headers = [JSON, ("Content-Encoding", encoding)];
            let body = compress(encoding, br#"{"engine":"compressed"}"#);
            if encoding != "identity" {
                server.send("POST", &path, &headers, &body[..body.len() / 2]).is_error(400, None);
                server.send("POST", &path, &headers, br#"{"engine":"plain"}"#).is_error(400, None);
                assert_eq!(server.get(&path).status, 404);
            }
            let answer = server.send("POST", &path, &headers, &body);
            assert_eq!(answer.status, 201, "{encoding}: {}", answer.text());
            assert_eq!(server.read(&path)["engine"], json!("compressed"));
        }
        let path = format!("/v1/deployments/{}", new_id());
        let body = br#"{"engine":"e"}"#;
        for (headers, format) in [
            (&["deflate"][..], "raw deflate"),
            (&["DEFLATE"], "deflate"),
            (&["x-gzip"], "gzip"),
            (&["X-GZip"], "gzip"),
            (&["gzip, identity"], "gzip"),
            (&["identity,\tBR "], "br"),
            (&["identity", "gzip", ""], "gzip"),
            (&[", gzip,,"], "gzip"),
            (&["Identity, identity"], "identity"),
            (&[""], "identity"),
        ] {
            let headers: Vec<_> = headers.iter().map(|value| ("Content-Encoding", *value)).chain([JSON]).collect();
            let compressed = compress(format, body);
            let answer = server.send("POST", &path, &headers, &compressed);
            assert_eq!(answer.status, 201, "{headers:?}: {}", answer.text());
            if format != "identity" {
                server.send("POST", &path, &headers, &compressed[..compressed.len() / 2]).is_error(400, None);
                server.send("POST", &path, &headers, body).is_error(400, None);
            }
        }
        for headers in [
            &["zip"][..],
            &["gzipx"],
            &["x-deflate"],
            &["compress"],
            &["gzip, gzip"],
            &["gzip", "br"],
            &["gzip;q=1"],
            &["é"],
        ] {
            let headers: Vec<_> = headers.iter().map(|value| ("Content-Encoding", *value)).chain([JSON]).collect();
            server.send("POST", &path, &headers, &compress("gzip", body)).is_error(415, None);
        }
    });
}

#[test]
fn a_body_over_the_limit_is_413_even_if_its_compressed_form_is_small() {
    on_each_store(|mut config| {
        let sizes = [(None, 1 << 20), (Some(10_000), 10_000)];
        for (configured, limit) in sizes {
            if let Some(bytes) = configured {
                config["limits"]["body_bytes"] = json!(bytes);
            }
            let server = serve(config.clone());
            for encoding in ["identity", "gzip", "deflate", "raw deflate", "br"] {
                let headers = [JSON, ("Content-Encoding", encoding.trim_start_matches("raw "))];
                let path = format!("/v1/deployments/{}", new_id());
                for size in [limit + 1, 4 * limit] {
                    let body = compress(encoding, &start_with_size(size));
                    assert!(encoding == "identity" || body.len() < limit, "{encoding}");
                    server.send("POST", &path, &headers, &body).is_error(413, None);
                }
                let messages = json!(vec![json!({ "message": "m" }); limit / 10]).to_string();
                server
                    .send("POST", &format!("{path}/logs"), &headers, &compress(encoding, messages.as_bytes()))
                    .is_error(413, None);
                assert_eq!(server.get(&path).status, 404);
                let answer = server.send("POST", &path, &headers, &compress(encoding, &start_with_size(limit)));
                assert_eq!(answer.status, 201, "{encoding}: {}", answer.text());
            }
        }
    });
}

#[test]
fn invalid_json_is_400_on_every_route() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000)).into_bytes();
    let invalid: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"   ".to_vec(),
        b"{".to_vec(),
        br#"{"engine":"e","hostname":"h","message":"m"#.to_vec(),
        br#"{"engine":"e","hostname":"h","message":"m"} x"#.to_vec(),
        br#"{"engine":"e","hostname":"h","message":"m",}"#.to_vec(),
        br#"{'hostname':'h','message':'m'}"#.to_vec(),
        b"{\"hostname\":\"h\",\"message\":\"a\xff\"}".to_vec(),
        b"{\"hostname\":\"h\",\"message\":\"a\0\"}".to_vec(),
        br#"{"hostname":"h","message":"a\u0000"}"#.to_vec(),
        br#"{"hostname":"h","message":"a","b\u0000":1}"#.to_vec(),
        b"\xef\xbb\xbf\xff".to_vec(),
        deep("[", "]"),
        deep(r#"{"message":"m","hostname":"h","a":"#, "}"),
        deep(r#"[{"message":"m","a":"#, "}]"),
    ];
    let shapes =
        ["null", "1", "\"text\"", "true", "[1]", "[\"a\"]", "[[]]", "[null]"].map(|text| text.as_bytes().to_vec());
    on_each_store(|mut config| {
        config["limits"]["body_bytes"] = json!(4 << 20);
        let server = serve(config);
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        for (method, route) in [("POST", ""), ("PUT", ""), ("POST", "/logs"), ("POST", "/servers"), ("PUT", "/servers")]
        {
            for body in invalid.iter().chain(&shapes) {
                server.send(method, &format!("{path}{route}"), &[JSON], body).is_error(400, None);
            }
        }
        assert_eq!(server.get(&path).status, 404);
        assert_eq!(server.read("/v1/servers"), json!([]));
        let kept = server.read(&format!("{path}/logs"));
        assert_eq!(kept, json!([]), "no message of a rejected batch is kept");
    });
}

#[test]
fn a_byte_order_mark_before_the_body_is_ignored() {
    on_each_store(|config| {
        let server = serve(config);
        let path = format!("/v1/deployments/{}", new_id());
        for (method, route, body, status) in [
            ("POST", "", "{\"engine\":\"\u{feff}e\"}".to_owned(), 201),
            ("POST", "/servers", r#"{"hostname":"h"}"#.to_owned(), 201),
            ("PUT", "/servers", r#"{"hostname":"h","result":"success"}"#.to_owned(), 204),
            ("POST", "/logs", r#"[{"message":"m"}]"#.to_owned(), 201),
            ("POST", "", r#"{"message":"n"}"#.to_owned(), 201),
            ("PUT", "", r#"{"result":"success"}"#.to_owned(), 204),
        ] {
            let body = format!("\u{feff}{body}");
            for encoding in ["identity", "gzip"] {
                let headers = [JSON, ("Content-Encoding", encoding)];
                let answer =
                    server.send(method, &format!("{path}{route}"), &headers, &compress(encoding, body.as_bytes()));
                assert_eq!(answer.status, status, "{method} {route} {encoding}: {}", answer.text());
            }
        }
        let record = server.read(&path);
        assert_eq!((&record["engine"], &record["result"]), (&json!("\u{feff}e"), &json!("success")));
        assert_eq!(record["servers"][0]["hostname"], json!("h"));
        let messages = server.read(&format!("{path}/logs"));
        let messages: Vec<_> = messages.as_array().expect("a list").iter().map(|kept| &kept["message"]).collect();
        assert_eq!(messages, ["m", "m", "n", "n"]);
        let twice = server.send("PUT", &path, &[JSON], "\u{feff}\u{feff}{}".as_bytes());
        twice.is_error(400, None);
    });
}

#[test]
fn an_unpaired_surrogate_becomes_the_replacement_character_everywhere() {
    on_each_store(|config| {
        let stack =
            Stack::start(with(&config, json!({ "database": with(&config["database"], json!({ "logs": true })) })));
        let server = &stack.server;
        let id = new_id();
        let path = format!("/v1/deployments/{id}");
        let send = |method: &str, route: &str, body: &str, status: u16| {
            let answer = server.send(method, &format!("{path}{route}"), &[JSON], body.as_bytes());
            assert_eq!(answer.status, status, "{method} {route} {body}: {}", answer.text());
            answer
        };
        let start = r#"{"engine":"caf\udce9","user":"\uD83D","host":"\ud83d\ude00\ude00","\ud800":"ignored"}"#;
        send("POST", "", start, 201);
        // The retry and its repaired form are the same report.
        send("POST", "", start, 201);
        send("POST", "", "{\"engine\":\"caf\u{fffd}\"}", 201);
        send("PUT", "", r#"{"arguments":"\udfff\ud800","result":"success"}"#, 204);
        send("PUT", "", r#"{"result":"success\ud800"}"#, 400).is_error(400, Some("result"));
        let location = send("POST", "/servers", r#"{"hostname":"web\udc00","ip_address":"\udbff"}"#, 201);
        assert_eq!(location.header("location"), Some("/v1/servers/web%EF%BF%BD"));
        send("PUT", "/servers", r#"{"hostname":"web\udc00","result":"success"}"#, 204);
        let record = server.read(&path);
        for (field, expected) in [
            ("engine", "caf\u{fffd}"),
            ("user", "\u{fffd}"),
            ("host", "\u{1f600}\u{fffd}"),
            ("arguments", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(record[field], json!(expected), "{field}");
        }
        let host = &server.read("/v1/servers/web%EF%BF%BD")[0];
        assert_eq!((&host["hostname"], &host["ip_address"]), (&json!("web\u{fffd}"), &json!("\u{fffd}")));

        let batch = concat!(
            r#"[{"message":"fine","number":1.50,"pair":"\ud83d\ude00"},"#,
            r#"{"message":"cut \ud83d","nested":{"\udc00":["\\ud800","\\\ud800"]}},{"message":"also fine"}]"#
        );
        send("POST", "/logs", batch, 201);
        send("POST", "", r#"{"message":"\ud800"}"#, 201);
        let expected = json!([
            { "message": "fine", "number": 1.5, "pair": "\u{1f600}" },
            { "message": "cut \u{fffd}", "nested": { "\u{fffd}": ["\\ud800", "\\\u{fffd}"] } },
            { "message": "also fine" },
            { "message": "\u{fffd}" },
        ]);
        let without = |mut message: Value| {
            let members = message.as_object_mut().expect("a message is an object");
            members.retain(|name, _| ["message", "number", "pair", "nested"].contains(&name.as_str()));
            message
        };
        let kept = server.get(&format!("{path}/logs"));
        assert!(kept.text().contains("1.50"), "{}", kept.text());
        let Value::Array(kept) = kept.json() else { panic!("the messages are a list") };
        assert_eq!(Value::Array(kept.into_iter().map(without).collect()), expected);
        let (elements, _) = stack.forwarded(&id);
        let forwarded = elements.into_iter().filter(|element| {
            !element["message"].as_str().is_some_and(|text| text.starts_with("Deployment Tracker recording"))
        });
        assert_eq!(Value::Array(forwarded.map(without).collect()), expected);
    });
}

#[test]
fn a_truncated_body_records_nothing() {
    on_each_store(|config| {
        let server = serve(config);
        let path = format!("/v1/deployments/{}", new_id());
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n");
        for rest in [
            "Content-Length: 100\r\n\r\n{\"engine\":\"e\"}",
            "Transfer-Encoding: chunked\r\n\r\ne\r\n{\"engine\":\"e\"}\r\n",
            "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            "Content-Length: 14\r\n",
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
            stream.write_all(format!("{head}{rest}").as_bytes()).expect("the server reads");
        }
        assert_eq!(server.get(&path).status, 404);
        assert_eq!(server.post(&path, &json!({ "engine": "e" })).status, 201);
    });
}

#[test]
fn a_batch_with_an_invalid_message_records_none_of_them() {
    on_each_store(|config| {
        let server = serve(config);
        let path = format!("/v1/deployments/{}/logs", new_id());
        for invalid in [json!({ "severity": "info" }), json!({ "message": 1 }), json!({ "message": null }), json!("a")]
        {
            let batch = json!([{ "message": "one" }, { "message": "two" }, invalid]);
            let field = invalid.is_object().then_some("message");
            server.post(&path, &batch).is_error(400, field);
        }
        assert_eq!(server.read(&path), Value::Array(Vec::new()));
    });
}
