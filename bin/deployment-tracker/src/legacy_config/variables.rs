//! Environment variables that have the prefix of configuration keys, but do not configure this service.

/// The protocols of a port in Kubernetes.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Why the variable `key` has no effect, if it is a variable of the legacy service or of Kubernetes. `key` is the name
/// without the prefix, in lower case.
pub fn ignored(key: &str, text: &str) -> Option<&'static str> {
    match key {
        "log_path" => Some("the log goes to standard error; let the service manager write it to a file"),
        "mock_redis" => Some("remove the `redis` section instead"),
        _ if is_service_link(key, text) => Some("it is the address of a Kubernetes service, not a configuration key"),
        _ => None,
    }
}

/// Whether Kubernetes has set the variable. In every pod, it describes each service of the namespace, such as
/// `deployment-tracker` or `deployment-tracker-redis`:
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_service_link(key: &str, text: &str) -> bool {
    let is_address = || text.split_once("://").is_some_and(|(scheme, _)| PROTOCOLS.contains(&scheme));
    let is_host_or_port =
        ["service_host", "service_port"].iter().any(|name| key.ends_with(name)) || key.contains("service_port_");
    // Such as `port_8080_tcp_addr`.
    let is_numbered_port = key.split("port_").skip(1).any(|rest| {
        let (number, rest) = rest.split_once('_').unwrap_or_default();
        number.parse::<u16>().is_ok() && PROTOCOLS.contains(&rest.split('_').next().unwrap_or_default())
    });
    // A dot is a key in a section, such as `redis.port`.
    !key.contains('.') && (is_host_or_port || is_numbered_port || (key.ends_with("port") && is_address()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_of_the_legacy_service_and_of_kubernetes_are_ignored() {
        for (key, text) in [
            ("log_path", "/var/log/deployment-tracker/"),
            ("mock_redis", "true"),
            ("service_host", "10.0.0.1"),
            ("service_port", "8080"),
            ("service_port_http", "8080"),
            ("port", "tcp://10.0.0.1:8080"),
            ("port_8080_tcp", "tcp://10.0.0.1:8080"),
            ("port_8080_tcp_proto", "tcp"),
            ("port_8080_tcp_port", "8080"),
            ("port_8080_tcp_addr", "10.0.0.1"),
            ("port_53_udp", "udp://10.0.0.1:53"),
            ("redis_master_service_host", "10.0.0.2"),
            ("redis_master_port", "tcp://10.0.0.2:6379"),
            ("redis_master_port_6379_tcp_addr", "10.0.0.2"),
        ] {
            assert!(ignored(key, text).is_some(), "{key}");
        }
        for (key, text) in [
            ("port", "8080"),
            ("host", "tcp://10.0.0.1"),
            ("redis.port", "tcp://10.0.0.1:6379"),
            ("redis.host", "10.0.0.1"),
            ("redis_port", "6379"),
            ("port_http", "8080"),
            ("port_99999_tcp", "8080"),
            ("log_file", "x"),
            ("listen", "[]"),
        ] {
            assert_eq!(ignored(key, text), None, "{key}");
        }
    }
}
