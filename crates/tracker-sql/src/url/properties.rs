//! Properties of URL parsing for arbitrary input. `scripts/fuzz` runs them with many more cases.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Part of every generated password; must never be shown.
const SECRET: &str = "hunter2";

/// A password, percent-encoded or not: the secret between arbitrary characters.
fn password() -> impl Strategy<Value = String> {
    let other =
        || prop_oneof![6 => "[a-z0-9]{0,3}(%[0-9a-f]{2})?", 1 => "[a-z0-9:/?#@%\\[\\]+,&= ]{0,4}", 1 => ".{0,2}"];
    (other(), other()).prop_map(|(before, after)| format!("{before}{SECRET}{after}"))
}

fn url() -> impl Strategy<Value = String> {
    let scheme = select(vec!["postgres", "postgres", "postgresql", "mysql", "mariadb", "postgers", "Postgres", "a\nb"]);
    let host = "h(:[0-9+]{0,6})?|\\[::1\\](:5432)?|h:1,\\[::1\\]|%2Frun%2Fpg|[a-z\\[\\]:,]{0,5}";
    let rest = (
        select(vec!["", "/", "/x", "/x", "x"]),
        prop::option::of((select(vec!["password", "sslpassword", "x"]), password())),
    );
    let rest = rest.prop_map(|(path, parameter)| match parameter {
        Some((name, value)) => format!("{path}?{name}={value}"),
        None => path.to_owned(),
    });
    let slashes = select(vec!["://", "://", "://", ":", ":/"]);
    (scheme, slashes, "[a-z]{0,2}(%40)?|[a-z?/\\[]{0,2}", password(), host, rest).prop_map(
        |(scheme, slashes, user, password, host, rest)| format!("{scheme}{slashes}{user}:{password}@{host}{rest}"),
    )
}

/// Whether every URL parser finds the same parts.
fn is_unambiguous(url: &str) -> bool {
    let Some(rest) = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//")) else { return false };
    let escapes = rest.split('%').skip(1);
    rest.matches('@').count() <= 1
        && escapes.into_iter().all(|escape| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
}

proptest! {
    #[test]
    fn errors_and_output_never_contain_a_password(url in url()) {
        match DatabaseUrl::parse(&url) {
            Ok(parsed) => {
                let shown = format!("{parsed} {parsed:?}");
                prop_assert!(!shown.contains(SECRET), "{}", shown);
                // The database's client library must find the same parts.
                prop_assert!(is_unambiguous(&url), "{}", url);
            }
            Err(error) => {
                let message = error.to_string();
                prop_assert!(!message.contains(SECRET) && !message.contains(char::is_control), "{:?}", message);
            }
        }
    }

    #[test]
    fn a_connection_string_error_never_contains_a_password(
        before in "((host=h|port=1|[a-z]{1,3}=)[ ,;]?)?",
        name in select(vec!["password", "sslpassword", "oauth_client_secret", "password ", " password"]),
        quote in "'?",
        password in password(),
        after in "'?( dbname=x| y=1)?",
    ) {
        let text = format!("{before}{name}={quote}{password}{after}");
        match DatabaseUrl::parse(&text) {
            Ok(parsed) => prop_assert!(!format!("{parsed} {parsed:?}").contains(SECRET), "{}", text),
            Err(error) => prop_assert!(!error.to_string().contains(SECRET), "{}: {}", text, error),
        }
    }

    #[test]
    fn a_path_is_kept_unchanged(path in "[a-z0-9 ./_#%@é-]{0,11}[a-z0-9]", any in "[^\\p{Cc}]{0,11}[a-z]") {
        prop_assert_eq!(DatabaseUrl::parse(&path).ok(), Some(DatabaseUrl::Sqlite(path)));
        let path = format!("./{any}");
        let sqlite = format!("sqlite:{}", path.replace('?', "%3F"));
        prop_assert_eq!(DatabaseUrl::parse(&sqlite).ok(), Some(DatabaseUrl::Sqlite(path)));
    }
}
