use serde_json::json;
use tracker_core::MemoryStore;

use super::*;
use crate::config::keys::Keys;
use crate::sections;

/// Adds a store with `schemes`. Each URL is an error that quotes it, except for one that ends in `ok`.
fn add(stores: &mut Stores, schemes: &'static [&'static str]) {
    stores.push(Kind {
        schemes,
        origin: Origin::Own,
        location: |url| if url.ends_with("ok") { Ok(url.to_owned()) } else { Err(format!("bad {url}").into()) },
        open: |_, _| Ok(Arc::new(MemoryStore::new())),
    });
}

fn choose(url: &str) -> Result<String, String> {
    let mut stores = Stores::built_in();
    add(&mut stores, &["vault", "x-vault+1"]);
    let known = Keys::of_server(sections::built_in(), stores);
    let config = json!({ "database": { "url": url } });
    let secrets = Secrets::of(&known, [&config, &json!({})]);
    known.stores.choose(url, &secrets).map(|chosen| chosen.location).map_err(|error| error.to_string())
}

#[test]
fn the_scheme_of_a_url_chooses_the_store() {
    for (url, location) in [
        ("data.sqlite3", "sqlite:data.sqlite3"),
        ("sqlite:vault", "sqlite:vault"),
        ("./vault:x", "sqlite:./vault:x"),
        ("postgres://me:hunter2@db/x", "postgres://db/x"),
        ("host=db dbname=x password=hunter2", "postgres:host=db dbname=x"),
        ("vault:ok", "vault:ok"),
        ("vault://s.hunter2@h/a@ok", "vault://[REDACTED]@h/a@ok"),
        ("x-vault+1://me:hunter2@h/ok", "x-vault+1://[REDACTED]@h/ok"),
    ] {
        assert_eq!(choose(url).as_deref(), Ok(location), "{url}");
    }
    let mysql = if cfg!(feature = "mysql") { " mysql, mariadb," } else { "" };
    let schemes = format!("; the schemes of this build are sqlite, postgres, postgresql,{mysql} vault, x-vault+1");
    for (url, problem, is_listed) in [
        ("oracle://me:hunter2@h", "`oracle:` is not a supported scheme", true),
        ("Vault:ok", "`Vault:` is not a supported scheme", true),
        ("vault://me:hunter2@h", "bad vault://[REDACTED]@h", false),
        ("hunter2@x:1", "give a path such as", false),
    ] {
        let error = choose(url).expect_err("refused");
        assert!(error.starts_with("configuration: `database.url`: ") && error.contains(problem), "{url}: {error}");
        assert_eq!(error.ends_with(&schemes), is_listed, "{url}: {error}");
        assert!(!error.contains("hunter2"), "{url}: {error}");
    }
    #[cfg(not(feature = "mysql"))]
    for url in ["mysql://me:hunter2@h/x", "mariadb://me:hunter2@h/x"] {
        let expected = "configuration: `database.url`: this build does not support mysql; build with the cargo feature \
                        `mysql`";
        assert_eq!(choose(url), Err(expected.to_owned()));
    }
}

#[test]
fn the_configuration_shows_no_user_information_of_a_store_of_the_program() {
    let mut stores = Stores::built_in();
    add(&mut stores, &["vault"]);
    let known = Keys::of_server(sections::built_in(), stores);
    for (url, shown) in [
        ("vault://s.hunter2@h/x", "vault://[REDACTED]@h/x"),
        ("vault://a@b@h?x=@", "vault://[REDACTED]@h?x=@"),
        ("vault://h/a@b", "vault://h/a@b"),
        ("vault:x", "vault:x"),
        ("postgres://me@h/x", "postgres://me@h/x"),
    ] {
        let config = json!({ "database": { "url": url } });
        assert_eq!(known.redact(&config)["database"]["url"], shown);
    }
}

#[test]
#[should_panic(expected = "the scheme `mysql` belongs to another store")]
fn a_store_cannot_have_the_scheme_of_a_built_in_one() {
    add(&mut Stores::built_in(), &["vault", "mysql"]);
}

#[test]
#[should_panic(expected = "the scheme `twice` belongs to another store")]
fn a_scheme_is_registered_once() {
    add(&mut Stores::built_in(), &["twice", "twice"]);
}

#[test]
#[should_panic(expected = "the scheme `Vault` must be lower-case letters")]
fn a_scheme_is_in_lower_case() {
    add(&mut Stores::built_in(), &["Vault"]);
}

#[test]
#[should_panic(expected = "a store needs a scheme")]
fn a_store_has_a_scheme() {
    add(&mut Stores::built_in(), &[]);
}

#[test]
#[should_panic(expected = "the scheme `memory` belongs to another store")]
fn a_store_is_added_once() {
    let mut stores = Stores::built_in();
    stores.add::<MemoryStore>();
    assert_eq!(stores.own_schemes(), ["memory"]);
    stores.add::<MemoryStore>();
}
