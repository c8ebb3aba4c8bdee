//! TLS certificates, generated for each test.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// A certificate authority and the certificates that it signed, as files in a temporary folder: `ca.pem`; `server.pem`
/// (for `localhost`) and `server.key`; `client.pem` and `client.key`; `expired.pem` (for `localhost`) and `expired.key`.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// Generates a new authority and its certificates.
    #[expect(clippy::new_without_default, reason = "each call generates other keys")]
    pub fn new() -> Self {
        let folder = TempDir::new().expect("temporary folder");
        let key = KeyPair::generate().expect("the default algorithm is supported");
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, folder.path().display().to_string());
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&key).expect("the parameters are valid");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("the folder is writable");
        let issuer = Issuer::new(authority, key);
        for (name, host) in [("server", "localhost"), ("client", "tracker"), ("expired", "localhost")] {
            let key = KeyPair::generate().expect("the default algorithm is supported");
            let mut params = CertificateParams::new([host.to_owned()]).expect("the host name is ASCII");
            if name == "expired" {
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            let certificate = params.signed_by(&key, &issuer).expect("the issuer is valid");
            fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).expect("the folder is writable");
            fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("the folder is writable");
        }
        Self(folder)
    }

    /// The path of one of the files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The options that make redis-server accept TLS on `port` from clients with a certificate, and replicate over TLS.
    pub fn options(&self, port: u16) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-cert-file", path("server.pem")),
            ("--tls-key-file", path("server.key")),
            ("--tls-replication", "yes".into()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}
