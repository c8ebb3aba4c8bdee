//! A MariaDB server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::supervised::{self, SupervisedProcess};
use crate::{Database, eventually, free_port, signal};

/// The user that runs the server if we are root, because the server refuses to run as root.
const USER: &str = "mysql";

/// Creates the user of the service, who has no rights outside databases named `test…`.
const USERS: &str = "CREATE DATABASE IF NOT EXISTS test;
CREATE USER IF NOT EXISTS tracker@'127.0.0.1' IDENTIFIED BY 'a-password';
GRANT ALL ON `test%`.* TO tracker@'127.0.0.1';
";

/// A MariaDB server with a user `tracker` who owns the databases named `test…`.
#[derive(Debug)]
pub struct Mariadb {
    port: u16,
    folder: PathBuf,
    process: Option<SupervisedProcess>,
}

impl Mariadb {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Mariadb> = LazyLock::new(|| {
            let mut mariadb = Mariadb::absent();
            mariadb.start();
            mariadb
        });
        &SHARED
    }

    /// A server that is installed but not started: its port refuses connections.
    pub fn absent() -> Self {
        let folder = supervised::private_folder(USER);
        let mut install = supervised::as_user(USER, Command::new(binary("mariadb-install-db")));
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        install.arg("--innodb-log-file-size=16M").arg(format!("--datadir={}", folder.join("data").display()));
        supervised::run(&mut install).expect("mariadb-install-db succeeds");
        fs::write(folder.join("users.sql"), USERS).expect("the folder is writable");
        Self { port: free_port(), folder, process: None }
    }

    fn signal(&self, name: &str) {
        let id = fs::read_to_string(self.folder.join("pid")).expect("the server runs");
        signal(id.trim().parse().expect("the file holds a process id"), name);
    }
}

impl Database for Mariadb {
    fn start(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut server = Command::new(binary("mariadbd"));
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--max-connections=300", "--skip-name-resolve"]);
        server.arg(format!("--port={}", self.port)).arg(format!("--socket={}", path("socket")));
        server.arg(format!("--datadir={}", path("data"))).arg(format!("--pid-file={}", path("pid")));
        server.arg(format!("--init-file={}", path("users.sql"))).arg("--innodb-log-file-size=16M");
        // Unusual settings, so that the service cannot rely on a server's defaults.
        server.args(["--default-time-zone=-05:00", "--character-set-server=latin1", "--sql-mode="]);
        self.process = Some(SupervisedProcess::start(USER, &self.folder, "KILL", &server));
        eventually("MariaDB answers", || self.query("test", "SELECT 1").ok());
    }

    fn stop(&mut self) {
        self.process.take().expect("the server runs").stop();
    }

    fn freeze(&self) {
        self.signal("STOP");
    }

    fn thaw(&self) {
        self.signal("CONT");
    }

    fn url(&self, database: &str) -> String {
        format!("mysql://tracker:a-password@127.0.0.1:{}/{database}", self.port)
    }

    fn default_database(&self) -> &'static str {
        "test"
    }

    fn query(&self, database: &str, statement: &str) -> Result<String, String> {
        let mut client = Command::new(binary("mariadb"));
        client.args(["--no-defaults", "--default-character-set=utf8mb4", "--user=root"]);
        client.args(["--batch", "--skip-column-names", "--init-command", "SET sql_mode = 'ANSI_QUOTES'"]);
        client.arg("--socket").arg(self.folder.join("socket")).args(["--execute", statement, database]);
        supervised::run(&mut client)
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The path of a MariaDB program.
fn binary(program: &str) -> PathBuf {
    let path =
        ["/usr/sbin", "/usr/bin"].iter().map(|folder| PathBuf::from(folder).join(program)).find(|path| path.exists());
    path.expect("MariaDB is missing; install the Debian package `mariadb-server`")
}
