//! A PostgreSQL server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::supervised::{self, SupervisedProcess};
use crate::{Certificates, Database, eventually, free_port, signal};

/// The user that runs the server if we are root, because the server refuses to run as root.
const USER: &str = "postgres";

/// A PostgreSQL server with one user, `postgres`.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    folder: PathBuf,
    process: Option<SupervisedProcess>,
}

impl Postgres {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(|| {
            let mut postgres = Postgres::absent();
            postgres.start();
            postgres
        });
        &SHARED
    }

    /// A server that is initialized but not started: its port refuses connections.
    pub fn absent() -> Self {
        let folder = supervised::private_folder(USER);
        // Not bytewise order, as on most servers: the service must not rely on the server's collation.
        let locale = ["--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US"];
        let mut initdb = supervised::as_user(USER, Command::new(binary("initdb")));
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--pgdata"]).arg(folder.join("data"));
        supervised::run(initdb.args(locale)).expect("initdb succeeds");
        Self { port: free_port(), folder, process: None }
    }

    /// Accepts only TLS connections, with the certificate of `localhost`, from the next start on.
    pub fn encrypt(&self, certificates: &Certificates) {
        let data = self.folder.join("data");
        for name in ["server.pem", "server.key"] {
            supervised::copy_for_user(USER, &certificates.path(name), &data.join(name));
        }
        let settings = "\nssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n";
        let mut configuration =
            fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).expect("initdb wrote it");
        configuration.write_all(settings.as_bytes()).expect("the file is writable");
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").expect("the folder is writable");
    }

    /// Runs `statement` with `psql` and returns the unaligned output.
    ///
    /// # Errors
    /// The message of `psql`, if the statement fails.
    pub fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        self.psql_with(database, &["-c", statement])
    }

    /// Runs a file of statements.
    pub fn load(&self, database: &str, file: &Path) {
        self.psql_with(database, &["-f", file.to_str().expect("the path is UTF-8")]).expect("the statements succeed");
    }

    fn signal_all(&self, name: &str) {
        let lines = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("the server runs");
        let server = lines.lines().next().and_then(|line| line.parse().ok()).expect("the first line is a process id");
        // The server process first: while it is suspended it starts no children that we would miss.
        signal(server, name);
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("the server runs");
        // `kill` fails if a child has ended in the meantime, which does not matter.
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} {children}")]).stderr(Stdio::null()).status();
    }

    fn psql_with(&self, database: &str, arguments: &[&str]) -> Result<String, String> {
        let mut psql = Command::new(binary("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        psql.args(["-p", &self.port.to_string(), "-d", database]).args(arguments);
        supervised::run(&mut psql)
    }
}

impl Database for Postgres {
    fn start(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let mut server = Command::new(binary("postgres"));
        server.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        server.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]);
        self.process = Some(SupervisedProcess::start(USER, &self.folder, "QUIT", &server));
        eventually("PostgreSQL answers", || self.psql("postgres", "select 1").ok());
    }

    fn stop(&mut self) {
        self.thaw();
        self.process.take().expect("the server runs").stop();
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

    fn default_database(&self) -> &'static str {
        "postgres"
    }

    fn query(&self, database: &str, statement: &str) -> Result<String, String> {
        self.psql(database, statement)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The path of a program of the newest installed PostgreSQL.
fn binary(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let path = newest.map(|entry| entry.path().join("bin").join(program)).filter(|path| path.exists());
    path.expect("PostgreSQL is missing; install the Debian package `postgresql`")
}
