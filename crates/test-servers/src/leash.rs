//! Database servers of an own user, which go when the test goes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs the server until a line or the end of its input comes; the end, that is when the test process is gone, takes
/// the folder along.
const LEASH: &str = r#"
folder=$1 signal=$2; shift 2
"$@" >"$folder/log" 2>&1 </dev/null &
read -r line || gone=yes
exec 2>/dev/null
kill -"$signal" $!
wait $!
[ -z "${gone:-}" ] || rm -rf "$folder"
"#;

/// A server that runs.
#[derive(Debug)]
pub struct Leash(Child);

impl Leash {
    /// Runs `server`, which writes to `folder/log`; `signal` is what ends it at once, with its children.
    pub fn start(user: &str, folder: &Path, signal: &str, server: &Command) -> Self {
        let mut leash = as_user(user, Command::new("sh"));
        leash.args(["-c", LEASH, "leash"]).arg(folder).arg(signal).arg(server.get_program()).args(server.get_args());
        Self(leash.stdin(Stdio::piped()).spawn().expect("a shell"))
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(mut self) {
        self.0.stdin.take().expect("a pipe").write_all(b"stop\n").expect("it runs");
        self.0.wait().expect("its end");
    }
}

/// A new folder for the server of `user` alone.
pub fn folder(user: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(&format!("{user}-")).tempdir().expect("a folder").keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("the folder's mode");
    if let Some((uid, gid)) = other_user(user) {
        chown(&folder, Some(uid), Some(gid)).expect("the folder's owner");
    }
    folder
}

/// A copy of `file`, at `place`, that only `user` can read.
pub fn give(user: &str, file: &Path, place: &Path) {
    fs::copy(file, place).expect("a copy");
    fs::set_permissions(place, fs::Permissions::from_mode(0o600)).expect("the copy's mode");
    if let Some((uid, gid)) = other_user(user) {
        chown(place, Some(uid), Some(gid)).expect("the copy's owner");
    }
}

/// `command` as `user`, when we are root: no database server wants to run as root.
pub fn as_user(user: &str, mut command: Command) -> Command {
    if let Some((uid, gid)) = other_user(user) {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

fn other_user(name: &str) -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").expect("our own process").uid() == 0;
    let user = || {
        let users = fs::read_to_string("/etc/passwd").expect("the users");
        let line = users.lines().find(|line| line.split(':').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("a user `{name}` is needed, as Debian's package makes it"));
        let mut ids = line.split(':').skip(2).map(str::parse);
        match (ids.next(), ids.next()) {
            (Some(Ok(uid)), Some(Ok(gid))) => (uid, gid),
            _ => panic!("the user `{name}` has no ids"),
        }
    };
    root.then(user)
}

/// Runs a command to its end; what it printed.
///
/// # Errors
/// What it says when it fails.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
