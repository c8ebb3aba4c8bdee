//! TLS for listeners: certificates from files, which can be read anew while connections are open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Certificates, in PEM.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The file with the certificate, and those that lead from it to a root, in this order.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/tls/fullchain.pem"))]
    pub certificate: PathBuf,
    /// The file with the private key of the certificate.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/tls/key.pem"))]
    pub key: PathBuf,
    /// The file with the certificates of the authorities that sign clients' certificates. Without it clients need none.
    #[cfg_attr(feature = "schema", schemars(example = &"/etc/deployment-tracker/tls/clients.pem"))]
    pub client_ca: Option<PathBuf>,
    /// With `client_ca`: whether a client without a certificate is let in as well.
    #[serde(default)]
    pub client_optional: bool,
}

/// Why certificates cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The name of a file is what should be in it.
    #[error("`{key}` holds PEM; put that into a file, and give its path")]
    Pem {
        /// The key of the configuration.
        key: &'static str,
    },
    /// A file cannot be read, or does not hold what it should.
    #[error("`{key}`: {}: {problem}", path.display())]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// TLS that is in use. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Identity>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], without any secret.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = ArcSwap::from_pointee(Current::read(config, &provider)?);
        Ok(Self(Arc::new(Identity { provider, current })))
    }

    /// Reads the files of `config` for the connections that are opened from now on.
    ///
    /// # Errors
    /// [`TlsError`]; then everything stays as it is.
    pub fn renew(&self, config: &TlsConfig) -> Result<(), TlsError> {
        self.0.current.store(Arc::new(Current::read(config, &self.0.provider)?));
        Ok(())
    }

    /// Whether a client needs a certificate now.
    pub fn demands_certificates(&self) -> bool {
        self.0.current.load().clients.client_auth_mandatory()
    }

    /// What a listener needs.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of TLS 1.2 and 1.3")
            .with_client_cert_verifier(self.0.clone())
            .with_cert_resolver(self.0.clone());
        // A resumed session would not be asked for its certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }
}

/// Who the server is, and whom it lets in, now: asked at every handshake.
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
        let files =
            [("tls.certificate", Some(certificate)), ("tls.key", Some(key)), ("tls.client_ca", client_ca.as_ref())];
        for (key, path) in files {
            if path.is_some_and(|path| path.to_string_lossy().contains("-----BEGIN")) {
                return Err(TlsError::Pem { key });
            }
        }
        let chain = certificates("tls.certificate", certificate)?;
        let wrong = |problem: String| TlsError::File { key: "tls.key", path: key.clone(), problem };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, private, provider)
            .map_err(|error| wrong(format!("{error}; give the key of the certificate in `tls.certificate`")))?;
        let clients = match client_ca {
            None => Arc::new(NoClientAuth),
            Some(path) => {
                let wrong = |problem: String| TlsError::File { key: "tls.client_ca", path: path.clone(), problem };
                let mut roots = RootCertStore::empty();
                for root in certificates("tls.client_ca", path)? {
                    roots.add(root).map_err(|error| wrong(error.to_string()))?;
                }
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let builder = if *client_optional { builder.allow_unauthenticated() } else { builder };
                builder.build().map_err(|error| wrong(error.to_string()))?
            }
        };
        Ok(Self { certified: Arc::new(certified), clients })
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: String| TlsError::File { key, path: path.to_owned(), problem };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => Err(wrong("holds no certificate; give one in PEM".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(wrong(error.to_string())),
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

    /// No hints: they may change while a handshake goes on.
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
