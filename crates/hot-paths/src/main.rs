//! Runs a hot path a number of times: `hot-paths start 1000`.

use std::process::ExitCode;

use hot_paths::{Path, output, write};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let paths = Path::all();
    let path = arguments.get(1).and_then(|name| paths.iter().find(|path| path.name == name));
    let times = arguments.get(2).and_then(|times| times.parse::<u32>().ok());
    let (Some(path), Some(times)) = (path, times) else {
        eprintln!("usage: hot-paths {} TIMES", paths.map(|path| path.name).join("|"));
        return ExitCode::from(2);
    };
    let output = output();
    let bytes: usize = (0..times).map(|_| write(&output, path.read())).sum();
    println!("{bytes} bytes");
    ExitCode::SUCCESS
}
