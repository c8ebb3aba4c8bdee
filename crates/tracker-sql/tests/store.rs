//! The stores against the suite, on a real file and a real PostgreSQL.

#[cfg(feature = "sqlite")]
mod sqlite {
    use tracker_core::{Store as _, testing};
    use tracker_sql::{DatabaseUrl, SqlStore};

    fn open(folder: &tempfile::TempDir) -> SqlStore {
        let path = folder.path().join("data.sqlite3");
        SqlStore::open(DatabaseUrl::parse(&path.display().to_string()).expect("a path")).expect("a database")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite_keeps_to_the_suite() {
        let folder = tempfile::tempdir().expect("a folder");
        testing::store_suite(&open(&folder)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_is_no_database_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data.sqlite3");
        std::fs::write(&path, "something else entirely, and long enough to be looked at".repeat(100)).expect("a file");
        assert!(SqlStore::open(DatabaseUrl::parse(&path.display().to_string()).expect("a path")).is_err());
        let nowhere = folder.path().join("no/such/folder.sqlite3");
        assert!(SqlStore::open(DatabaseUrl::parse(&nowhere.display().to_string()).expect("a path")).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several_processes_may_open_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (open(&folder), open(&folder));
        first.check().await.expect("the first");
        second.check().await.expect("the second");
    }
}
