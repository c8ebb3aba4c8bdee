//! HTTP as an engine speaks it: one connection that is kept, and no word about a request but the answer.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What became of a request, as far as its sender can tell.
#[derive(Debug)]
pub enum Answer {
    /// It was answered.
    Given(Response),
    /// It did not reach the server as a whole, so nothing was done.
    NotSent,
    /// It was sent, and the answer was lost or not waited for.
    Lost,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub has_retry_after: bool,
    pub body: String,
}

/// How much of a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// All of it, and the answer is waited for.
    Whole,
    /// All of it, and then the connection is closed.
    HangUpAfter,
    /// All of it but the last bytes, and then the connection is closed.
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

    /// Sends a request, and waits `patience` for the answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str, manner: Manner, patience: Duration) -> Answer {
        let head = "Host: engine\r\nContent-Type: application/json";
        let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let Ok(mut stream) = self.stream.take().map_or_else(|| self.connect(), Ok) else { return Answer::NotSent };
        let part = if manner == Manner::HangUpHalfWay { request.len() - 1 - body.len() / 2 } else { request.len() };
        if stream.get_mut().write_all(&request.as_bytes()[..part]).is_err() || manner == Manner::HangUpHalfWay {
            return Answer::NotSent;
        }
        if manner == Manner::HangUpAfter || stream.get_ref().set_read_timeout(Some(patience)).is_err() {
            return Answer::Lost;
        }
        match read(&mut stream) {
            Ok((response, is_kept)) => {
                self.stream = is_kept.then_some(stream);
                Answer::Given(response)
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

/// The answer, and whether the connection can be used again.
fn read(stream: &mut BufReader<TcpStream>) -> Result<(Response, bool)> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| wrong("no status"))?;
    let (mut length, mut is_kept, mut has_retry_after) = (0, true, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| wrong("no length"))?,
            "connection" => is_kept = value.trim() != "close",
            "retry-after" => has_retry_after = true,
            _ => {}
        }
    }
    if line != "\r\n" {
        return Err(wrong("no end of the headers"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((Response { status, has_retry_after, body }, is_kept))
}
