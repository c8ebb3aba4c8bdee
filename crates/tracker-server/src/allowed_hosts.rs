//! The hosts that clients may request: a defense against DNS rebinding.
//!
//! A page that a browser loads from `evil.example` may send requests to its own host. If the owner of that name then
//! points it to 127.0.0.1, they reach this server. They still carry `Host: evil.example`, which reveals them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use serde::{Deserialize, Serialize};

/// A host that clients may request: a name or an address, with or without a port. Without a port, it stands for every
/// port. Names are compared without regard to case and to a final dot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub struct AllowedHost {
    /// In lower case, with an IPv6 address in its shortest form and in brackets.
    host: String,
    port: Option<u16>,
}

impl AllowedHost {
    /// Whether one of `allowed` is the host that `request` is for. An empty list allows every host.
    pub(crate) fn allow(allowed: &[Self], request: &ServiceRequest) -> bool {
        allowed.is_empty() || Self::requested(request).is_some_and(|host| allowed.iter().any(|one| one.covers(&host)))
    }

    /// The host in the target of the request, as in HTTP/2, or in `Host`. Always has a port.
    fn requested(request: &ServiceRequest) -> Option<Self> {
        let header = || request.headers().get(HOST)?.to_str().ok()?.trim().parse::<Authority>().ok();
        let authority = request.uri().authority().cloned().or_else(header)?;
        if authority.as_str().contains('@') {
            return None;
        }
        let default_port = if request.app_config().secure() { 443 } else { 80 };
        Some(Self { host: normalized(authority.host())?, port: authority.port_u16().or(Some(default_port)) })
    }

    fn covers(&self, requested: &Self) -> bool {
        self.host == requested.host && (self.port.is_none() || self.port == requested.port)
    }
}

/// `host` in the form of [`AllowedHost::host`]. `None` if it is neither a name nor an address.
fn normalized(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name.then(|| name.to_ascii_lowercase())
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { host: format!("[{address}]"), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let is_number = |port: &&str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.map(|port| Some(port).filter(is_number).and_then(|port| port.parse().ok()).ok_or(()));
        match (normalized(host), port.transpose()) {
            (Some(host), Ok(port)) => Ok(Self { host, port }),
            _ => Err("a host is invalid; write a name or an address without a scheme, such as tracker.example, \
                      tracker.example:8080, 127.0.0.1 or [::1]"
                .to_owned()),
        }
    }
}

impl TryFrom<String> for AllowedHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AllowedHost> for String {
    fn from(host: AllowedHost) -> Self {
        host.to_string()
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for (text, shown) in [
            ("Tracker.Example", "tracker.example"),
            ("tracker.example.", "tracker.example"),
            ("tracker.example.:8080", "tracker.example:8080"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("::1", "[::1]"),
            ("[0:0::0:1]", "[::1]"),
            ("[::1]:443", "[::1]:443"),
            ("my_host", "my_host"),
        ] {
            assert_eq!(text.parse::<AllowedHost>().map(|host| host.to_string()).as_deref(), Ok(shown));
        }
        for text in [
            "",
            ".",
            ":80",
            "host:",
            "host:+80",
            "host:65536",
            "host:x",
            "http://host",
            "host/",
            "*",
            "*.example",
            "a b",
            "user@host",
            "münchen.example",
            "[::1",
            "::1]",
            "[::1]x",
            "[host]",
            "a:b:80",
        ] {
            text.parse::<AllowedHost>().expect_err(text);
        }
    }

    #[test]
    fn only_requests_for_an_allowed_host_are_allowed() {
        let allowed =
            ["tracker.example", "web:8080", "plain:80", "::1", "127.0.0.1"].map(|host| host.parse().expect(host));
        let is_allowed = |target: &str, host: Option<&str>| {
            let request = TestRequest::with_uri(target);
            let request = host.into_iter().fold(request, |request, host| request.insert_header((HOST, host)));
            AllowedHost::allow(&allowed, &request.to_srv_request())
        };
        for (host, expected) in [
            ("tracker.example", true),
            ("TRACKER.example.", true),
            ("tracker.example:8080", true),
            ("tracker.example.evil.example", false),
            ("eviltracker.example", false),
            ("tracker.example..", false),
            ("web:8080", true),
            ("web", false),
            ("web:80", false),
            ("plain", true),
            ("plain:443", false),
            ("[::1]", true),
            ("[0:0:0:0:0:0:0:1]:8080", true),
            ("[::2]", false),
            ("127.0.0.1:1", true),
            ("127.1", false),
            ("evil.example@127.0.0.1", false),
            ("127.0.0.1@evil.example", false),
            ("", false),
            ("a b", false),
            ("tracker.example, evil.example", false),
        ] {
            assert_eq!(is_allowed("/", Some(host)), expected, "{host}");
        }
        assert!(!is_allowed("/", None));
        // The host in the target counts, as in HTTP/2, and not the header (RFC 9112, section 3.2.2).
        assert!(is_allowed("http://tracker.example/", Some("evil.example")));
        assert!(!is_allowed("http://evil.example/", Some("tracker.example")));
    }
}
