//! A client that sends what a test tells it to, right or wrong.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The header that every report carries.
pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// What the server answered.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, put together if it came in chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the header `name`, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body, which must be UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is UTF-8")
    }

    /// The body, which must be JSON and say so.
    #[track_caller]
    pub fn json(&self) -> Value {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "not JSON but {kind:?}: {self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts an error as the contract describes it; the answer's sentence.
    #[track_caller]
    pub fn is_error(&self, status: u16, field: Option<&str>) -> String {
        assert_eq!(self.status, status, "{} {:?}", self.text(), field);
        let body = self.json();
        let members: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        assert!(members.iter().all(|name| ["Error", "code", "field"].contains(name)), "{body}");
        let code = body["code"].as_str().unwrap_or_default();
        assert!(!code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{body}");
        if field.is_some() {
            assert_eq!(body["field"].as_str(), field, "{body}");
        }
        let sentence = body["Error"].as_str().unwrap_or_default().to_owned();
        assert!(!sentence.is_empty() && !sentence.contains('\n'), "{body}");
        sentence
    }
}

/// Sends `request` as it stands to the server on `port`, and reads until the server closes the connection.
///
/// # Errors
/// When there is no connection, or no whole answer.
pub fn exchange(port: u16, request: &[u8]) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // The server may refuse a body before it has read all of it.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        read?;
    }
    parse(&answer).ok_or_else(|| {
        let text = String::from_utf8_lossy(&answer).into_owned();
        std::io::Error::new(std::io::ErrorKind::InvalidData, format!("no HTTP answer: {text:?}"))
    })
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&answer[..end]).ok()?.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    let mut response = Response { status, headers: headers.collect(), body: answer[end + 4..].to_vec() };
    if response.header("transfer-encoding") == Some("chunked") && !response.body.is_empty() {
        response.body = unchunk(&response.body)?;
    }
    Some(response)
}

fn unchunk(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = text.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&text[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(text.get(end + 2..end + 2 + size)?);
        text = text.get(end + 4 + size..)?;
    }
}
