//! Pages and the links between them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use serde_json::{Value, json};
use test_servers::{Response, Server, eventually};

use crate::support::{new_id, on_each_store, serve};

/// The links of an answer: `(rel, url)`.
fn links(answer: &Response) -> Vec<(String, String)> {
    let header = answer.header("link").expect("a Link");
    let link = |text: &str| {
        let (url, rel) = text.strip_prefix('<')?.split_once(">; rel=\"")?;
        Some((rel.strip_suffix('"')?.to_owned(), url.to_owned()))
    };
    header.split(", ").map(|text| link(text).unwrap_or_else(|| panic!("not a link: {header}"))).collect()
}

/// A server with five deployments, on five hosts and once more on one, and five log messages; the ids.
fn filled(config: Value) -> (Server, Vec<String>) {
    let server = serve(config);
    let ids: Vec<String> = (0..5).map(|_| new_id()).collect();
    for (i, id) in ids.iter().enumerate() {
        let path = format!("/v1/deployments/{id}");
        assert_eq!(server.post(&path, &json!({ "engine": "e" })).status, 201);
        for hostname in [format!("host{i}"), "everywhere".to_owned()] {
            assert_eq!(server.post(&format!("{path}/servers"), &json!({ "hostname": hostname })).status, 201);
        }
        assert_eq!(server.post(&format!("/v1/deployments/{}/logs", ids[0]), &json!({ "message": id })).status, 201);
    }
    (server, ids)
}

/// Reads a list part by part, by the links: the parts.
pub fn follow(server: &Server, first: &str) -> Vec<Vec<Value>> {
    let (mut path, mut parts) = (first.to_owned(), Vec::new());
    loop {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(parts.len() < 1_000, "{first} has no end");
        parts.push(answer.json().as_array().expect("a list").clone());
        if answer.header("link").is_none() {
            return parts;
        }
        let links = links(&answer);
        assert_eq!(links.len(), 1, "{links:?}");
        assert_eq!(links[0].0, "next");
        let address = format!("http://127.0.0.1:{}", server.port);
        path = links[0].1.strip_prefix(&address).expect("the address that was asked").to_owned();
    }
}

#[test]
fn a_cursor_leads_through_every_list_and_nothing_new_moves_it() {
    on_each_store(|config| {
        let (server, ids) = filled(config);
        for list in
            ["/v1/deployments", "/v1/servers", "/v1/servers/everywhere", &format!("/v1/deployments/{}/logs", ids[0])]
        {
            let whole = server.read(list);
            for limit in [1, 2, 3, 1000] {
                let parts = follow(&server, &format!("{list}?before=&limit={limit}&x=1"));
                assert!(parts.iter().all(|part| part.len() <= limit), "{list} {limit}");
                assert_eq!(json!(parts.concat()), whole, "{list} {limit}");
            }
        }
        let first = server.get("/v1/deployments?before=&limit=2");
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({ "engine": "new" })).status, 201);
        let next = links(&first)[0].1.split_once("/v1").map(|(_, path)| format!("/v1{path}")).expect("a path");
        assert_eq!(server.read(&next)[0]["deployment_id"], json!(ids[2]));

        let oldest = server.read("/v1/deployments?limit=1000")[5]["createdAt"].clone();
        let before = format!("/v1/deployments?before={}", oldest.as_str().expect("a time"));
        assert_eq!(server.read(&before), json!([]), "nothing is older");
        assert_eq!(server.read("/v1/deployments?before=2999-01-01T00:00:00Z").as_array().map(Vec::len), Some(6));
        for wrong in ["before=x", "before=&offset=0", "before=&before=", "before=2015-07-07T17:34:12Z_x", "before=%FF"]
        {
            let answer = server.get(&format!("/v1/deployments?{wrong}"));
            assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("before")), "{wrong}");
        }
        let unknown = server.get("/v1/servers/nobody?before=2999-01-01T00:00:00Z");
        assert_eq!(unknown.status, 404);
    });
}

#[test]
fn a_cursor_passes_over_old_ids_in_any_letter_case() {
    let server = serve(json!({}));
    eventually("the tables are there", || (server.get("/readyz").status == 200).then_some(()));
    let file = server.folder.path().join("data.sqlite3");
    let mut database = SqliteConnection::establish(file.to_str().expect("a path")).expect("the database");
    for id in ["aaaaaaaa", "BBBBBBBB", "cccccccc", "DDDDDDDD", "EEEEEEEE"] {
        let rest = if id.starts_with(char::is_uppercase) {
            "-0000-4000-8000-00000000000A"
        } else {
            "-0000-4000-8000-00000000000a"
        };
        let row = format!("'{id}{rest}', '2015-07-07 17:34:12.075 +00:00', '2015-07-07 17:34:12.075 +00:00'");
        let insert = format!(
            "INSERT INTO \"Deployments\" (deployment_id, \"createdAt\", \"updatedAt\") VALUES ({row});
             INSERT INTO \"Servers\" (hostname, deployment_id, \"createdAt\", \"updatedAt\") VALUES ('h', {row})"
        );
        database.batch_execute(&insert).expect("a row");
    }
    for list in ["/v1/deployments", "/v1/servers/h"] {
        for limit in [1, 2, 5] {
            let parts = follow(&server, &format!("{list}?before=&limit={limit}"));
            let ids: Vec<_> = parts
                .concat()
                .iter()
                .map(|row| row["deployment_id"].as_str().expect("an id")[..1].to_owned())
                .collect();
            assert_eq!(ids, ["c", "a", "e", "d", "b"], "as they are spelled: {list} {limit}");
        }
    }
}

/// The answer to a GET by HTTP/1.0.
fn old_get(server: &Server, target: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    write!(socket, "GET {target} HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_long_list_comes_in_pieces_and_is_whole() {
    on_each_store(|config| {
        let server = serve(config);
        let id = new_id();
        let messages: Vec<_> = (0..1_000).map(|i| json!({ "message": i.to_string() })).collect();
        assert_eq!(server.post(&format!("/v1/deployments/{id}/logs"), &json!(messages)).status, 201);
        let hostnames: Vec<_> = (0..230).map(|i| format!("host{i:03}")).collect();
        std::thread::scope(|scope| {
            for hostnames in hostnames.chunks(60) {
                let (server, id) = (&server, &id);
                scope.spawn(move || {
                    for hostname in hostnames {
                        let path = format!("/v1/deployments/{}", new_id());
                        assert_eq!(server.post(&path, &json!({ "version": hostname })).status, 201);
                        let path = format!("/v1/deployments/{id}/servers");
                        assert_eq!(server.post(&path, &json!({ "hostname": hostname })).status, 201);
                    }
                });
            }
        });
        let texts = |list: &Value, member: &str| -> Vec<String> {
            let rows = list.as_array().expect("a list").iter();
            rows.map(|row| row[member].as_str().expect("a text").to_owned()).collect()
        };
        let logs = texts(&server.read(&format!("/v1/deployments/{id}/logs?limit=1000")), "message");
        assert_eq!(logs, (0..1_000).map(|i| i.to_string()).collect::<Vec<_>>());
        for limit in [49, 50, 51, 100, 229, 230, 231, 1000] {
            for page in ["offset=0", "before=", "offset=3"] {
                let skipped = if page == "offset=3" { 3 } else { 0 };
                let descending: Vec<_> = hostnames.iter().rev().skip(skipped).take(limit).collect();
                let answer = server.get(&format!("/v1/servers?limit={limit}&{page}"));
                assert_eq!(answer.json(), json!(descending), "{limit} {page}");
                let has_next = answer.header("link").is_some_and(|link| link.contains("rel=\"next\""));
                assert_eq!(has_next, page != "before=" || limit <= 230, "{limit} {page}");
            }
            let list = server.get(&format!("/v1/deployments?limit={limit}"));
            assert_eq!(list.header("content-type"), Some("application/json"));
            let mut versions = texts(&list.json(), "version");
            assert_eq!(versions.len(), limit.min(230));
            versions.sort();
            versions.dedup();
            assert_eq!(versions.len(), limit.min(230), "each once");
            let head = server.send("HEAD", &format!("/v1/deployments?limit={limit}"), &[], b"");
            assert_eq!((head.status, head.text()), (200, ""));
            // HTTP/1.0 knows no pieces.
            let old = old_get(&server, &format!("/v1/deployments?limit={limit}"));
            let (head, body) = old.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains(&format!("content-length: {}", body.len())) && !head.contains("chunked"), "{head}");
            assert_eq!(serde_json::from_str::<Value>(body).expect("JSON"), list.json());
        }
    });
}

#[test]
fn lists_are_newest_first_and_cut_into_pages() {
    on_each_store(|config| {
        let (server, ids) = filled(config);
        let newest: Vec<&String> = ids.iter().rev().collect();
        let list = |path: &str, member: &str| -> Vec<Value> {
            let answer = server.read(path);
            answer
                .as_array()
                .expect("a list")
                .iter()
                .map(|row| if member.is_empty() { row } else { &row[member] }.clone())
                .collect()
        };
        let logs = format!("/v1/deployments/{}/logs", ids[0]);
        for (offset, limit) in [(0, 25), (0, 1), (0, 2), (1, 2), (3, 2), (4, 2), (5, 2), (1_000_000, 1000)] {
            let page = format!("?offset={offset}&limit={limit}");
            let expected: Vec<_> = newest.iter().skip(offset).take(limit).map(|id| json!(id)).collect();
            assert_eq!(list(&format!("/v1/deployments{page}"), "deployment_id"), expected, "{page}");
            assert_eq!(list(&format!("/v1/servers/everywhere{page}"), "deployment_id"), expected, "{page}");
            let hosts = ["host4", "host3", "host2", "host1", "host0", "everywhere"];
            let expected: Vec<_> = hosts.iter().skip(offset).take(limit).map(|host| json!(host)).collect();
            assert_eq!(list(&format!("/v1/servers{page}"), ""), expected, "{page}");
            let expected: Vec<_> = ids.iter().skip(offset).take(limit).map(|id| json!(id)).collect();
            assert_eq!(list(&format!("{logs}{page}"), "message"), expected, "oldest first, {page}");
        }
        for deployment in server.read("/v1/deployments").as_array().expect("a list") {
            assert_eq!(deployment["servers"].as_array().map(Vec::len), Some(2), "each with its servers: {deployment}");
        }
    });
}

#[test]
fn links_lead_to_the_neighbouring_pages() {
    on_each_store(|config| {
        let (server, ids) = filled(config);
        let host = format!("127.0.0.1:{}", server.port);
        let logs = format!("/v1/deployments/{}/logs", ids[0]);
        for path in [
            "/v1/deployments",
            "/v1/deployments/",
            "/v1/servers",
            "/v1/servers/everywhere",
            "/v1/servers/host1/",
            &logs,
        ] {
            let link = |rel: &str, offset: u32, limit: u32| {
                (rel.to_owned(), format!("http://{host}{path}?offset={offset}&limit={limit}"))
            };
            for (query, expected) in [
                ("", vec![link("next", 25, 25)]),
                ("?limit=2", vec![link("next", 2, 2)]),
                ("?limit=1000", vec![link("next", 1000, 1000)]),
                ("?offset=0&limit=1", vec![link("next", 1, 1)]),
                ("?limit=2&offset=1", vec![link("next", 3, 2), link("prev", 0, 2)]),
                ("?limit=2&offset=3", vec![link("next", 5, 2), link("prev", 1, 2)]),
                ("?offset=1000", vec![link("next", 1025, 25), link("prev", 975, 25)]),
            ] {
                assert_eq!(links(&server.get(&format!("{path}{query}"))), expected, "{path}{query}");
            }
        }
        let answer = server.send("GET", "/v1/deployments?limit=3", &[("Host", "tracker.example:8443")], b"");
        let expected = "http://tracker.example:8443/v1/deployments?offset=3&limit=3";
        assert_eq!(links(&answer), [("next".to_owned(), expected.to_owned())]);

        let (_, url) = links(&server.get("/v1/servers?a=b%20c%26d&limit=1&e&offset=0&%C3%B6=1")).remove(0);
        let (_, query) = url.split_once('?').expect("a query");
        let members: BTreeSet<_> = query.split('&').map(|member| member.trim_end_matches('=')).collect();
        assert_eq!(members, BTreeSet::from(["offset=1", "limit=1", "a=b%20c%26d", "e", "%C3%B6=1"]), "{url}");
        assert_eq!(server.get(url.strip_prefix(&format!("http://{host}")).expect("our own")).status, 200);
    });
}

#[test]
fn a_page_that_is_no_number_in_range_is_400() {
    on_each_store(|config| {
        let (server, ids) = filled(config);
        let logs = format!("/v1/deployments/{}/logs", ids[0]);
        for path in ["/v1/deployments", "/v1/servers", "/v1/servers/everywhere", &logs] {
            for (member, values) in [
                ("limit", ["0", "1001", "abc", "", "1.5", "-1", "1e2", "99999999999999999999"]),
                ("offset", ["-1", "abc", "", "1.5", "0x1", "1e1", "%00", "%D9%A3"]),
            ] {
                for value in values {
                    server.get(&format!("{path}?{member}={value}")).is_error(400, Some(member));
                }
            }
        }
    });
}
