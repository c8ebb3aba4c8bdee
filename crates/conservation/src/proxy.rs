//! A TCP proxy that delays what clients send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Forwards connections to `port`, delays everything that clients send by `delay`, and returns the port of the proxy.
/// The proxy ends with the process.
pub fn start(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a TCP port is free");
    let proxy_port = listener.local_addr().expect("the socket is bound").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let clone = |stream: &TcpStream| stream.try_clone().expect("file descriptors are available");
            let (from_client, to_server) = (clone(&client), clone(&server));
            thread::spawn(move || forward(from_client, to_server, delay));
            thread::spawn(move || forward(server, client, Duration::ZERO));
        }
    });
    proxy_port
}

fn forward(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        thread::sleep(delay);
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    // Whichever side has closed, close the other.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
