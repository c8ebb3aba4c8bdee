//! The program works as its documentation says.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the program in `folder`. Returns its standard output and its standard error.
fn run(folder: Option<&Path>) -> (String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_embedded"));
    let output = program.args(folder).env_remove("RUST_LOG").output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("the program prints UTF-8")).into()
}

/// The events that an output receives of one run.
const EVENTS: [&str; 4] = ["deployment_started", "server_started", "server_finished", "deployment_finished"];

fn assert_lines(text: &str, expected: &[&str]) {
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line}: expected {expected}");
    }
}

#[test]
fn the_program_prints_the_records_and_what_the_output_received() {
    let (text, errors) = run(None);
    assert_eq!(errors, "");
    let records = ["Success", "web-1: Some(Success)", "copying", "restarting", "in the store: 1"];
    assert_lines(&text, &[&records[..], &EVENTS].concat());
}

#[test]
fn an_outage_is_printed_and_the_next_run_delivers_what_is_pending() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let events = folder.path().join("events.jsonl");
    fs::create_dir(&events).expect("the file does not exist yet");
    let (text, errors) = run(Some(folder.path()));
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(errors.contains("WARN") && errors.contains("cannot write"), "failures are logged: {errors}");
    assert!(errors.ends_with("output `jsonl`: 4 messages are pending; the next run delivers them\n"), "{errors}");

    fs::remove_dir(&events).expect("the folder is empty");
    let (text, errors) = run(Some(folder.path()));
    assert_eq!(errors, "");
    let events: Vec<_> = text.lines().skip(5).collect();
    assert_lines(&events.join("\n"), &[EVENTS, EVENTS].concat());
}

#[test]
fn the_manifest_in_the_documentation_has_the_versions_of_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("the file exists");
    /// The names and versions in lines such as `serde = "1"` and `serde = { version = "1", … }`.
    fn versions(toml: &str) -> impl Iterator<Item = (&str, &str)> {
        toml.lines().filter_map(|line| {
            let (name, value) = line.split_once(" = ")?;
            let value = value.strip_prefix("{ version = ").unwrap_or(value).strip_prefix('"')?;
            Some((name, value.split_once('"')?.0))
        })
    }
    let (page, workspace) = (read("docs/embedding.md"), read("Cargo.toml"));
    let manifest = page.split("```").find(|block| block.contains("name = \"jsonl-output\"")).expect("a manifest");
    let (_, dependencies) = manifest.split_once("[dependencies]").expect("dependencies");
    let (_, workspace) = workspace.split_once("[workspace.dependencies]").expect("dependencies of the workspace");
    assert_eq!(versions(dependencies).count(), 6, "{dependencies}");
    for dependency in versions(dependencies) {
        assert!(versions(workspace).any(|other| other == dependency), "{dependency:?}");
    }
}
