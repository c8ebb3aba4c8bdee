//! Validation of the configuration.

use serde_json::json;
use tracker_config::ConfigError;

use super::{Credentials, MAX_MILLIS, RedisConfig};
use crate::tls::Tls;

/// The maximum length of the list key, in bytes.
const MAX_KEY: usize = 1_024;
/// The maximum size of the members that every element has, in bytes of JSON. A push can have 1,000 elements and more.
const MAX_ADDED: usize = 65_536;

impl RedisConfig {
    /// Validates every field. It reads no file.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.path.is_none() {
            ConfigError::unless(
                !self.host.trim().is_empty(),
                "host",
                "must not be empty; leave it out to use 127.0.0.1",
            )?;
            ConfigError::unless(self.port != 0, "port", "must not be 0; leave it out to use 6379")?;
        }
        let problem = "must be a name or an address, not a URL; use `port`, `username` and `password` for the rest";
        ConfigError::unless(!is_url(&self.host), "host", problem)?;
        let is_empty_path = self.path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
        ConfigError::unless(!is_empty_path, "path", "must not be empty; leave it out to use `host` and `port`")?;
        ConfigError::unless(!self.key.is_empty(), "key", "must not be empty; leave it out to use `logstash`")?;
        ConfigError::unless(self.key.len() <= MAX_KEY, "key", format!("must have at most {MAX_KEY} bytes"))?;
        let added = json!([self.index, self.additional_fields]).to_string().len();
        let problem = format!("and `index` must have at most {MAX_ADDED} bytes of JSON, which every element repeats");
        ConfigError::unless(added <= MAX_ADDED, "additional_fields", problem)?;
        for (field, millis) in
            [("timeout_millis", self.timeout_millis), ("connect_timeout_millis", self.connect_timeout_millis)]
        {
            let problem = format!("must be from 1 to {MAX_MILLIS} milliseconds");
            ConfigError::unless((1..=MAX_MILLIS).contains(&millis), field, problem)?;
        }
        let problem = "must be at least 1; leave it out for no limit";
        ConfigError::unless(self.max_list_length != Some(0), "max_list_length", problem)?;
        let Credentials { username, password } = self.credentials();
        ConfigError::unless(username.is_none() || password.is_some(), "username", "needs `password`")?;
        self.check_topology()?;
        self.tls.as_ref().map_or(Ok(()), Tls::check)
    }

    fn check_topology(&self) -> Result<(), ConfigError> {
        let [path, sentinels, cluster] = [self.path.is_some(), !self.sentinels.is_empty(), !self.cluster.is_empty()];
        ConfigError::unless(!(sentinels && path), "sentinels", "must be left out with `path`")?;
        ConfigError::unless(!(cluster && path), "cluster", "must be left out with `path`")?;
        ConfigError::unless(!(cluster && sentinels), "cluster", "must be left out with `sentinels`")?;

        let is_valid = |(host, port): (&str, u16)| !host.trim().is_empty() && !is_url(host) && port != 0;
        let problem = "must have a name or an address, not a URL, as each `host`, and a `port` other than 0";
        ConfigError::unless(self.sentinel_addresses().all(is_valid), "sentinels", problem)?;
        ConfigError::unless(self.cluster_addresses().all(is_valid), "cluster", problem)?;

        let Credentials { username, password } = self.sentinel_credentials();
        if sentinels {
            let has_name = self.master_name.as_ref().is_some_and(|name| !name.is_empty());
            ConfigError::unless(has_name, "master_name", "must be the name by which `sentinels` know the primary")?;
            ConfigError::unless(
                username.is_none() || password.is_some(),
                "sentinel_username",
                "needs `sentinel_password`",
            )?;
        } else {
            let problem = "needs `sentinels`; set both or leave both out";
            ConfigError::unless(self.master_name.is_none(), "master_name", problem)?;
            ConfigError::unless(username.is_none(), "sentinel_username", problem)?;
            ConfigError::unless(password.is_none(), "sentinel_password", problem)?;
        }
        let has_database = self.db.is_some_and(|db| db > 0);
        ConfigError::unless(
            !(cluster && has_database),
            "db",
            "must be left out with `cluster`: a cluster has only database 0",
        )?;
        ConfigError::unless(
            !(path && self.tls.is_some()),
            "tls",
            "must be left out with `path`: a Unix socket has no TLS",
        )
    }
}

fn is_url(host: &str) -> bool {
    host.contains(['/', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let long_key = format!(r#"{{"key":"{}"}}"#, "k".repeat(1_025));
        let long_fields = format!(r#"{{"additional_fields":{{"a":"{}"}}}}"#, "x".repeat(65_536));
        let node = "must have a name or an address, not a URL, as each `host`, and a `port` other than 0";
        for (json, field, problem) in [
            (r#"{"host":""}"#, "host", "must not be empty; leave it out to use 127.0.0.1"),
            (
                r#"{"host":"redis://:secret@h"}"#,
                "host",
                "must be a name or an address, not a URL; use `port`, `username` and `password` for the rest",
            ),
            (r#"{"path":""}"#, "path", "must not be empty; leave it out to use `host` and `port`"),
            (r#"{"port":0}"#, "port", "must not be 0; leave it out to use 6379"),
            (r#"{"key":""}"#, "key", "must not be empty; leave it out to use `logstash`"),
            (&long_key, "key", "must have at most 1024 bytes"),
            (
                &long_fields,
                "additional_fields",
                "and `index` must have at most 65536 bytes of JSON, which every element repeats",
            ),
            (r#"{"timeout_millis":0}"#, "timeout_millis", "must be from 1 to 600000 milliseconds"),
            (r#"{"connect_timeout_millis":600001}"#, "connect_timeout_millis", "must be from 1 to 600000 milliseconds"),
            (r#"{"max_list_length":0}"#, "max_list_length", "must be at least 1; leave it out for no limit"),
            (r#"{"username":"u","password":""}"#, "username", "needs `password`"),
            (r#"{"path":"/a","cluster":[{"host":"a"}]}"#, "cluster", "must be left out with `path`"),
            (r#"{"path":"/a","sentinels":[{"host":"a"}]}"#, "sentinels", "must be left out with `path`"),
            (
                r#"{"sentinels":[{"host":"a"}],"cluster":[{"host":"a"}]}"#,
                "cluster",
                "must be left out with `sentinels`",
            ),
            (r#"{"cluster":[{"host":"a"},{"host":"redis://:secret@h"}]}"#, "cluster", node),
            (
                r#"{"cluster":[{"host":"a"}],"db":1}"#,
                "db",
                "must be left out with `cluster`: a cluster has only database 0",
            ),
            (r#"{"sentinels":[{"host":"a","port":0}],"master_name":"m"}"#, "sentinels", node),
            (
                r#"{"sentinels":[{"host":"a"}]}"#,
                "master_name",
                "must be the name by which `sentinels` know the primary",
            ),
            (r#"{"master_name":"m"}"#, "master_name", "needs `sentinels`; set both or leave both out"),
            (r#"{"sentinel_username":"u"}"#, "sentinel_username", "needs `sentinels`; set both or leave both out"),
            (r#"{"sentinel_password":"p"}"#, "sentinel_password", "needs `sentinels`; set both or leave both out"),
            (
                r#"{"sentinels":[{"host":"a"}],"master_name":"m","sentinel_username":"u"}"#,
                "sentinel_username",
                "needs `sentinel_password`",
            ),
            (r#"{"path":"/a","tls":{}}"#, "tls", "must be left out with `path`: a Unix socket has no TLS"),
            (r#"{"tls":{"ca":""}}"#, "tls.ca", "must not be empty; leave it out to use the default"),
            (r#"{"tls":{"server_name":""}}"#, "tls.server_name", "must not be empty; leave it out to use the default"),
            (r#"{"tls":{"key":"/a"}}"#, "tls.certificate", "must be set with `tls.key`"),
            (r#"{"tls":{"certificate":"/a"}}"#, "tls.key", "must be set with `tls.certificate`"),
            (
                r#"{"tls":{"key":"-----BEGIN PRIVATE KEY-----\nx"}}"#,
                "tls.key",
                "must be the path of a file, not its contents",
            ),
        ] {
            let config: RedisConfig = serde_json::from_str(json).expect("valid JSON");
            assert_eq!(config.check(), Err(ConfigError::new(field, problem)), "{json}");
        }
    }

    #[test]
    fn a_socket_needs_neither_host_nor_port() {
        let config =
            RedisConfig { path: Some("/run/redis.sock".into()), host: String::new(), port: 0, ..Default::default() };
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn the_message_begins_with_the_field() {
        let config = RedisConfig { port: 0, ..RedisConfig::default() };
        let error = config.check().expect_err("port 0 is refused");
        assert_eq!(error.to_string(), "`port` must not be 0; leave it out to use 6379");
    }
}
