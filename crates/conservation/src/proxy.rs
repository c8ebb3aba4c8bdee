//! A way to a TCP server on which everything takes its time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Passes connections on to `port`, and holds back each piece of what clients send for `delay`; the port to connect to
/// instead. Ends with the process.
pub fn start(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let own = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let both =
                |stream: &TcpStream| (stream.try_clone().expect("a handle"), stream.try_clone().expect("a handle"));
            let ((from_client, to_client), (from_server, to_server)) = (both(&client), both(&server));
            thread::spawn(move || pass(from_client, to_server, delay));
            thread::spawn(move || pass(from_server, to_client, Duration::ZERO));
        }
    });
    own
}

fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut piece = vec![0; 1 << 20];
    while let Ok(size @ 1..) = from.read(&mut piece) {
        thread::sleep(delay);
        if to.write_all(&piece[..size]).is_err() {
            break;
        }
    }
    // Whichever side is gone, the other hears of it.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
