//! TLS: which servers are trusted, and which certificate is presented.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fred::rustls::crypto::ring;
use fred::rustls::pki_types::PrivateKeyDer;
use fred::rustls::pki_types::pem::PemObject;
use fred::rustls::{ClientConfig, RootCertStore};
use fred::rustls_native_certs::load_native_certs;
use fred::types::config::TlsConnector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracker_config::ConfigError;

/// TLS settings. The certificate and the name of a server are always verified. The files are PEM. They are read
/// again for each connection, so a new certificate needs no restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// The file with the certificates of the trusted authorities. If unset, the service trusts those that the
    /// system trusts.
    #[schemars(example = &"/etc/deployment-tracker/redis/ca.pem")]
    pub ca: Option<PathBuf>,
    /// The file with the certificate that the service presents, followed by its intermediate certificates. It
    /// needs `key`. If unset, the service presents no certificate.
    #[schemars(example = &"/etc/deployment-tracker/redis/client.pem")]
    pub certificate: Option<PathBuf>,
    /// The file with the private key of `certificate`.
    #[schemars(example = &"/etc/deployment-tracker/redis/client.key")]
    pub key: Option<PathBuf>,
    /// The name or address for which the certificate of every server must be valid. If unset, it is the name or
    /// address that the service connects to. `sentinels` and `cluster` often report addresses instead of names.
    #[schemars(example = &"redis.example.com")]
    pub server_name: Option<String>,
}

tracker_core::setters! {
    Tls {
        ca: impl Into<PathBuf> => Some(ca.into()),
        certificate: impl Into<PathBuf> => Some(certificate.into()),
        key: impl Into<PathBuf> => Some(key.into()),
        server_name: impl Into<String> => Some(server_name.into()),
    }
}

impl Tls {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let files = [("tls.ca", &self.ca), ("tls.certificate", &self.certificate), ("tls.key", &self.key)];
        let empty = "must not be empty; leave it out to use the default";
        for (field, path) in files.into_iter().filter_map(|(field, path)| Some((field, path.as_ref()?))) {
            ConfigError::unless(!path.as_os_str().is_empty(), field, empty)?;
            let is_pem = path.to_string_lossy().contains("-----BEGIN");
            ConfigError::unless(!is_pem, field, "must be the path of a file, not its contents")?;
        }
        ConfigError::unless(self.server_name.as_deref() != Some(""), "tls.server_name", empty)?;
        match (&self.certificate, &self.key) {
            (Some(_), None) => Err(ConfigError::new("tls.key", "must be set with `tls.certificate`")),
            (None, Some(_)) => Err(ConfigError::new("tls.certificate", "must be set with `tls.key`")),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    /// Reads the files. This blocks the thread.
    pub(crate) fn connector(&self) -> Result<TlsConnector, ConfigError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in read("tls.ca", path, "certificate")? {
                    let added = roots.add(certificate);
                    added
                        .map_err(|error| ConfigError::new("tls.ca", format!("has an unusable certificate: {error}")))?;
                }
            }
            None => {
                let found = load_native_certs();
                roots.add_parsable_certificates(found.certs);
                let causes: Vec<_> = found.errors.iter().map(|error| format!(": {error}")).collect();
                let problem = format!("must be set: the system trusts no authority{}", causes.concat());
                ConfigError::unless(!roots.is_empty(), "tls.ca", problem)?;
                for error in found.errors {
                    log::debug!("cannot read a certificate that the system trusts: {error}");
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(builder.with_no_client_auth().into());
        };
        let chain = read("tls.certificate", certificate, "certificate")?;
        let key = read::<PrivateKeyDer>("tls.key", key, "private key")?.remove(0);
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
            ConfigError::new("tls.certificate", format!("cannot be used with the key in `tls.key`: {error}"))
        })?;
        Ok(config.into())
    }
}

/// Reads the items of a PEM file, at least one. Errors omit the parser's message, which may quote the file, and
/// the path, which may be a misplaced secret.
fn read<T: PemObject>(field: &'static str, path: &Path, item: &str) -> Result<Vec<T>, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::new(field, format!("cannot be read: {error}")))?;
    match T::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(items) if !items.is_empty() => Ok(items),
        _ => Err(ConfigError::new(field, format!("must be a PEM file with a {item}"))),
    }
}
