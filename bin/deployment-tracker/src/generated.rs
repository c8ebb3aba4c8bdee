//! The files in the repository that the code says: the reference of the configuration, the file that explains it, manual
//! pages, and what shells complete.

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

/// Holds `file`, a path from the root of the repository, against `text`; with `UPDATE=1` it is written.
fn hold(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{file}: {error}"));
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = there.lines().zip(text.lines()).position(|(there, wanted)| there != wanted);
    let line = line.unwrap_or_else(|| there.lines().count().min(text.lines().count())) + 1;
    let again = "run `UPDATE=1 cargo test -p deployment-tracker --bins generated`";
    assert!(
        there == text,
        "{file} is not what the code says, from line {line} on: {again}, and look at what it changed"
    );
}

#[test]
fn the_reference_of_the_configuration_is_what_the_code_says() {
    hold("docs/configuration.md", &reference::page(&Keys::of::<Config>()));
}

#[test]
fn the_sample_configuration_is_what_the_code_says() {
    hold("packaging/config.toml", &sample::file(&Keys::of::<Config>()));
}

#[test]
fn the_manual_pages_are_what_the_arguments_say() {
    fn hold_page(command: &clap::Command) {
        let page = Man::new(command.clone()).source(concat!("deployment-tracker ", env!("CARGO_PKG_VERSION")));
        let mut text = Vec::new();
        page.render(&mut text).expect("a page");
        hold(&format!("packaging/man/{}", page.get_filename()), str::from_utf8(&text).expect("UTF-8"));
        command.get_subcommands().for_each(hold_page);
    }
    // There is no page about `help`, and so none names one.
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    hold_page(&command);
}

#[test]
fn what_shells_complete_is_what_the_arguments_say() {
    for (shell, file) in [
        (Shell::Bash, "deployment-tracker.bash"),
        (Shell::Zsh, "_deployment-tracker"),
        (Shell::Fish, "deployment-tracker.fish"),
    ] {
        hold(&format!("packaging/completions/{file}"), &completions(shell));
    }
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "deployment-tracker", &mut text);
    // clap_complete 4.6 writes the hyphen of the name in two ways for bash, so that no subcommand is found.
    String::from_utf8(text).expect("UTF-8").replace("deployment__subcmd__tracker", "deployment__tracker")
}

#[test]
fn bash_completes_what_stands_behind_a_subcommand() {
    // What bash does at the tab: the words so far, then the command, the word that is begun and the one before it.
    const COMPLETE: &str = r#"
        eval "$1" && shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _deployment__tracker "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = completions(Shell::Bash);
    for (words, offered) in [
        (&["token", ""][..], "new"),
        (&["token", "new", "--s"], "--scope"),
        (&["help", ""], "token"),
        (&["help", "token", ""], "new"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["-c", COMPLETE, "bash"]).arg(&script).arg("deployment-tracker").args(words);
        let output = bash.output().expect("bash is needed");
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.lines().any(|word| word == offered), "{words:?}: {said}{wrong}");
    }
}

impl Key {
    fn get(&self, name: &str) -> &str {
        self.schema.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What it is, in paragraphs of one line.
    fn paragraphs(&self) -> impl Iterator<Item = String> {
        let text = self.get("description");
        assert!(!text.is_empty(), "`{}` is not documented", self.path);
        text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "))
    }

    /// Its value where it is left out, if that is one.
    fn default(&self) -> Option<&Value> {
        self.schema.get("default").filter(|default| !default.is_null())
    }

    /// A value that it may have.
    fn example(&self) -> &Value {
        let example = self.schema.get("examples").and_then(|examples| examples.get(0));
        self.default().or(example).unwrap_or_else(|| {
            panic!("`{}` has no default: give its field an example, `#[schemars(example = …)]`", self.path)
        })
    }

    /// The values that it may have, if they are few, and what they are.
    fn choices(&self) -> impl Iterator<Item = (&str, String)> {
        let choices = self.schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        choices.map(|choice| {
            let name = choice["const"].as_str().expect("a text");
            (name, choice["description"].as_str().expect("each choice is documented").replace('\n', " "))
        })
    }

    /// Whether it is the list of sections, rather than a section.
    fn is_list(&self) -> bool {
        self.items().is_some()
    }

    /// Its type and range, in words.
    fn kind(&self) -> String {
        let names: Vec<_> = self.choices().map(|(name, _)| format!("`{name}`")).collect();
        match self.range() {
            _ if !names.is_empty() => format!("one of {}", names.join(", ")),
            Some(range) if *range.end() == u64::MAX => format!("a whole number, at least {}", grouped(*range.start())),
            Some(range) => format!("a whole number from {} to {}", grouped(*range.start()), grouped(*range.end())),
            None if self.is("string") => "a text".into(),
            None if self.is("boolean") => "`true` or `false`".into(),
            None if self.is_section() && self.is_list() => "a list of sections".into(),
            None if self.is_list() => format!("a list, each {}", self.items().expect("a list").kind()),
            None if self.is("object") => "a section that takes any key".into(),
            None => panic!("`{}`: there are no words for its type: {:?}", self.path, self.schema),
        }
    }
}

/// `number` with a comma after each group of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

/// `text` in lines of at most 100 characters, each after `start`.
fn wrapped(start: &str, text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines.iter().map(|line| format!("{start}{line}\n")).collect()
}
