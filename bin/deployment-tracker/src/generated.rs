//! Generated files in the repository: the configuration reference, the sample configuration, man pages and shell
//! completions. These tests check that they are up to date.

mod reference;
mod sample;

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::Value;

use crate::Arguments;
use crate::config::Config;
use crate::config::keys::{Key, Keys};

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
    let update = "run `UPDATE=1 cargo test -p deployment-tracker --bins generated`";
    assert!(current == text, "{file} is out of date from line {line}: {update}, and review the changes");
}

#[test]
fn the_configuration_reference_is_up_to_date() {
    check("docs/configuration.md", &reference::page(&Keys::of::<Config>()));
}

#[test]
fn the_sample_configuration_is_up_to_date() {
    check("packaging/config.toml", &sample::file(&Keys::of::<Config>()));
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
    let mut command = Arguments::command().disable_help_subcommand(true);
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
    clap_complete::generate(shell, &mut Arguments::command(), "deployment-tracker", &mut text);
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

impl Key {
    fn get(&self, name: &str) -> &str {
        self.schema.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The paragraphs of the description, each as one line.
    fn paragraphs(&self) -> impl Iterator<Item = String> {
        let text = self.get("description");
        assert!(!text.is_empty(), "`{}` is not documented", self.path);
        text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "))
    }

    /// The default, unless it is null.
    fn default(&self) -> Option<&Value> {
        self.schema.get("default").filter(|default| !default.is_null())
    }

    /// The default, or else the example of the field.
    fn example(&self) -> &Value {
        let example = self.schema.get("examples").and_then(|examples| examples.get(0));
        self.default().or(example).unwrap_or_else(|| {
            panic!("`{}` has no default: add an example to its field with `#[schemars(example = …)]`", self.path)
        })
    }

    /// The values of an enum, with their descriptions.
    fn choices(&self) -> impl Iterator<Item = (&str, String)> {
        let choices = self.schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        choices.map(|choice| {
            let name = choice["const"].as_str().expect("each choice is a string");
            (name, choice["description"].as_str().expect("each choice is documented").replace('\n', " "))
        })
    }

    /// Whether this is a list.
    fn is_list(&self) -> bool {
        self.items().is_some()
    }

    /// The type and range in plain words.
    fn kind(&self) -> String {
        let names: Vec<_> = self.choices().map(|(name, _)| format!("`{name}`")).collect();
        match self.range() {
            _ if !names.is_empty() => format!("one of {}", names.join(", ")),
            Some(range) if *range.end() == u64::MAX => format!("an integer, at least {}", grouped(*range.start())),
            Some(range) => format!("an integer from {} to {}", grouped(*range.start()), grouped(*range.end())),
            None if self.is("string") => "a string".into(),
            None if self.is("boolean") => "`true` or `false`".into(),
            None if self.is_section() && self.is_list() => "a list of sections".into(),
            None if self.is_list() => format!("a list, each item {}", self.items().expect("a list has items").kind()),
            None if self.is("object") => "a section with arbitrary keys".into(),
            None => panic!("`{}`: unsupported type: {:?}", self.path, self.schema),
        }
    }
}

/// `number` with a comma after each group of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits are ASCII")).collect();
    groups.join(",")
}

/// `text` wrapped to lines of at most 100 characters, each with `prefix`.
fn wrapped(prefix: &str, text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines.iter().map(|line| format!("{prefix}{line}\n")).collect()
}
