//! An HTTP client as an engine has it: one connection that is kept alive, and no knowledge but the response.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The outcome of a request, as far as its sender can tell.
#[derive(Debug)]
pub enum Answer {
    /// The server responded.
    Received(Response),
    /// The request did not reach the server completely, so it had no effect.
    NotSent,
    /// The request was sent, but its response was lost or not awaited.
    Lost,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub has_retry_after: bool,
    pub body: String,
}

/// How much of a request is sent before the client hangs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Sends the request and waits for the response.
    Complete,
    /// Sends the request and closes the connection without waiting.
    HangUpAfter,
    /// Sends all but the last bytes of the request and closes the connection.
    HangUpHalfWay,
}

#[derive(Debug)]
pub struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Sends a request, and waits for the response no longer than `timeout`.
    pub fn send(&mut self, method: &str, path: &str, body: &str, sending: Sending, timeout: Duration) -> Answer {
        let head = "Host: engine\r\nContent-Type: application/json";
        let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let Ok(mut stream) = self.stream.take().map_or_else(|| self.connect(), Ok) else { return Answer::NotSent };
        let sent = match sending {
            Sending::HangUpHalfWay => request.len() - 1 - body.len() / 2,
            Sending::Complete | Sending::HangUpAfter => request.len(),
        };
        if stream.get_mut().write_all(&request.as_bytes()[..sent]).is_err() || sending == Sending::HangUpHalfWay {
            return Answer::NotSent;
        }
        if sending == Sending::HangUpAfter || stream.get_ref().set_read_timeout(Some(timeout)).is_err() {
            return Answer::Lost;
        }
        match read(&mut stream) {
            Ok((response, is_kept_alive)) => {
                self.stream = is_kept_alive.then_some(stream);
                Answer::Received(response)
            }
            Err(_) => Answer::Lost,
        }
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(BufReader::new(stream))
    }
}

/// Reads a response, and whether the connection can be used again.
fn read(stream: &mut BufReader<TcpStream>) -> Result<(Response, bool)> {
    let invalid = |problem: &str| Error::new(ErrorKind::InvalidData, problem.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| invalid("no status"))?;
    let (mut length, mut is_kept_alive, mut has_retry_after) = (0, true, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| invalid("invalid Content-Length"))?,
            "connection" => is_kept_alive = value.trim() != "close",
            "retry-after" => has_retry_after = true,
            _ => {}
        }
    }
    if line != "\r\n" {
        return Err(invalid("the headers are incomplete"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((Response { status, has_retry_after, body }, is_kept_alive))
}
