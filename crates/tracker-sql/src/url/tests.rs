//! The accepted and refused forms of URLs.

use super::*;

/// The error for `url`, whatever databases are built in.
fn refusal(url: &str) -> String {
    DatabaseUrl::checked(url).expect_err(url)
}

#[cfg(feature = "postgres")]
#[test]
fn an_ambiguous_url_is_rejected_without_being_quoted() {
    for url in [
        "postgres://u:hunter2@[[::1]]:1/x",
        "postgres://u:hunt%00er2@h/x",
        "postgres://u:100%hunter2@h/x",
        "postgres://u:pa@hunter2@h/x",
        "postgres://u:hunter2/x@h/x",
        "postgres://u:hunter2?x@h/x",
        "postgres://u:1/hunter2@h/x",
        "postgres://u:hunter2#x@h/x",
        "postgres://u:hunter2 x@h/x",
        "postgres://u:%+1hunter2@h/x",
        "postgres://u:hunter2@h:+1/x",
        "postgres://u:1?hunter2@h/x",
        "postgres://h/x?password=x@hunter2",
        "postgres://[u:hunter2@h/x",
        "postgres:u:hunter2@h/x",
        "postgres::hunter2@h?password=://hunter2",
        "postgresql:host=h password=hunter2",
    ] {
        let error = DatabaseUrl::parse(url).expect_err(url).to_string();
        assert!(!error.contains("hunter2") && error.contains("%40"), "{error}");
    }
    for url in [
        "postgres://",
        "postgres:///name",
        "postgres://h",
        "postgresql://u:p%40%2F@h:5432,[::1]:1,%2Frun%2Fpg/x?sslmode=require&host=/x",
        "postgres://%3A%3A1/x",
    ] {
        assert!(DatabaseUrl::parse(url).is_ok(), "{url}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn a_path_names_a_file_and_never_a_database_in_memory() {
    for url in [":memory:", "sqlite::memory:", "file:x?mode=memory", "sqlite://file:x", "", "sqlite:"] {
        assert!(DatabaseUrl::parse(url).is_err(), "{url}");
    }
    for (url, path) in [
        ("x", "x"),
        ("sqlite:x", "x"),
        ("sqlite:///x", "/x"),
        ("sqlite:./file:x", "./file:x"),
        ("sqlite:host=db", "host=db"),
        ("sqlite:/x/a b:c.db", "/x/a b:c.db"),
        ("sqlite:a%3Fb%20c", "a?b%20c"),
        ("a%3Fb", "a%3Fb"),
        ("./db:5432", "./db:5432"),
        ("/srv/a:b", "/srv/a:b"),
    ] {
        assert_eq!(DatabaseUrl::parse(url).ok(), Some(DatabaseUrl::Sqlite(path.into())), "{url}");
    }
}

#[test]
fn a_text_that_is_not_clearly_a_path_is_refused_with_the_right_form() {
    for (url, right_form) in [
        ("sqlite:data.sqlite3?mode=ro", "sqlite:data.sqlite3 "),
        ("sqlite:///srv/data.sqlite3?cache=shared", "sqlite:/srv/data.sqlite3 "),
        ("data.sqlite3?mode=ro", "sqlite:data.sqlite3 "),
        ("file:data.sqlite3", "sqlite:PATH"),
        ("file:///srv/data.sqlite3?mode=ro", "sqlite:PATH"),
        ("sqlite:file:data.sqlite3", "sqlite:PATH"),
        ("/srv/a=b", "sqlite:PATH"),
        ("db:5432", "postgres://"),
        ("localhost:5432/tracker", "postgres://"),
        ("//db:5432/tracker", "postgres://"),
        ("[::1]:5432", "postgres://"),
        ("db:tracker", "postgres://"),
        ("sqlite3:data", "sqlite:PATH"),
        ("Postgres://db/tracker", "postgres://"),
        ("jdbc:postgresql://db/tracker", "postgres://"),
        ("x/oracle://db", "postgres://"),
        ("sqlite:///:memory:", "give a path"),
        ("/srv/", "must name a file"),
        ("..", "must name a file"),
        ("data.sqlite3\n", "control character"),
    ] {
        let error = refusal(url);
        assert!(error.contains(right_form), "{url:?}: {error}");
    }
    for url in ["me:hunter2@db:5432/x", "//me:hunter2@db/x", "me@x:hunter2", "jdbc:x://h;password=hunter2"] {
        let error = refusal(url);
        assert!(!error.contains("hunter2"), "{url}: {error}");
    }
}

/// `&` separates the parameters.
#[test]
fn a_parameter_that_libpq_would_refuse_is_an_error_in_both_forms() {
    for (parameters, problem) in [
        ("schema=public", "`schema` is not a parameter of libpq; for a schema, use `options="),
        ("currentSchema=public", "`currentSchema` is not"),
        ("SSLMODE=require", "`SSLMODE` is not"),
        ("ssl=require", "`ssl` is not a parameter of libpq; use `sslmode`"),
        ("tty=x", "`tty` is not"),
        ("=x", "`` is not"),
        ("sslmode=required", "`sslmode` must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslmode=", "`sslmode` must be"),
        ("sslmode=require&sslmode=disable", "`sslmode` is given twice"),
        ("connect_timeout=3s", "`connect_timeout` must be an integer"),
        ("keepalives_idle=", "`keepalives_idle` must be an integer"),
        ("port=0", "`port` must be a number from 1 to 65535"),
        ("port=70000", "`port` must be"),
        ("host=a,b&port=1,2,3", "`port` must have one entry"),
        ("target_session_attrs=master", "`target_session_attrs` must be one of any, read-write"),
        ("load_balance_hosts=true", "`load_balance_hosts` must be one of disable, random"),
        ("channel_binding=on", "`channel_binding` must be"),
        ("gssencmode=require", "`gssencmode` must be one of disable, prefer"),
        ("replication=database", "`replication` must be"),
        ("ssl_min_protocol_version=1.2", "`ssl_min_protocol_version` must be one of TLSv1,"),
        ("sslrootcert=system&sslmode=require", "`sslrootcert=system` needs `sslmode=verify-full`"),
        ("sslnegotiation=direct&sslmode=prefer", "`sslnegotiation=direct` needs"),
        ("sslnegotiation=direct", "`sslnegotiation=direct` needs"),
    ] {
        for url in [
            format!("postgres://me@db/tracker?{parameters}"),
            format!("dbname=tracker {}", parameters.replace('&', " ")),
            format!("{} user = 'me'", parameters.replace('&', "\n").replacen('=', " = ", 1)),
        ] {
            // Without quotes, an empty value ends at the next parameter.
            let url = url.replace("=  user", "='' user");
            let error = refusal(&url);
            assert!(error.contains(problem), "{url}: {error}");
        }
    }
}

#[cfg(feature = "postgres")]
#[test]
fn parameters_of_libpq_are_accepted_in_both_forms() {
    for (parameters, location) in [
        ("sslmode=verify-full&sslrootcert=/etc/ca.pem", ""),
        ("host=/run/postgresql&port=5433&user=me&password=hunter2", "host=/run/postgresql port=5433 "),
        ("host=a,b&port=1,2&target_session_attrs=read-write&load_balance_hosts=random", "host=a,b port=1,2 "),
        ("host=a,b&port=1", "host=a,b port=1 "),
        ("service=tracker&passfile=/etc/pgpass&require_auth=!password,!md5", "service=tracker "),
        ("connect_timeout=10&keepalives=0&tcp_user_timeout=5&application_name=x", ""),
        ("ssl_min_protocol_version=tlsv1.3&channel_binding=require&sslnegotiation=direct&sslmode=require", ""),
        ("requiressl=1&sslsni=0&gssencmode=disable&client_encoding=auto&replication=off", ""),
        ("min_protocol_version=3.0&max_protocol_version=latest&oauth_client_secret=hunter2", ""),
    ] {
        let url = DatabaseUrl::parse(&format!("postgres://db/tracker?{parameters}"));
        assert_eq!(url.map(|url| url.to_string()).ok().as_deref(), Some("postgres://db/tracker"), "{parameters}");
        let text = format!("{} dbname=tracker", parameters.replace('&', " "));
        let shown = DatabaseUrl::parse(&text).map(|url| url.to_string());
        assert_eq!(shown.ok(), Some(format!("postgres:{location}dbname=tracker")), "{text}");
    }
    assert!(DatabaseUrl::parse("postgres://db/tracker?ssl=true").is_ok());
    assert!(DatabaseUrl::parse("postgres://db/tracker?options=-csearch_path%3Dpublic%20-cx%3Dy").is_ok());
    for text in [
        "host=db dbname=tracker",
        "host = db\n\tdbname= 'my tracker'",
        r"host=db password='it\'s \\ a b' options='-c search_path=public'",
        r"password=a\ b\'c dbname=x",
        "host=::1 dbname=x",
        "user='a'dbname=x",
    ] {
        assert_eq!(DatabaseUrl::parse(text).ok(), Some(DatabaseUrl::Postgres(text.to_owned())), "{text}");
    }
}

#[test]
fn an_error_in_a_parameter_never_shows_a_password() {
    for url in [
        "host=db password=my hunter2",
        "host=db password=my hunter2=x",
        "host=db password='my hunter2",
        "host=db password='it's hunter2'",
        "password=hunter2;host=db schema=x",
        "host=db,password=hunter2",
        "dbname=x;password=hunter2",
        "host=db sslmode=hunter2",
        "host=db oauth_client_secret=a hunter2=b",
        "hunter2 password=x",
        "postgres://me@db/x?password=a&hunter2=b",
        "postgres://me@db/x?password=a&hunter2",
        "postgres://me@db/x?password=a=hunter2",
        "postgres://me@db/x?sslpassword=hunter2&schema=x",
        "postgres://me:hunter2@db/x?schema=x",
        "mysql://me:hunter2@db/x?schema=x",
        "mysql://me@db/x?password=a&hunter2=x",
    ] {
        let error = refusal(url);
        assert!(!error.contains("hunter2"), "{url}: {error}");
    }
}

#[test]
fn a_url_of_mysql_that_could_not_connect_is_refused() {
    for (url, problem) in [
        ("mysql://db", "lacks the database name"),
        ("mysql://db?ssl_ca=/x", "lacks the database name"),
        ("mysql://db/a/b", "cannot contain `/`"),
        ("mysql://db/a%20b", "`%`"),
        ("mysql://a,b/x", "one host"),
        ("mysql://[::x]/x", "one host"),
        ("mysql://%2Frun%2Fmysqld/x", "unix_socket=PATH"),
        ("mysql://me:%FF@db/x", "UTF-8"),
        ("mysql://db/x?charset=utf8mb4", "`charset` is not a parameter of MySQL URLs"),
        ("mysql://db/x?sslmode=required", "use one of unix_socket, ssl_mode, ssl_ca, ssl_cert, ssl_key"),
        ("mysql://db/x?database=y", "`database` is not"),
        ("mysql://db/x?ssl_ca", "`ssl_ca` needs a value"),
        ("mysql://db/x?ssl_ca=a&ssl_ca=b", "`ssl_ca` is given twice"),
        ("mariadb://db/x?SSL_CA=a", "`SSL_CA` is not"),
    ] {
        let error = refusal(url);
        assert!(error.contains(problem), "{url}: {error}");
    }
    let accepted = "mysql://me:p%40@[::1]:3306/x?unix_socket=/run/mysqld.sock&ssl_cert=/c&ssl_key=/k";
    assert!(mysql::check(accepted).is_ok());
}
