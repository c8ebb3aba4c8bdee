//! A MariaDB server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::leash::{self, Leash};
use crate::{Database, eventually, free_port, signal};

/// Who runs the server when we are root, whom it refuses.
const USER: &str = "mysql";

/// The user of the service has its own databases and no more.
const USERS: &str = "CREATE DATABASE IF NOT EXISTS test;
CREATE USER IF NOT EXISTS tracker@'127.0.0.1' IDENTIFIED BY 'a-password';
GRANT ALL ON `test%`.* TO tracker@'127.0.0.1';
";

/// A MariaDB server with a user `tracker` for the databases `test…`.
#[derive(Debug)]
pub struct Mariadb {
    port: u16,
    folder: PathBuf,
    leash: Option<Leash>,
}

impl Mariadb {
    /// The one that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Mariadb> = LazyLock::new(|| {
            let mut mariadb = Mariadb::absent();
            mariadb.start();
            mariadb
        });
        &SHARED
    }

    /// One that was not started yet: nobody listens on its port.
    pub fn absent() -> Self {
        let folder = leash::folder(USER);
        let mut install = leash::as_user(USER, Command::new(binary("mariadb-install-db")));
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        install.arg("--innodb-log-file-size=16M").arg(format!("--datadir={}", folder.join("data").display()));
        leash::run(&mut install).expect("a data folder");
        fs::write(folder.join("users.sql"), USERS).expect("a file");
        Self { port: free_port(), folder, leash: None }
    }

    fn signal(&self, name: &str) {
        let id = fs::read_to_string(self.folder.join("pid")).expect("it runs");
        signal(id.trim().parse().expect("a process id"), name);
    }
}

impl Database for Mariadb {
    fn start(&mut self) {
        assert!(self.leash.is_none(), "it runs");
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut server = Command::new(binary("mariadbd"));
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--max-connections=300", "--skip-name-resolve"]);
        server.arg(format!("--port={}", self.port)).arg(format!("--socket={}", path("socket")));
        server.arg(format!("--datadir={}", path("data"))).arg(format!("--pid-file={}", path("pid")));
        server.arg(format!("--init-file={}", path("users.sql"))).arg("--innodb-log-file-size=16M");
        // As anywhere but in UTC and in the default of the newest versions: the service has to ask for what it needs.
        server.args(["--default-time-zone=-05:00", "--character-set-server=latin1", "--sql-mode="]);
        self.leash = Some(Leash::start(USER, &self.folder, "KILL", &server));
        eventually("MariaDB answers", || self.query("test", "SELECT 1").ok());
    }

    fn stop(&mut self) {
        self.leash.take().expect("it runs").stop();
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

    fn home(&self) -> &'static str {
        "test"
    }

    fn query(&self, database: &str, statement: &str) -> Result<String, String> {
        let mut client = Command::new(binary("mariadb"));
        client.args(["--no-defaults", "--default-character-set=utf8mb4", "--user=root"]);
        client.args(["--batch", "--skip-column-names", "--init-command", "SET sql_mode = 'ANSI_QUOTES'"]);
        client.arg("--socket").arg(self.folder.join("socket")).args(["--execute", statement, database]);
        leash::run(&mut client)
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        if self.leash.is_some() {
            self.stop();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program of MariaDB.
fn binary(program: &str) -> PathBuf {
    let path =
        ["/usr/sbin", "/usr/bin"].iter().map(|folder| PathBuf::from(folder).join(program)).find(|path| path.exists());
    path.expect("MariaDB is needed: install Debian's package `mariadb-server`")
}
