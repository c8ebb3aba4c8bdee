//! The program works as its documentation says.

use std::process::Command;

#[test]
fn the_program_prints_the_record_and_what_the_output_received() {
    let output = Command::new(env!("CARGO_BIN_EXE_embedded")).output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, expected) in lines.iter().zip(["Success", "deployment_started", "deployment_finished"]) {
        assert!(line.contains(expected), "{line}");
    }
}
