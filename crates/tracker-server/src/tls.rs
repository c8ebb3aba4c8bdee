//! TLS for listeners. Certificates come from files and can be reloaded while connections are open.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The certificates of the server, in PEM.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The file with the server's certificate, followed by the intermediate certificates.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/tls/fullchain.pem"))]
    pub certificate: PathBuf,
    /// The file with the private key of the certificate.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/tls/key.pem"))]
    pub key: PathBuf,
    /// The file with the certificates of the authorities that sign client certificates. If unset, clients need no
    /// certificate.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/tls/clients.pem"))]
    pub client_ca: Option<PathBuf>,
    /// With `client_ca`: whether the server also accepts clients without a certificate.
    #[serde(default)]
    pub client_optional: bool,
}

impl TlsConfig {
    /// TLS without client certificates.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None, client_optional: false }
    }
}

tracker_core::setters! {
    TlsConfig {
        certificate: impl Into<PathBuf> => certificate.into(),
        key: impl Into<PathBuf> => key.into(),
        client_ca: impl Into<PathBuf> => Some(client_ca.into()),
        client_optional: bool,
    }
}

/// A reason to refuse certificates. It contains no secret.
#[derive(Debug, Error)]
#[error("`{field}`: {problem}")]
#[non_exhaustive]
pub struct TlsError {
    /// The field of [`TlsConfig`].
    pub field: &'static str,
    /// The problem, and how to fix it.
    pub problem: String,
}

/// The certificates in use. All clones share them.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Identity>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be read or its contents cannot be used.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = ArcSwap::from_pointee(Current::read(config, &provider)?);
        Ok(Self(Arc::new(Identity { provider, current })))
    }

    /// Reads the files of `config` and uses them for new connections.
    ///
    /// # Errors
    /// [`TlsError`], as for [`Self::new`]; the current certificates stay in use.
    pub fn renew(&self, config: &TlsConfig) -> Result<(), TlsError> {
        self.0.current.store(Arc::new(Current::read(config, &self.0.provider)?));
        Ok(())
    }

    /// Whether clients currently need a certificate.
    pub fn demands_certificates(&self) -> bool {
        self.0.current.load().clients.client_auth_mandatory()
    }

    /// The configuration for a listener. It follows [`Self::renew`].
    pub(crate) fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of TLS 1.2 and 1.3")
            .with_client_cert_verifier(self.0.clone())
            .with_cert_resolver(self.0.clone());
        // A resumed session would skip the check of the client certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }
}

/// Resolves the server's certificate and verifies client certificates, at every handshake.
#[derive(Debug)]
struct Identity {
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Current {
    fn read(config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let TlsConfig { certificate, key, client_ca, client_optional } = config;
        let files = [("certificate", Some(certificate)), ("key", Some(key)), ("client_ca", client_ca.as_ref())];
        for (field, path) in files {
            // This text may be a private key, so the message omits it.
            if path.is_some_and(|path| path.to_string_lossy().contains("-----BEGIN")) {
                let problem = "this is PEM, not a path; write it to a file and give the path".to_owned();
                return Err(TlsError { field, problem });
            }
        }
        let chain = read_certificates("certificate", certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
            pem::Error::NoItemsFound => in_file("key", key, "contains no private key; give one in PEM"),
            error => in_file("key", key, error),
        })?;
        let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => {
                in_file("certificate", certificate, "contains an invalid certificate; create the file again")
            }
            error => in_file("key", key, format_args!("{error}; give the key of the certificate")),
        })?;
        let clients = match client_ca {
            None => Arc::new(NoClientAuth),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in read_certificates("client_ca", path)? {
                    roots.add(root).map_err(|error| in_file("client_ca", path, error))?;
                }
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let builder = if *client_optional { builder.allow_unauthenticated() } else { builder };
                builder.build().map_err(|error| in_file("client_ca", path, error))?
            }
        };
        Ok(Self { certified: Arc::new(certified), clients })
    }
}

fn in_file(field: &'static str, path: &Path, problem: impl fmt::Display) -> TlsError {
    TlsError { field, problem: format!("{}: {problem}", path.display()) }
}

fn read_certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => Err(in_file(field, path, "contains no certificate; give one in PEM")),
        Ok(all) => Ok(all),
        Err(error) => Err(in_file(field, path, error)),
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().certified.clone())
    }
}

impl ClientCertVerifier for Identity {
    fn offer_client_auth(&self) -> bool {
        self.current.load().clients.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.current.load().clients.client_auth_mandatory()
    }

    /// Gives no hints, because the roots may change during a handshake.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current.load().clients.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
