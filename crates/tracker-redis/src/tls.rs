//! TLS: whom we trust, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fred::error::{Error, ErrorKind};
use fred::rustls::crypto::ring;
use fred::rustls::pki_types::PrivateKeyDer;
use fred::rustls::pki_types::pem::PemObject;
use fred::rustls::{ClientConfig, RootCertStore};
use fred::rustls_native_certs::load_native_certs;
use fred::types::config::TlsConnector;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// How TLS is spoken: the section `redis.tls`. The certificate and the name of a server are always verified. The files
/// are PEM, and read for each connection, so that a new certificate needs no restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The file with the certificates of the authorities that may have signed the server's. Without it they are those that
    /// the system trusts.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/redis/ca.pem"))]
    pub ca: Option<PathBuf>,
    /// The file with the certificate that the service shows, and those that lead from it to a root. Without it none is
    /// shown.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/redis/client.pem"))]
    pub certificate: Option<PathBuf>,
    /// The file with the private key of the certificate.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/redis/client.key"))]
    pub key: Option<PathBuf>,
    /// The name or address that every server's certificate must be for. Without it that is what is connected to, which
    /// with `sentinels` or `cluster` is what these say, often an address.
    #[cfg_attr(feature = "schema", schemars(example = &"redis.example.com"))]
    pub server_name: Option<String>,
}

impl Tls {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let files = [("tls.ca", &self.ca), ("tls.certificate", &self.certificate), ("tls.key", &self.key)];
        for (name, path) in files.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
            if path.as_os_str().is_empty() {
                return Err(ConfigError::Empty(name));
            }
            if path.to_string_lossy().contains("-----BEGIN") {
                return Err(ConfigError::Pem(name));
            }
        }
        if self.server_name.as_deref() == Some("") {
            return Err(ConfigError::Empty("tls.server_name"));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(ConfigError::HalfIdentity);
        }
        Ok(())
    }

    /// Reads the files. It blocks.
    pub(crate) fn connector(&self) -> Result<TlsConnector, Error> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in read("ca", path, "certificate")? {
                    let added = roots.add(certificate);
                    added.map_err(|error| wrong(format!("`redis.tls.ca` ({}): {error}", path.display())))?;
                }
            }
            None => {
                roots.add_parsable_certificates(load_native_certs().certs);
                if roots.is_empty() {
                    return Err(wrong("the system trusts no authority; give one in `redis.tls.ca`"));
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(builder.with_no_client_auth().into());
        };
        let chain = read("certificate", certificate, "certificate")?;
        let key = read::<PrivateKeyDer>("key", key, "private key")?.remove(0);
        let config = builder.with_client_auth_cert(chain, key);
        Ok(config.map_err(|error| wrong(format!("`redis.tls.certificate` with `redis.tls.key`: {error}")))?.into())
    }
}

/// What is in a PEM file, at least one. Neither what a parser says is told, which may quote the file, nor the path, which may be
/// a secret that was put in its place.
fn read<T: PemObject>(name: &str, path: &Path, what: &str) -> Result<Vec<T>, Error> {
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("cannot read `redis.tls.{name}`: {error}")))?;
    match T::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(items) if !items.is_empty() => Ok(items),
        _ => Err(wrong(format!("`redis.tls.{name}` must hold a {what} in PEM"))),
    }
}

fn wrong(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::Tls, problem.into())
}
