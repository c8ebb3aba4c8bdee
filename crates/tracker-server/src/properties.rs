//! Property tests: any request, and any text in a configuration. `scripts/fuzz` runs them with many more cases.

use actix_web::ResponseError;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use actix_web::http::{StatusCode, Uri};
use actix_web::test::TestRequest;
use chrono::{Datelike, SubsecRound};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tracker_core::{CreatedCursor, DeploymentId, Hostname, Page, time};
use uuid::Uuid;

use crate::auth::{Scope, TokenConfig, Tokens, hashed};
use crate::cursor::Cursor;
use crate::error::ApiError;
use crate::listener::Address;
use crate::paging::Paging;
use crate::redact::redact;
use crate::servers::SEGMENT;

/// The secret that must not appear.
const SECRET: &str = "hunter2";

fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// The field that an error names. Checks that its message is one line.
fn field(error: &ApiError) -> String {
    let body = json!(error);
    assert_eq!(error.status_code(), StatusCode::BAD_REQUEST);
    assert!(body["Error"].as_str().is_some_and(is_one_line), "{body}");
    body["field"].as_str().unwrap_or_default().to_owned()
}

fn time() -> &'static str {
    "[+-]?[0-9]{4,6}-(0[1-9]|1[0-9])-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,12})?\
     (Z|[+-][0-2][0-9]:[0-5][0-9])"
}

fn cursor() -> impl Strategy<Value = String> {
    let id =
        select(vec!["", "_", "_84e803f7-9562-4d95-b828-25b167aea34b", "_84E803F7-9562-4D95-B828-25B167AEA34B", "_x"]);
    prop_oneof![
        4 => (time(), id).prop_map(|(time, id)| format!("{time}{id}")),
        1 => "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        1 => ".{0,20}",
    ]
}

/// A query of a valid URI, which has no white space, no control characters and none of `#<>`.
fn query() -> impl Strategy<Value = String> {
    let number = select(vec![
        "",
        "0",
        "1",
        "25",
        "1000",
        "1001",
        "-1",
        "+5",
        "1e3",
        "0x1",
        "00000000000000000000001",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "%31",
        "%",
        "%zz",
        "%ff",
        "%00",
        "1%0a",
        "١",
        "=",
        "1=1",
    ]);
    let value = prop_oneof![
        3 => number.prop_map(str::to_owned),
        1 => (0_u64..2_000).prop_map(|number| number.to_string()),
        1 => "[!-~&&[^#<>&]]{0,8}",
    ];
    let name = select(vec!["limit", "offset", "%6cimit", "of%66set", "Limit", "other", "", "x%26y", "\"{|}"]);
    let parameter = prop_oneof![
        8 => (name, select(vec!["=", "=", "=", ""]), value).prop_map(|(name, is, value)| format!("{name}{is}{value}")),
        1 => cursor().prop_map(|cursor| format!("before={}", utf8_percent_encode(&cursor, SEGMENT))),
    ];
    vec(parameter, 0..4).prop_map(|parameters| parameters.join("&"))
}

fn read(target: &str, host: &str) -> Option<Result<Paging, ApiError>> {
    let uri: Uri = target.parse().ok()?;
    let host = HeaderValue::from_str(host).ok()?;
    let request = TestRequest::default().uri(&uri.to_string()).insert_header((HOST, host)).to_http_request();
    Some(Paging::read(&request))
}

/// The value of `name` in a query; `None` if it is not exactly one number in the range.
fn number(query: &str, name: &str, otherwise: u64, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    let mut values = parameters.filter(|(other, _)| decoded(other) == name).map(|(_, value)| decoded(value));
    let Some(value) = values.next() else { return Some(otherwise) };
    let is_number = values.next().is_none() && value.chars().all(|c| c.is_ascii_digit());
    value.parse().ok().filter(|number| is_number && range.contains(number))
}

/// A password in a URL or a connection string: the secret between other characters.
fn password(others: &'static str) -> impl Strategy<Value = String> {
    (others, others).prop_map(|(before, after)| format!("{before}{SECRET}{after}"))
}

fn secret_name() -> impl Strategy<Value = String> {
    let names = select(vec![
        "password",
        "Passphrase",
        "passwd",
        "PWD",
        "auth_pass",
        "secret",
        "TOKEN",
        "tokens",
        "credential",
        "private-key",
        "api_key",
        "API-Key",
        "accessKey",
        "pfx",
    ]);
    ("[a-z]{0,3}_?", names, "(_?[a-z]{1,3})?").prop_map(|(before, name, after)| format!("{before}{name}{after}"))
}

/// A text that contains the secret.
fn secret_text() -> impl Strategy<Value = String> {
    const IN_URL: &str = "[a-z0-9:/?#@=&;,%'\"|é\\[\\]{}$^-]{0,5}(token=|&pwd=)?";
    let url = (
        select(vec!["postgres", "mysql", "redis", "rediss", "https", "X-y.z+1"]),
        "([a-zé0-9%&=;'\"|.-][a-zé0-9%&=;'\"|.\\[\\]-]{0,3})?",
        password(IN_URL),
        "(h|\\[::1\\]|db\\.example\\.com)(:5432)?(,h2)?(/x)?(\\?sslmode=require)?( and more)?",
    );
    prop_oneof![
        2 => url.prop_map(|(scheme, user, password, rest)| format!("{scheme}://{user}:{password}@{rest}")),
        1 => (secret_name(), " ?= ?", password("[a-z0-9:/?#;@=,%'\"\\[\\]-]{0,4}"), "([&; ?#][a-z]{0,3}=x)?")
            .prop_map(|(name, is, value, rest)| format!("{name}{is}{value}{rest}")),
        1 => (secret_name(), password("[a-z =&;]{0,4}")).prop_map(|(name, value)| format!("{name}='{value}'")),
        1 => password("[a-zA-Z+/\n]{0,5}").prop_map(|key| format!("-----BEGIN RSA PRIVATE KEY-----\n{key}\n")),
    ]
}

/// A configuration that contains the secret somewhere.
fn secretive() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        secret_text().prop_map(Value::from),
        (secret_name(), password(".{0,5}")).prop_map(|(name, value)| json!({ name: value })),
        (secret_name(), password(".{0,5}")).prop_map(|(name, value)| json!({ name: [{ "x": value }, 1] })),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let kept =
            prop_oneof![Just(json!(null)), any::<i64>().prop_map(Value::from), "[a-z ]{0,8}".prop_map(Value::from)];
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Value::from),
            ("[a-z_]{0,8}", inner, "[a-z]{1,4}", kept).prop_map(|(a, inner, b, kept)| json!({ a: inner, b: kept })),
        ]
    })
}

/// A configuration in which nothing looks like a secret.
fn open() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[a-zA-Z0-9 ./:_é-]{0,20}".prop_map(Value::from),
        "(postgres|redis)://[a-z]{1,4}@[a-z]{1,4}:[0-9]{1,4}/x(\\?sslmode=[a-z]{1,4})?".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let name = select(vec!["host", "port", "url", "key", "path", "passenger_", "auth", "user", "x-y"]);
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((name, inner), 0..3).prop_map(|fields| {
                let fields = fields.into_iter().filter(|(name, value)| *name != "auth" || !value.is_string());
                fields.map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

fn token(name: &str, secret: &str) -> TokenConfig {
    let mut token = TokenConfig::new(name, [Scope::Read]);
    token.secret = Some(secret.to_owned());
    token
}

#[test]
fn a_plus_sign_in_a_query_is_not_a_space() {
    let paging = read("/v1/deployments?before=2015-07-07T02:00:00+02:00&x=a+b", "h").expect("a URI");
    let paging = paging.expect("a time with a UTC offset is a cursor");
    let page: Page<CreatedCursor> = paging.page().expect("a time with a UTC offset is a cursor");
    let after = page.after.expect("the page starts at the cursor");
    assert_eq!(time::rfc3339(&after.created_at), "2015-07-07T00:00:00.000Z");
    let link = paging.link(Some(after)).expect("a page with a last record has a link");
    assert!(link.contains("&x=a+b>"), "{link}");
}

proptest! {
    #[test]
    fn a_query_selects_a_page_with_valid_links_or_names_the_invalid_parameter(
        query in query(),
        path in "/v1/[!-~&&[^#<>?%]]{0,6}(%[0-9a-f]{2})?é?",
        host in "[a-z]{1,4}(:[0-9]{1,5})?|[!-~]{0,6}",
    ) {
        let Some(paging) = read(&format!("{path}?{query}"), &host) else { return Ok(()) };
        let limit = number(&query, "limit", 25, 1..=1_000);
        let offset = number(&query, "offset", 0, 0..=i64::MAX as u64);
        let has_before = query.split('&').any(|parameter| parameter.starts_with("before="));
        let paging = match paging {
            Ok(paging) => paging,
            Err(error) => {
                let at_fault = match field(&error).as_str() {
                    "limit" => limit.is_none(),
                    "offset" => offset.is_none(),
                    "before" => has_before,
                    _ => false,
                };
                prop_assert!(at_fault, "{}: {:?}", query, error);
                return Ok(());
            }
        };
        prop_assert!(limit.is_some() && offset.is_some(), "{}", query);
        let last = CreatedCursor { created_at: time::now(), deployment_id: DeploymentId(Uuid::nil()) };
        let links = paging.link(Some(last)).expect("a page with a last record has a link");
        prop_assert!(HeaderValue::try_from(&links).is_ok(), "{:?}", links);
        let link = links.split(['<', '>']).nth(1).expect("the header has a URL in angle brackets");
        let uri: Uri = link.parse().expect("the link is a URI");
        let next = read(&uri.to_string(), &host).expect("the link is a URI").expect("the link is a valid request");
        let here: Page<CreatedCursor> = match paging.page() {
            Ok(page) => page,
            Err(error) => {
                prop_assert_eq!(field(&error), "before");
                return Ok(());
            }
        };
        let there: Page<CreatedCursor> = next.page().expect("the link has a valid cursor");
        prop_assert_eq!(u64::from(here.limit), limit.unwrap_or(0));
        prop_assert_eq!(there.limit, here.limit);
        if has_before {
            prop_assert_eq!(there.after.map(|cursor| cursor.created_at), Some(last.created_at));
        } else {
            prop_assert_eq!(here.offset, offset.unwrap_or(0));
            prop_assert_eq!(there.offset, (here.offset + u64::from(here.limit)).min(i64::MAX as u64));
        }
        let others = |query: &str| {
            let is_other = |parameter: &&str| {
                let name = percent_decode_str(parameter.split('=').next().unwrap_or("")).decode_utf8_lossy();
                !parameter.is_empty() && !["limit", "offset", "before"].contains(&&*name)
            };
            query.split('&').filter(is_other).map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(others(uri.query().unwrap_or("")), others(&query));
    }

    #[test]
    fn a_parsed_cursor_round_trips_through_text(text in cursor()) {
        if let Some(cursor) = CreatedCursor::read(&text) {
            prop_assert!((0..=9_999).contains(&cursor.created_at.year()));
            let cursor = CreatedCursor { created_at: cursor.created_at.trunc_subsecs(6), ..cursor };
            prop_assert_eq!(CreatedCursor::read(&cursor.write()), Some(cursor));
        }
        if let Some(name) = Hostname::read(&text) {
            prop_assert_eq!(name.write(), text.as_str());
        }
        if let Some(id) = <Uuid as Cursor>::read(&text) {
            prop_assert_eq!(id.write(), text.to_lowercase());
        }
    }

    #[test]
    fn an_address_round_trips_or_is_refused_in_one_line(
        scheme in "(http|https|unix|HTTP|ftp|)",
        separator in ":(//)?",
        host in "[a-z0-9.\\[\\]:/@ -]{0,8}|\\PC{0,4}|.{0,4}",
        port in "(:\\+?-?[0-9]{1,6})?",
    ) {
        let text = format!("{scheme}{separator}{host}{port}");
        match text.parse::<Address>() {
            Ok(address) => {
                prop_assert_eq!(address.to_string(), text.as_str());
                if let Address::Http(authority) | Address::Https(authority) = &address {
                    let (host, port) = authority.rsplit_once(':').expect("the address has a port");
                    prop_assert!(!host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()), "{}", authority);
                }
                let json = json!(address);
                prop_assert_eq!(serde_json::from_value::<Address>(json).ok(), Some(address));
            }
            Err(message) => prop_assert!(is_one_line(&message), "{:?}", message),
        }
    }

    #[test]
    fn only_a_request_with_the_secret_exactly_once_is_admitted(
        secret in "[!-~]{1,8}",
        headers in vec((
            select(vec!["Bearer", "bearer", "BEARER", "Basic", "Bear", ""]),
            "[ \t]{0,3}",
            select(vec!["", "x", "ÿ"]),
            "[ \t]{0,2}",
        ), 0..3),
    ) {
        prop_assume!(!secret.starts_with("sha256:"));
        let written = if secret.len() % 2 == 0 { secret.clone() } else { hashed(&secret) };
        let tokens = Tokens::new(&[token("t", &written)]).expect("the token is valid");
        let mut map = HeaderMap::new();
        let mut is_good = false;
        for (scheme, space, wrong, end) in &headers {
            let value = format!("{scheme}{space}{secret}{wrong}{end}");
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
            is_good = scheme.eq_ignore_ascii_case("bearer") && space.starts_with(' ') && wrong.is_empty();
            map.append(AUTHORIZATION, value);
        }
        let admitted = tokens.admit(&map, &[Scope::Read]);
        prop_assert_eq!(admitted.is_ok(), is_good && map.len() == 1, "{:?}", map);
        if let Err(error) = admitted {
            prop_assert_eq!(error.status_code(), StatusCode::UNAUTHORIZED);
            prop_assert!(is_one_line(&error.to_string()));
        }
        prop_assert_eq!(tokens.admit(&map, &[Scope::Write]).is_ok(), false);
    }

    #[test]
    fn a_token_is_accepted_or_refused_in_one_line_without_its_secret(
        name in "[a-z.@/_-]{0,6}|.{0,6}", secret in password("[!-~]{0,6}|.{0,3}|(sha256:)?[0-9a-f]{0,64}"),
    ) {
        if let Err(error) = Tokens::new(&[token(&name, &secret)]) {
            let message = error.to_string();
            prop_assert!(is_one_line(&message) && !message.contains(SECRET), "{:?}", message);
        } else {
            prop_assert!(!name.is_empty() && name.is_ascii());
            prop_assert!(secret.trim().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn redaction_removes_every_secret(config in secretive()) {
        let redacted = redact(&config);
        prop_assert!(!redacted.to_string().contains(SECRET), "{} of {}", redacted, config);
        prop_assert_eq!(redact(&redacted), redacted);
    }

    #[test]
    fn redaction_keeps_everything_else(config in open()) {
        prop_assert_eq!(redact(&config), config);
    }
}
