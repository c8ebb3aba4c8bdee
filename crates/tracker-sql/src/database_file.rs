//! The file of SQLite: created privately, locked against other processes, and watched while it is in use.
//!
//! Nothing here opens the database file while SQLite has it open: closing any descriptor of a file drops all POSIX locks
//! that the process has on it, and SQLite's locks are POSIX locks.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use thiserror::Error;

/// Only the owner may read the records.
const MODE: u32 = 0o600;
/// As many symbolic links as Linux follows.
const MAX_LINKS: usize = 40;
/// The pause between two tries to lock.
const RETRY: Duration = Duration::from_millis(20);
/// The characters to percent-encode in the path of a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A database file, for as long as it is in use.
#[derive(Debug)]
pub struct DatabaseFile {
    /// The path without symbolic links.
    path: PathBuf,
    /// The write-ahead log, which exists as long as a connection is open.
    log: PathBuf,
    identity: Identity,
    /// Holds the lock until it is closed.
    _lock: File,
}

/// Which file a path names, however it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Why a database file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("cannot use `{0}`; check that its folder exists and that this user may write to both")]
    Io(PathBuf, #[source] io::Error),
    #[error(
        "another process uses the database and holds a lock on `{0}`; stop that process, or give each instance a file \
         of its own"
    )]
    Locked(PathBuf),
    #[error("`{0}` is not a regular file; give the path of a file")]
    NotRegular(PathBuf),
    #[error(
        "`{0}` has several hard links, and SQLite would keep a separate log for each name; remove all names but one"
    )]
    HardLinks(PathBuf),
    #[error(
        "`{0}` has been deleted or replaced since it was opened; move the original file back, or restart the service to \
         use the file that is there now"
    )]
    Replaced(PathBuf),
    #[error(
        "`{0}` has been deleted while the database is in use; stop the service with SIGTERM, which saves its content"
    )]
    LogDeleted(PathBuf),
}

impl DatabaseFile {
    /// Locks the file against other processes, and creates it if it does not exist. Waits for `lock_wait` until another
    /// process has released the lock.
    pub fn open(path: &str, lock_wait: Duration) -> Result<Self, FileError> {
        let path = resolve(path.as_ref()).map_err(|error| FileError::Io(path.into(), error))?;
        // Before anything else: the holder may be another store of this process, which has the file open.
        let lock = lock(&with_suffix(&path, ".lock"), lock_wait)?;
        let metadata = create(&path).map_err(|error| FileError::Io(path.clone(), error))?;
        if !metadata.is_file() {
            return Err(FileError::NotRegular(path));
        }
        if metadata.nlink() > 1 {
            return Err(FileError::HardLinks(path));
        }
        Ok(Self { log: with_suffix(&path, "-wal"), identity: (&metadata).into(), path, _lock: lock })
    }

    /// A URI with which SQLite opens the file, but does not create it.
    pub fn uri(&self) -> String {
        format!("file:{}?mode=rw", percent_encode(self.path.as_os_str().as_bytes(), PATH))
    }

    /// Fails if the path does not name the file any more.
    pub fn check_identity(&self) -> Result<(), FileError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if Identity::from(&metadata) == self.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::Io(self.path.clone(), error)),
            _ => Err(FileError::Replaced(self.path.clone())),
        }
    }

    /// Fails if a commit on an open connection would go to files that no longer have a name.
    pub fn check(&self) -> Result<(), FileError> {
        self.check_identity()?;
        match fs::metadata(&self.log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FileError::LogDeleted(self.log.clone())),
            _ => Ok(()),
        }
    }
}

/// The path without symbolic links, whether or not it exists.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            resolved => return resolved,
        }
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let folder = folder.canonicalize()?;
        let resolved = folder.join(path.file_name().ok_or(io::ErrorKind::IsADirectory)?);
        match fs::read_link(&resolved) {
            Ok(target) => path = folder.join(target),
            Err(_) => return Ok(resolved),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn lock(path: &Path, wait: Duration) -> Result<File, FileError> {
    let failed = |error| FileError::Io(path.to_owned(), error);
    let file = File::options().write(true).create(true).truncate(false).mode(MODE).open(path).map_err(failed)?;
    let begun = Instant::now();
    let mut is_logged = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= wait => return Err(FileError::Locked(path.to_owned())),
            Err(TryLockError::WouldBlock) => {}
        }
        if !is_logged {
            log::info!(lock:% = path.display(); "another process uses the database; waiting up to {wait:?} for its end");
            is_logged = true;
        }
        thread::sleep(RETRY);
    }
}

/// Creates the file unless it exists. An existing file keeps its mode. SQLite gives the same mode to the files of the
/// write-ahead log.
fn create(path: &Path) -> io::Result<Metadata> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = File::options().write(true).create_new(true).mode(MODE).open(path)?;
            // The umask may have removed even these permissions.
            file.set_permissions(Permissions::from_mode(MODE))?;
            file.metadata()
        }
        metadata => metadata,
    }
}
