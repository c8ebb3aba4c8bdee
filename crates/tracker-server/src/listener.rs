//! The addresses and sockets that the server listens on.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address to listen on: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`. With port 0 the system chooses a
/// free port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// HTTP over TCP.
    Http(String),
    /// HTTP over TLS over TCP.
    Https(String),
    /// HTTP over a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_host_and_port = |address: &str| {
            let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
            let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', '*']);
            address.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
        };
        // The errors omit the text: if it is a URL of another kind, it may contain a password.
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some((scheme @ ("http" | "https"), rest)) => match rest.strip_prefix("//") {
                Some(address) if is_host_and_port(address) && scheme == "http" => Ok(Self::Http(address.to_owned())),
                Some(address) if is_host_and_port(address) => Ok(Self::Https(address.to_owned())),
                _ => Err(format!(
                    "the host or port is invalid; write {scheme}://HOST:PORT, with 0.0.0.0 or [::] for all interfaces"
                )),
            },
            _ => Err("the address is invalid; write http://HOST:PORT, https://HOST:PORT or unix:PATH".to_owned()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Http(address) => write!(formatter, "http://{address}"),
            Self::Https(address) => write!(formatter, "https://{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// HTTP over TCP.
    Http(TcpListener),
    /// HTTP over TLS over TCP.
    Https(TcpListener),
    /// HTTP over a Unix socket. Dropping the [`SocketFile`] removes the file.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens on `address`. A Unix socket is open to the owner and the group of this process, and replaces the stale
    /// socket of a previous server.
    ///
    /// # Errors
    /// When the address is in use, does not belong to this machine, or is not permitted.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Http(address) => TcpListener::bind(address).map(Self::Http),
            Address::Https(address) => TcpListener::bind(address).map(Self::Https),
            Address::Unix(path) => {
                let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
                if is_socket && UnixStream::connect(path).is_err() {
                    std::fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// Whether other machines can reach this listener.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Http(listener) | Self::Https(listener) => {
                !listener.local_addr().is_ok_and(|address| address.ip().is_loopback())
            }
            Self::Unix(..) => false,
        }
    }

    /// The address of the socket, with the actual port.
    ///
    /// # Errors
    /// When the system cannot return the address.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Http(listener) => Address::Http(listener.local_addr()?.to_string()),
            Self::Https(listener) => Address::Https(listener.local_addr()?.to_string()),
            Self::Unix(_, SocketFile(path)) => Address::Unix(path.clone()),
        })
    }
}

/// The file of a Unix socket. Dropping this value removes the file.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // This fails if the file is already gone.
        let _ = std::fs::remove_file(&self.0);
    }
}
