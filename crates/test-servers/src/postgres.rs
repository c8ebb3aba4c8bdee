//! A PostgreSQL cluster.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{eventually, free_port, signal};

/// Runs the server until a line or the end of its input comes; the end, that is when the test process is gone, takes
/// the folder along.
const LEASH: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
read -r line || gone=yes
kill -QUIT $!
wait $!
[ -z "${gone:-}" ] || rm -rf "$folder"
"#;

/// A PostgreSQL cluster with one user, `postgres`.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    folder: PathBuf,
    leash: Option<Child>,
}

impl Postgres {
    /// The one that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(|| {
            let mut postgres = Postgres::absent();
            postgres.start();
            postgres
        });
        &SHARED
    }

    /// A cluster that was not started yet: nobody listens on its port.
    pub fn absent() -> Self {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir().expect("a folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("the folder's mode");
        if let Some((uid, gid)) = other_user() {
            chown(&folder, Some(uid), Some(gid)).expect("the folder's owner");
        }
        // Not the order of bytes, as in most clusters: the service has to ask for that.
        let locale = ["--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US"];
        let mut initdb = command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--pgdata"]).arg(folder.join("data"));
        run(initdb.args(locale));
        Self { port: free_port(), folder, leash: None }
    }

    /// Starts it, for the first time or again.
    pub fn start(&mut self) {
        assert!(self.leash.is_none(), "it runs");
        let mut leash = as_user(Command::new("sh"));
        leash.args(["-c", LEASH, "leash"]).arg(&self.folder).arg(binary("postgres"));
        leash.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        leash.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]);
        self.leash = Some(leash.stdin(Stdio::piped()).spawn().expect("a shell"));
        eventually("PostgreSQL answers", || self.psql("postgres", "select 1").ok());
    }

    /// Stops it at once, as a crash would.
    pub fn stop(&mut self) {
        self.thaw();
        let mut leash = self.leash.take().expect("it runs");
        leash.stdin.take().expect("a pipe").write_all(b"stop\n").expect("it runs");
        leash.wait().expect("its end");
    }

    /// Stops every process of it from going on; the connections stay.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on after [`Postgres::freeze`].
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let lines = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("it runs");
        let server = lines.lines().next().and_then(|line| line.parse().ok()).expect("a process id");
        // First: it has no new children while it stands still.
        signal(server, name);
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("it runs");
        // One that has ended meanwhile does not matter.
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} {children}")]).stderr(Stdio::null()).status();
    }

    /// The URL of a new database.
    pub fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("create database {name}")).expect("a new database");
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:a-password@127.0.0.1:{}/{database}", self.port)
    }

    /// What `psql` prints for a statement, unaligned.
    ///
    /// # Errors
    /// What it says when the statement fails.
    pub fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        self.psql_with(database, &["-c", statement])
    }

    /// Runs a file of statements.
    pub fn load(&self, database: &str, file: &Path) {
        self.psql_with(database, &["-f", file.to_str().expect("UTF-8")]).expect("the file loads");
    }

    fn psql_with(&self, database: &str, arguments: &[&str]) -> Result<String, String> {
        let mut psql = Command::new(binary("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        psql.args(["-p", &self.port.to_string(), "-d", database]).args(arguments);
        let output = psql.output().expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.leash.is_some() {
            self.stop();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Who runs the server when we are root, whom it refuses.
fn other_user() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").expect("our own process").uid() == 0;
    let postgres = || {
        let users = fs::read_to_string("/etc/passwd").expect("the users");
        let user = users.lines().find(|line| line.starts_with("postgres:")).map(|line| line.split(':'));
        let mut ids = user.expect("a user `postgres`, as Debian's package makes it").skip(2).map(str::parse);
        match (ids.next(), ids.next()) {
            (Some(Ok(uid)), Some(Ok(gid))) => (uid, gid),
            _ => panic!("the user `postgres` has no ids"),
        }
    };
    root.then(postgres)
}

fn as_user(mut command: Command) -> Command {
    if let Some((uid, gid)) = other_user() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

fn command(program: &str) -> Command {
    as_user(Command::new(binary(program)))
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program of the newest PostgreSQL that is installed.
fn binary(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let path = newest.map(|entry| entry.path().join("bin").join(program)).filter(|path| path.exists());
    path.expect("PostgreSQL is needed: install Debian's package `postgresql`")
}
