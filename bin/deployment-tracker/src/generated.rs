//! Generated files in the repository: the configuration reference, the sample configuration, man pages and shell
//! completions. These tests check that they are up to date.

mod sample;

use std::path::Path;
use std::process::Command;

use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use crate::arguments::Arguments;
use crate::config::keys::Keys;
use crate::stores::Stores;
use crate::{reference, sections};

/// Checks that `file`, a path relative to the repository, contains `text`. With `UPDATE=1`, writes it instead.
fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{file}: {error}"));
        return;
    }
    let current = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = current.lines().zip(text.lines()).position(|(current, expected)| current != expected);
    let line = line.unwrap_or_else(|| current.lines().count().min(text.lines().count())) + 1;
    let update = "run `UPDATE=1 cargo test -p deployment-tracker --lib generated`";
    assert!(current == text, "{file} is out of date from line {line}: {update}, and review the changes");
}

const NAME: &str = "deployment-tracker";

fn keys() -> Keys {
    Keys::of_server(sections::built_in(), Stores::built_in())
}

fn command() -> clap::Command {
    Arguments::command_of(NAME, env!("CARGO_PKG_VERSION"))
}

#[test]
#[cfg_attr(feature = "nats", ignore = "the file describes the default build")]
fn the_configuration_reference_is_up_to_date() {
    check("docs/configuration.md", &reference::page(NAME, &keys()));
}

#[test]
fn every_key_is_documented_and_has_a_default_or_an_example() {
    for key in keys().all {
        assert!(key.paragraphs().next().is_some(), "`{}`: add a doc comment", key.path);
        assert!(key.is_section() || key.example().is_some(), "`{}`: add `#[schemars(example = …)]`", key.path);
        assert!(key.choices().all(|(_, text)| !text.is_empty()), "`{}`: add a doc comment to each value", key.path);
    }
}

#[test]
fn a_key_that_looks_like_a_secret_is_redacted() {
    // The name of a list, and paths of files.
    const NO_SECRETS: [&str; 5] =
        ["redis.key", "redis.tls.key", "nats.tls.key", "tls.key", "auth.tokens[].secret_file"];
    for key in keys().all.iter().filter(|key| key.is("string") && !NO_SECRETS.contains(&key.path.as_str())) {
        let name = key.path.rsplit('.').next().expect("rsplit yields at least one part");
        let words = ["key", "seed", "creds", "jwt", "password", "secret", "token"];
        if name.split('_').any(|word| words.contains(&word)) {
            let mut config = json!("hunter2");
            for part in key.path.rsplit('.') {
                let name = part.trim_end_matches("[]");
                config = if part == name { json!({ name: config }) } else { json!({ name: [config] }) };
            }
            let shown = keys().redact(&config).to_string();
            assert!(!shown.contains("hunter2"), "`{}`: mark it with `writeOnly`", key.path);
        }
    }
}

#[test]
#[cfg_attr(feature = "nats", ignore = "the file describes the default build")]
fn the_sample_configuration_is_up_to_date() {
    check("packaging/config.toml", &sample::file(&keys()));
}

#[test]
fn the_man_pages_are_up_to_date() {
    fn check_page(command: &clap::Command) {
        let page = Man::new(command.clone()).source(concat!("deployment-tracker ", env!("CARGO_PKG_VERSION")));
        let mut text = Vec::new();
        page.render(&mut text).expect("writing to memory cannot fail");
        check(&format!("packaging/man/{}", page.get_filename()), str::from_utf8(&text).expect("UTF-8"));
        command.get_subcommands().for_each(check_page);
    }
    // The `help` subcommand has no man page, so no page should refer to one.
    let mut command = command().disable_help_subcommand(true);
    command.build();
    check_page(&command);
}

#[test]
fn the_shell_completions_are_up_to_date() {
    for (shell, file) in [
        (Shell::Bash, "deployment-tracker.bash"),
        (Shell::Zsh, "_deployment-tracker"),
        (Shell::Fish, "deployment-tracker.fish"),
    ] {
        check(&format!("packaging/completions/{file}"), &completions(shell));
    }
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut text);
    // For bash, clap_complete 4.6 spells the hyphen of the name inconsistently, so bash would find no subcommand.
    String::from_utf8(text).expect("UTF-8").replace("deployment__subcmd__tracker", "deployment__tracker")
}

#[test]
fn bash_completes_subcommands_and_their_options() {
    // Calls the completion function as bash does: with the command, the current word and the previous word.
    const COMPLETE: &str = r#"
        eval "$1" && shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _deployment__tracker "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = completions(Shell::Bash);
    for (words, expected) in [
        (&["token", ""][..], "new"),
        (&["token", "new", "--s"], "--scope"),
        (&["help", ""], "token"),
        (&["help", "token", ""], "new"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["-c", COMPLETE, "bash"]).arg(&script).arg("deployment-tracker").args(words);
        let output = bash.output().expect("bash runs; install it if it is missing");
        let (offered, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(offered.lines().any(|word| word == expected), "{words:?}: {offered}{errors}");
    }
}
