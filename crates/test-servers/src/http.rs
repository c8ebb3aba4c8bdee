//! An HTTP client that sends any bytes, also malformed requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The content type of reports.
pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A response of the server.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with any chunked encoding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the header `name`, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body, which must be UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body, which must be JSON and declared as such.
    #[track_caller]
    pub fn json(&self) -> Value {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "the content type is {kind:?}: {self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts that this is an error as the contract describes it, and returns its sentence.
    #[track_caller]
    pub fn is_error(&self, status: u16, field: Option<&str>) -> String {
        assert_eq!(self.status, status, "{} {:?}", self.text(), field);
        let body = self.json();
        let members: Vec<_> = body.as_object().expect("an error is an object").keys().map(String::as_str).collect();
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

/// Sends `request` unchanged to the server on `port`, and reads until the server closes the connection.
///
/// # Errors
/// If the connection fails, or the response is incomplete.
pub fn exchange(port: u16, request: &[u8]) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // Not an error: the server may answer and close before it has read the whole body.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        read?;
    }
    parse(&answer).ok_or_else(|| {
        let text = String::from_utf8_lossy(&answer).into_owned();
        std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not an HTTP response: {text:?}"))
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
