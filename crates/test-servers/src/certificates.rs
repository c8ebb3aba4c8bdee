//! Certificates, made anew for each test.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority with what it signed, in a folder: `ca.pem`; `server.pem` for `localhost` and `server.key`; `client.pem` and
/// `client.key`.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// A new authority, which nobody else trusts.
    #[expect(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, folder.path().display().to_string());
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("a file");
        let issuer = Issuer::new(authority, key);
        for (name, host) in [("server", "localhost"), ("client", "tracker")] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new([host.to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).expect("a file");
            fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("a file");
        }
        Self(folder)
    }

    /// Where one of the files is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What a redis-server needs to speak TLS on `port`, also to other servers, with clients that have a certificate.
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
