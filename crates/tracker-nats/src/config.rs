//! Configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracker_config::{ConfigError, Secret};

/// The maximum timeout, in milliseconds.
const MAX_MILLIS: u64 = 600_000;
/// The maximum length of a subject, in bytes. Every message repeats it.
const MAX_SUBJECT: usize = 256;

/// Configuration of the output: the NATS servers and the subject. Fields that are missing from the input have the values
/// of [`NatsConfig::default`].
///
/// ```
/// let config = tracker_nats::NatsConfig::default().url("nats://nats.example.com").instance("one");
/// assert_eq!(config.check(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "The NATS JetStream output; off without this section. A stream with the subject \
                          `<prefix>.<instance>` must exist.")]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The URL of the NATS server, or the URLs of the servers of a cluster, separated by commas. The scheme is `nats` or
    /// `tls`, and the default port is 4222. The service connects to these servers only.
    pub url: String,
    /// The first part of the subject.
    pub prefix: String,
    /// The name of this instance, which is the last part of the subject. If unset, it is the hostname of the machine,
    /// with `_` in place of `.` and other special characters. Each instance needs a name of its own, which it keeps
    /// when it restarts: set it where several instances run on one machine, and in containers.
    #[schemars(example = &"tracker-1")]
    pub instance: Option<String>,
    /// The user. Requires `password`.
    #[schemars(example = &"deployment-tracker")]
    pub username: Option<String>,
    /// The password of the user.
    #[schemars(example = &"secret")]
    pub password: Option<Secret>,
    /// A token, instead of `username`.
    #[schemars(example = &"secret")]
    pub token: Option<Secret>,
    /// The seed of an NKey, instead of `username`. It begins with `SU`.
    #[schemars(example = &"SUA…")]
    pub nkey_seed: Option<Secret>,
    /// The file with a JWT and its NKey seed (`.creds`), instead of `username`. The service reads it again for each
    /// connection.
    #[schemars(example = &"/etc/deployment-tracker/nats.creds")]
    pub credentials_file: Option<PathBuf>,
    /// TLS. Needed for a certificate of an authority that the system does not trust, or to present a certificate. An
    /// empty section requires TLS, like the scheme `tls`.
    pub tls: Option<Tls>,
    /// The timeout of connecting to each server, and of each request, in milliseconds. A message may take longer by a
    /// second per 8 KiB. After a timeout, the service reads from the stream which messages have arrived.
    #[schemars(range(min = 1, max = MAX_MILLIS))]
    pub timeout_millis: u64,
}

/// TLS settings. The certificate and the name of a server are always verified. The files are PEM. They are read
/// again for each connection, so a new certificate needs no restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// The file with the certificates of the trusted authorities. If unset, the service trusts those that the
    /// system trusts.
    #[schemars(example = &"/etc/deployment-tracker/nats/ca.pem")]
    pub ca: Option<PathBuf>,
    /// The file with the certificate that the service presents, followed by its intermediate certificates. It
    /// needs `key`. If unset, the service presents no certificate.
    #[schemars(example = &"/etc/deployment-tracker/nats/client.pem")]
    pub certificate: Option<PathBuf>,
    /// The file with the private key of `certificate`.
    #[schemars(example = &"/etc/deployment-tracker/nats/client.key")]
    pub key: Option<PathBuf>,
}

tracker_core::setters! {
    NatsConfig {
        url: impl Into<String> => url.into(),
        prefix: impl Into<String> => prefix.into(),
        instance: impl Into<String> => Some(instance.into()),
        username: impl Into<String> => Some(username.into()),
        password: impl Into<String> => Some(Secret::new(password)),
        token: impl Into<String> => Some(Secret::new(token)),
        nkey_seed: impl Into<String> => Some(Secret::new(nkey_seed)),
        credentials_file: impl Into<PathBuf> => Some(credentials_file.into()),
        tls: Tls => Some(tls),
        timeout_millis: u64,
    }
}

tracker_core::setters! {
    Tls {
        ca: impl Into<PathBuf> => Some(ca.into()),
        certificate: impl Into<PathBuf> => Some(certificate.into()),
        key: impl Into<PathBuf> => Some(key.into()),
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            prefix: "deployment-tracker".into(),
            instance: None,
            username: None,
            password: None,
            token: None,
            nkey_seed: None,
            credentials_file: None,
            tls: None,
            timeout_millis: 2_000,
        }
    }
}

impl NatsConfig {
    /// Validates every field, and reads the files.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.servers()?;
        let is_word = |word: &str| !word.is_empty() && !word.contains(is_special);
        ConfigError::unless(
            self.prefix.split('.').all(is_word) && !self.prefix.starts_with('$'),
            "prefix",
            "must be words, separated by `.`, without spaces, `*` or `>`, and not begin with `$`",
        )?;
        let is_name = self.instance.as_deref().is_none_or(is_word);
        ConfigError::unless(is_name, "instance", "must be one word, without spaces, `.`, `*` or `>`")?;
        let problem = format!("must be shorter: the subject `<prefix>.<instance>` may have {MAX_SUBJECT} bytes");
        ConfigError::unless(self.subject().len() <= MAX_SUBJECT, "prefix", problem)?;
        let is_timeout = (1..=MAX_MILLIS).contains(&self.timeout_millis);
        ConfigError::unless(is_timeout, "timeout_millis", format!("must be from 1 to {MAX_MILLIS} milliseconds"))?;
        self.check_credentials()?;
        self.tls.as_ref().map_or(Ok(()), Tls::check)
    }

    fn check_credentials(&self) -> Result<(), ConfigError> {
        ConfigError::unless(self.username.is_some() || self.password.is_none(), "password", "needs `username`")?;
        ConfigError::unless(self.password.is_some() || self.username.is_none(), "username", "needs `password`")?;
        let given = [
            ("username", self.username.is_some()),
            ("token", self.token.is_some()),
            ("nkey_seed", self.nkey_seed.is_some()),
            ("credentials_file", self.credentials_file.is_some()),
        ];
        let mut given = given.into_iter().filter_map(|(field, is_given)| is_given.then_some(field));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(ConfigError::new(second, format!("must be left out with `{first}`")));
        }
        if let Some(path) = &self.credentials_file {
            let text = read("credentials_file", path)?;
            // The parser's message may quote the file.
            let is_usable = ConnectOptions::new().credentials(&String::from_utf8_lossy(&text)).is_ok();
            let problem = "must be a file with a JWT and a seed, as `nsc generate creds` writes it";
            ConfigError::unless(is_usable, "credentials_file", problem)?;
        }
        let seed = self.nkey_seed.as_ref().map(Secret::reveal);
        let is_seed = seed.is_none_or(|seed| seed.starts_with("SU") && seed.len() == 58);
        ConfigError::unless(is_seed, "nkey_seed", "must be a seed of a user: 58 characters that begin with `SU`")
    }

    /// The servers.
    pub(crate) fn servers(&self) -> Result<Vec<ServerAddr>, ConfigError> {
        let problem = "must be a URL such as nats://nats.example.com:4222, or several, separated by commas";
        let parse = |url: &str| url.trim().parse::<ServerAddr>().map_err(|_| ConfigError::new("url", problem));
        let servers: Vec<_> = self.url.split(',').map(parse).collect::<Result<_, _>>()?;
        for server in &servers {
            let is_bare = server.username().is_none() && server.password().is_none();
            ConfigError::unless(is_bare, "url", "must have no user and no password; use `username` and `password`")?;
            let is_plain = ["nats", "tls"].contains(&server.scheme()) && !server.host().is_empty();
            ConfigError::unless(is_plain, "url", problem)?;
        }
        Ok(servers)
    }

    /// The options of a connection. Reads the credentials file.
    pub(crate) async fn options(&self) -> std::io::Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .name("deployment-tracker")
            .connection_timeout(self.timeout())
            .request_timeout(Some(self.timeout()))
            .ignore_discovered_servers();
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            options = options.user_and_password(user.clone(), password.reveal().to_owned());
        }
        if let Some(token) = &self.token {
            options = options.token(token.reveal().to_owned());
        }
        if let Some(seed) = &self.nkey_seed {
            options = options.nkey(seed.reveal().to_owned());
        }
        if let Some(path) = &self.credentials_file {
            options = options.credentials_file(path).await?;
        }
        if let Some(tls) = &self.tls {
            options = options.require_tls(true);
            if let Some(ca) = &tls.ca {
                options = options.add_root_certificates(ca.clone());
            }
            if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
                options = options.add_client_certificate(certificate.clone(), key.clone());
            }
        }
        Ok(options)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis)
    }

    /// The subject of this instance.
    pub(crate) fn subject(&self) -> String {
        let hostname = || gethostname::gethostname().to_string_lossy().replace(is_special, "_");
        format!("{}.{}", self.prefix, self.instance.clone().unwrap_or_else(hostname))
    }
}

impl Tls {
    fn check(&self) -> Result<(), ConfigError> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => Err(ConfigError::new("tls.key", "must be set with `tls.certificate`")),
            (None, Some(_)) => Err(ConfigError::new("tls.certificate", "must be set with `tls.key`")),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }?;
        for (field, path, item) in [
            ("tls.ca", &self.ca, "CERTIFICATE-----"),
            ("tls.certificate", &self.certificate, "CERTIFICATE-----"),
            ("tls.key", &self.key, "PRIVATE KEY-----"),
        ] {
            let Some(path) = path else { continue };
            let is_pem = String::from_utf8_lossy(&read(field, path)?).contains(item);
            let item = item.trim_end_matches('-').to_lowercase();
            ConfigError::unless(is_pem, field, format!("must be a PEM file with a {item}"))?;
        }
        Ok(())
    }
}

/// Reads a file. The error omits the path, which may be a misplaced secret.
fn read(field: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError::new(field, format!("cannot be read: {error}")))
}

/// Whether a word of a subject must not contain the character.
fn is_special(character: char) -> bool {
    character.is_whitespace() || character.is_control() || matches!(character, '.' | '*' | '>')
}
