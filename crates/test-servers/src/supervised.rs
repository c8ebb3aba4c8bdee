//! Database servers that run as their own user and end with the test process.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs the server until standard input has a line or ends. Standard input ends when the test process dies; the script
/// then also removes the folder, because the test process no longer can.
const SUPERVISOR: &str = r#"
folder=$1 signal=$2; shift 2
"$@" >"$folder/log" 2>&1 </dev/null &
read -r line || orphaned=yes
exec 2>/dev/null
kill -"$signal" $!
wait $!
[ -z "${orphaned:-}" ] || rm -rf "$folder"
"#;

/// A running database server, under a shell script that ends it when the test process ends.
#[derive(Debug)]
pub struct SupervisedProcess(Child);

impl SupervisedProcess {
    /// Runs `server` as `user`; its output goes to `folder/log`. `signal` ends the server and its children at once.
    pub fn start(user: &str, folder: &Path, signal: &str, server: &Command) -> Self {
        let mut supervisor = as_user(user, Command::new("sh"));
        supervisor.args(["-c", SUPERVISOR, "supervisor"]).arg(folder).arg(signal);
        supervisor.arg(server.get_program()).args(server.get_args());
        Self(supervisor.stdin(Stdio::piped()).spawn().expect("`sh` is installed"))
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(mut self) {
        self.0.stdin.take().expect("standard input is a pipe").write_all(b"stop\n").expect("the supervisor reads it");
        self.0.wait().expect("the supervisor is our child");
    }
}

/// Creates a temporary folder that only `user` can enter.
pub fn private_folder(user: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(&format!("{user}-")).tempdir().expect("temporary folder").keep();
    make_private(user, &folder, 0o700);
    folder
}

/// Copies `file` to `target`, which only `user` can read.
pub fn copy_for_user(user: &str, file: &Path, target: &Path) {
    fs::copy(file, target).expect("the folder is writable");
    make_private(user, target, 0o600);
}

fn make_private(user: &str, path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("we own it");
    if let Some((uid, gid)) = ids_to_switch_to(user) {
        chown(path, Some(uid), Some(gid)).expect("root may change the owner");
    }
}

/// Lets `command` run as `user` if we are root: database servers refuse to run as root.
pub fn as_user(user: &str, mut command: Command) -> Command {
    if let Some((uid, gid)) = ids_to_switch_to(user) {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

/// The user and group id of `name` if we are root; otherwise everything runs as the present user.
fn ids_to_switch_to(name: &str) -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self").expect("`/proc` is mounted").uid() == 0;
    let ids = || {
        let users = fs::read_to_string("/etc/passwd").expect("`/etc/passwd` is readable");
        let line = users.lines().find(|line| line.split(':').next() == Some(name));
        let line =
            line.unwrap_or_else(|| panic!("no user `{name}`; install the server's Debian package, which adds it"));
        let mut ids = line.split(':').skip(2).map(str::parse);
        match (ids.next(), ids.next()) {
            (Some(Ok(uid)), Some(Ok(gid))) => (uid, gid),
            _ => panic!("no ids of user `{name}` in `/etc/passwd`"),
        }
    };
    is_root.then(ids)
}

/// Runs `command` to its end and returns its trimmed standard output.
///
/// # Errors
/// The trimmed standard error, if the command fails.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
