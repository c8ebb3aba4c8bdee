//! The errors of SQLite.

use tracker_core::RejectReason::{Constraint, Invalid, TooLong};

use super::class::Errors;
use super::class::Known::{Column, Database, Report};

/// The message of `RAISE` in a trigger may be any text, so it is not here.
pub const ERRORS: &Errors = &[
    // SQLITE_CONSTRAINT
    ("UNIQUE constraint failed: {}", Column(Constraint)),
    ("NOT NULL constraint failed: {}", Column(Constraint)),
    // A constraint of a column may have any name. If it has the name of a field, it is most likely about that field.
    ("CHECK constraint failed: {}", Column(Constraint)),
    ("FOREIGN KEY constraint failed", Report(Constraint)),
    ("cannot store * value in * column {}", Column(Invalid)),
    // SQLITE_MISMATCH, SQLITE_TOOBIG
    ("datatype mismatch", Report(Invalid)),
    ("string or blob too big", Report(TooLong)),
    // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL, SQLITE_READONLY
    ("database is locked", Database),
    ("database table is locked*", Database),
    ("database schema is locked*", Database),
    ("database or disk is full", Database),
    ("attempt to write a readonly database", Database),
    // SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_IOERR, SQLITE_CANTOPEN
    ("database disk image is malformed", Database),
    ("malformed database schema *", Database),
    ("file is not a database", Database),
    ("disk I/O error", Database),
    ("unable to open database*", Database),
    // SQLITE_NOMEM, SQLITE_PROTOCOL, SQLITE_SCHEMA, SQLITE_INTERRUPT, SQLITE_ABORT, SQLITE_NOLFS
    ("out of memory", Database),
    ("locking protocol", Database),
    ("database schema has changed", Database),
    ("interrupted", Database),
    ("query aborted", Database),
    ("abort due to ROLLBACK", Database),
    ("large file support is disabled", Database),
    // SQLITE_PERM, SQLITE_AUTH, SQLITE_MISUSE
    ("access permission denied", Database),
    ("authorization denied", Database),
    ("not authorized", Database),
    ("bad parameter or other API misuse", Database),
    // SQLITE_ERROR
    ("no such table: *", Database),
    ("no such column: *", Database),
    ("no such function: *", Database),
    ("no such module: *", Database),
    ("no such collation sequence: *", Database),
    ("table * has no column named *", Database),
    ("table * may not be modified", Database),
    ("cannot start a transaction within a transaction", Database),
    ("cannot commit*", Database),
    ("cannot rollback*", Database),
];
