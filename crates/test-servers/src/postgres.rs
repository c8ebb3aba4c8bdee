//! A PostgreSQL cluster.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::leash::{self, Leash};
use crate::{Certificates, Database, eventually, free_port, signal};

/// Who runs the server when we are root, whom it refuses.
const USER: &str = "postgres";

/// A PostgreSQL cluster with one user, `postgres`.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    folder: PathBuf,
    leash: Option<Leash>,
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
        let folder = leash::folder(USER);
        // Not the order of bytes, as in most clusters: the service has to ask for that.
        let locale = ["--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US"];
        let mut initdb = leash::as_user(USER, Command::new(binary("initdb")));
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--pgdata"]).arg(folder.join("data"));
        leash::run(initdb.args(locale)).expect("a cluster");
        Self { port: free_port(), folder, leash: None }
    }

    /// Takes nothing but TLS from the next start on, as `localhost`.
    pub fn encrypt(&self, certificates: &Certificates) {
        let data = self.folder.join("data");
        for name in ["server.pem", "server.key"] {
            leash::give(USER, &certificates.path(name), &data.join(name));
        }
        let settings = "\nssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n";
        let mut configuration = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).expect("a file");
        configuration.write_all(settings.as_bytes()).expect("settings");
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").expect("a file");
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

    fn signal_all(&self, name: &str) {
        let lines = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("it runs");
        let server = lines.lines().next().and_then(|line| line.parse().ok()).expect("a process id");
        // First: it has no new children while it stands still.
        signal(server, name);
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("it runs");
        // One that has ended meanwhile does not matter.
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} {children}")]).stderr(Stdio::null()).status();
    }

    fn psql_with(&self, database: &str, arguments: &[&str]) -> Result<String, String> {
        let mut psql = Command::new(binary("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        psql.args(["-p", &self.port.to_string(), "-d", database]).args(arguments);
        leash::run(&mut psql)
    }
}

impl Database for Postgres {
    fn start(&mut self) {
        assert!(self.leash.is_none(), "it runs");
        let mut server = Command::new(binary("postgres"));
        server.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        server.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]);
        self.leash = Some(Leash::start(USER, &self.folder, "QUIT", &server));
        eventually("PostgreSQL answers", || self.psql("postgres", "select 1").ok());
    }

    fn stop(&mut self) {
        self.thaw();
        self.leash.take().expect("it runs").stop();
    }

    fn freeze(&self) {
        self.signal_all("STOP");
    }

    fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres:a-password@127.0.0.1:{}/{database}", self.port)
    }

    fn home(&self) -> &'static str {
        "postgres"
    }

    fn query(&self, database: &str, statement: &str) -> Result<String, String> {
        self.psql(database, statement)
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

/// A program of the newest PostgreSQL that is installed.
fn binary(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let path = newest.map(|entry| entry.path().join("bin").join(program)).filter(|path| path.exists());
    path.expect("PostgreSQL is needed: install Debian's package `postgresql`")
}
