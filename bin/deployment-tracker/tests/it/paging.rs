//! Pages of lists, and the links between them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use serde_json::{Value, json};
use test_servers::{Response, Server, eventually};

use crate::support::{new_id, on_each_store, serve};

/// The links of a response: `(rel, url)`.
fn links(answer: &Response) -> Vec<(String, String)> {
    let header = answer.header("link").expect("Link header");
    let link = |text: &str| {
        let (url, rel) = text.strip_prefix('<')?.split_once(">; rel=\"")?;
        Some((rel.strip_suffix('"')?.to_owned(), url.to_owned()))
    };
    header.split(", ").map(|text| link(text).unwrap_or_else(|| panic!("not a link: {header}"))).collect()
}

/// Starts a server with five deployments. Each runs on its own host and on `everywhere`; the first has five log
/// messages. Returns the ids of the deployments.
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

/// Follows the links through a list. Returns its pages.
pub fn follow(server: &Server, first: &str) -> Vec<Vec<Value>> {
    let (mut path, mut pages) = (first.to_owned(), Vec::new());
    loop {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(pages.len() < 1_000, "{first} has no end");
        pages.push(answer.json().as_array().expect("JSON array").clone());
        if answer.header("link").is_none() {
            return pages;
        }
        let links = links(&answer);
        assert_eq!(links.len(), 1, "{links:?}");
        assert_eq!(links[0].0, "next");
        let address = format!("http://127.0.0.1:{}", server.port);
        path = links[0].1.strip_prefix(&address).expect("links have the host of the request").to_owned();
    }
}

#[test]
fn cursors_lead_through_every_list_and_new_records_do_not_move_them() {
    on_each_store(|config| {
        let (server, ids) = filled(config);
        for list in
            ["/v1/deployments", "/v1/servers", "/v1/servers/everywhere", &format!("/v1/deployments/{}/logs", ids[0])]
        {
            let whole = server.read(list);
            for limit in [1, 2, 3, 1000] {
                let pages = follow(&server, &format!("{list}?before=&limit={limit}&x=1"));
                assert!(pages.iter().all(|page| page.len() <= limit), "{list} {limit}");
                assert_eq!(json!(pages.concat()), whole, "{list} {limit}");
            }
        }
        let first = server.get("/v1/deployments?before=&limit=2");
        assert_eq!(server.post(&format!("/v1/deployments/{}", new_id()), &json!({ "engine": "new" })).status, 201);
        let next = links(&first)[0].1.split_once("/v1").map(|(_, path)| format!("/v1{path}")).expect("UTF-8 path");
        assert_eq!(server.read(&next)[0]["deployment_id"], json!(ids[2]));

        let oldest = server.read("/v1/deployments?limit=1000")[5]["createdAt"].clone();
        let before = format!("/v1/deployments?before={}", oldest.as_str().expect("time"));
        assert_eq!(server.read(&before), json!([]), "nothing is older");
        assert_eq!(server.read("/v1/deployments?before=2999-01-01T00:00:00Z").as_array().map(Vec::len), Some(6));
        for invalid in
            ["before=x", "before=&offset=0", "before=&before=", "before=2015-07-07T17:34:12Z_x", "before=%FF"]
        {
            let answer = server.get(&format!("/v1/deployments?{invalid}"));
            assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("before")), "{invalid}");
        }
        let unknown = server.get("/v1/servers/unknown?before=2999-01-01T00:00:00Z");
        assert_eq!(unknown.status, 404);
    });
}

#[test]
fn cursors_page_through_legacy_ids_in_upper_and_lower_case() {
    let server = serve(json!({}));
    eventually("the tables exist", || (server.get("/readyz").status == 200).then_some(()));
    let file = server.folder.path().join("data.sqlite3");
    let mut database = SqliteConnection::establish(file.to_str().expect("UTF-8 path")).expect("database opens");
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
        database.batch_execute(&insert).expect("rows are inserted");
    }
    for list in ["/v1/deployments", "/v1/servers/h"] {
        for limit in [1, 2, 5] {
            let pages = follow(&server, &format!("{list}?before=&limit={limit}"));
            let ids: Vec<_> =
                pages.concat().iter().map(|row| row["deployment_id"].as_str().expect("id")[..1].to_owned()).collect();
            assert_eq!(ids, ["c", "a", "e", "d", "b"], "in the order of their spelling: {list} {limit}");
        }
    }
}

#[test]
fn a_row_without_a_readable_time_neither_ends_nor_repeats_a_list() {
    let server = serve(json!({}));
    eventually("the tables exist", || (server.get("/readyz").status == 200).then_some(()));
    let file = server.folder.path().join("data.sqlite3");
    let mut database = SqliteConnection::establish(file.to_str().expect("UTF-8 path")).expect("database opens");
    // Newest first: two such rows before the others, two between them, and one at the end.
    let times = [
        "zz",
        "zy",
        "2015-07-07 17:34:12.076 +00:00",
        "2015-07-07 17:34:12.0755",
        "2015-07-07 17:34:12.075 x",
        "2015-07-07 17:34:12.074 +00:00",
        "2015-07-07 17:34:12.073 +00:00",
        "",
    ];
    for (i, time) in times.iter().enumerate() {
        let row = format!("'00000000-0000-4000-8000-{i:012}', '{time}', '2015-07-07 17:34:12.075 +00:00'");
        let insert = format!(
            "INSERT INTO \"Deployments\" (deployment_id, \"createdAt\", \"updatedAt\") VALUES ({row});
             INSERT INTO \"Servers\" (hostname, deployment_id, \"createdAt\", \"updatedAt\") VALUES ('h', {row})"
        );
        database.batch_execute(&insert).expect("rows are inserted");
    }
    let ids = |rows: &[Value]| -> Vec<u64> {
        rows.iter().map(|row| row["deployment_id"].as_str().expect("id")[24..].parse().expect("number")).collect()
    };
    for list in ["/v1/deployments", "/v1/servers/h"] {
        let readable = ids(server.read(list).as_array().expect("JSON array"));
        assert!([2, 5, 6].iter().all(|row| readable.contains(row)), "{list}: {readable:?}");
        for limit in 1..=9 {
            let pages = follow(&server, &format!("{list}?before=&limit={limit}"));
            assert_eq!(ids(&pages.concat()), readable, "{list} by cursor, {limit}");
            let pages = (0..9).map(|page| server.read(&format!("{list}?limit={limit}&offset={}", page * limit)));
            let rows: Vec<_> = pages.flat_map(|page| page.as_array().expect("JSON array").clone()).collect();
            assert_eq!(ids(&rows), readable, "{list} by offset, {limit}");
        }
    }
}

/// The response to a GET with HTTP/1.0.
fn get_with_http_1_0(server: &Server, target: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    write!(socket, "GET {target} HTTP/1.0\r\n\r\n").expect("request is sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("response");
    answer
}

#[test]
fn a_long_list_is_streamed_completely() {
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
            let rows = list.as_array().expect("JSON array").iter();
            rows.map(|row| row[member].as_str().expect("string").to_owned()).collect()
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
            // HTTP/1.0 has no chunked encoding: the end of the connection ends a streamed response.
            let old = get_with_http_1_0(&server, &format!("/v1/deployments?limit={limit}"));
            let (head, body) = old.split_once("\r\n\r\n").expect("head and body");
            let length = format!("content-length: {}", body.len());
            assert_eq!(head.to_ascii_lowercase().contains(&length), limit <= 50, "{head}");
            assert!(!head.contains("chunked"), "{head}");
            assert_eq!(serde_json::from_str::<Value>(body).expect("JSON"), list.json());
        }
    });
}

#[test]
fn lists_are_newest_first_and_paged() {
    on_each_store(|config| {
        let (server, ids) = filled(config);
        let newest: Vec<&String> = ids.iter().rev().collect();
        let list = |path: &str, member: &str| -> Vec<Value> {
            let answer = server.read(path);
            answer
                .as_array()
                .expect("JSON array")
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
        for deployment in server.read("/v1/deployments").as_array().expect("JSON array") {
            assert_eq!(deployment["servers"].as_array().map(Vec::len), Some(2), "each with its servers: {deployment}");
        }
    });
}

#[test]
fn links_lead_to_the_next_and_previous_pages() {
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
        let (_, query) = url.split_once('?').expect("URL with a query");
        let members: BTreeSet<_> = query.split('&').map(|member| member.trim_end_matches('=')).collect();
        assert_eq!(members, BTreeSet::from(["offset=1", "limit=1", "a=b%20c%26d", "e", "%C3%B6=1"]), "{url}");
        assert_eq!(
            server.get(url.strip_prefix(&format!("http://{host}")).expect("links have the host of the request")).status,
            200
        );
    });
}

#[test]
fn an_offset_or_limit_that_is_not_a_number_in_range_is_400() {
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
