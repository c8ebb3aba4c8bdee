//! URLs of MariaDB and MySQL.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use super::after_scheme;

/// The parameters that diesel reads; it ignores all others.
const PARAMETERS: [&str; 5] = ["unix_socket", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"];
/// The values of `ssl_mode`, in any letter case.
const SSL_MODES: [&str; 5] = ["disabled", "preferred", "required", "verify_ca", "verify_identity"];

/// Checks what diesel and the client library would refuse only when they connect, or would silently ignore.
pub fn check(url: &str) -> Result<(), String> {
    let (location, query) = url.split_once('?').unwrap_or((url, ""));
    let (authority, name) = after_scheme(location).and_then(|rest| rest.split_once('/')).unwrap_or_default();
    if name.is_empty() {
        return Err("the URL lacks the database name; give mysql://USER@HOST/NAME".to_owned());
    }
    if name.contains(['/', '%']) {
        return Err("the name of a MySQL database cannot contain `/` or `%` here: diesel does not decode it".to_owned());
    }
    let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if percent_decode_str(credentials).decode_utf8().is_err() {
        return Err("the user or the password is not UTF-8 after percent-decoding".to_owned());
    }
    let is_host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let name = host.split(':').next().unwrap_or_default();
            name.chars().all(|c| c.is_alphanumeric() || "-._".contains(c))
        }
    };
    if !is_host {
        return Err("MySQL takes one host; give a host name, an address or, for a socket, \
                    mysql://USER@localhost/NAME?unix_socket=PATH"
            .to_owned());
    }
    let mut seen = Vec::new();
    for parameter in query.split_terminator('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !PARAMETERS.contains(&name) {
            // A path in a value may contain `&`, but no password.
            let (name, known) = (name.escape_debug(), PARAMETERS.join(", "));
            return Err(format!("`{name}` is not a parameter of MySQL URLs; remove it, or use one of {known}"));
        }
        if value.is_empty() {
            return Err(format!("the parameter `{name}` needs a value"));
        }
        if seen.contains(&name) {
            return Err(format!("the parameter `{name}` is given twice"));
        }
        seen.push(name);
        if name == "ssl_mode" {
            check_ssl_mode(value)?;
        }
    }
    Ok(())
}

/// MariaDB's client library would silently ignore `ssl_mode`.
fn check_ssl_mode(value: &str) -> Result<(), String> {
    #[cfg(feature = "mysql")]
    if !mysqlclient_sys::SUPPORTS_MYSQL_SSL_MODE {
        return Err("MariaDB's client library, which this build uses, does not support `ssl_mode`; give ssl_ca=FILE \
                    instead, which requires a certificate from that authority"
            .to_owned());
    }
    if SSL_MODES.iter().any(|mode| mode.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    Err(format!("the parameter `ssl_mode` must be one of {}", SSL_MODES.join(", ")))
}
