//! The errors of PostgreSQL.

use tracker_core::RejectReason::{Encoding, Invalid, TooLong};

use super::class::Errors;
use super::class::Known::{Character, Database, Limit, Narrow, Race, Report};

/// Violated constraints and serialization failures are not here, because diesel has kinds for them. The message of
/// `RAISE` in a trigger may be any text. A policy of row-level security may concern all reports or one.
pub const ERRORS: &Errors = &[
    // Class 22: data exception
    ("value too long for type character varying({})", Narrow),
    ("value too long for type character({})", Limit(TooLong)),
    (r#"character with byte sequence {} in encoding "UTF8" has no equivalent in encoding *"#, Character(Encoding)),
    ("invalid byte sequence for encoding *", Report(Encoding)),
    ("smallint out of range", Report(Invalid)),
    ("integer out of range", Report(Invalid)),
    (r#"value "*" is out of range for type *"#, Report(Invalid)),
    ("invalid input syntax for type *", Report(Invalid)),
    // Class 54: program limit exceeded
    ("index row size * exceeds *maximum * for index *", Report(TooLong)),
    ("index row requires * bytes, maximum size is *", Report(TooLong)),
    ("row is too big: size *, maximum size *", Report(TooLong)),
    // A full transaction id space has the code of a program limit, but it is no fault of a report.
    ("database is not accepting commands *", Database),
    // Class 40: transaction rollback
    ("deadlock detected", Race),
    // Class 42: syntax error or access rule violation
    ("permission denied for *", Database),
    ("must be owner of *", Database),
    ("relation * does not exist", Database),
    ("column * does not exist", Database),
    ("function * does not exist", Database),
    ("column * is of type * but expression is of type *", Database),
    ("cannot insert a non-DEFAULT value into column *", Database),
    ("prepared statement * does not exist", Database),
    ("prepared statement * already exists", Database),
    // Class 53: insufficient resources
    ("could not extend file *", Database),
    ("could not write *", Database),
    ("could not resize shared memory *", Database),
    ("out of memory*", Database),
    ("out of shared memory", Database),
    ("out of file descriptors*", Database),
    ("no unpinned buffers available", Database),
    ("temporary file size exceeds temp_file_limit *", Database),
    ("sorry, too many clients already", Database),
    ("remaining connection slots are reserved *", Database),
    ("too many connections for *", Database),
    // Classes 55 and 57: object not in prerequisite state, operator intervention
    ("canceling statement due to *", Database),
    ("could not obtain lock on *", Database),
    ("terminating connection *", Database),
    ("the database system is *", Database),
    ("snapshot too old", Database),
    // Class 08, and the texts of libpq: connection exception
    ("server closed the connection unexpectedly*", Database),
    ("could not receive data from server*", Database),
    ("could not send data to server*", Database),
    ("no connection to the server*", Database),
    ("lost synchronization with server*", Database),
    ("SSL *", Database),
    // Class 58: system error
    ("could not open *", Database),
    ("could not read *", Database),
    ("could not access *", Database),
    ("could not fsync *", Database),
    ("could not stat *", Database),
    ("could not seek *", Database),
    ("could not truncate *", Database),
    ("could not create file *", Database),
    ("could not load library *", Database),
    ("unexpected data beyond EOF in block *", Database),
    // Class XX: internal error, damaged tables
    ("invalid page in block *", Database),
    ("invalid memory alloc request size *", Database),
    ("invalid lp", Database),
    ("*toast value *", Database),
    ("compressed * data is corrupt", Database),
    ("corrupted *", Database),
    ("tuple concurrently *", Database),
    ("attempted to * tuple*", Database),
    ("MultiXactId *", Database),
    ("invalid MultiXactId*", Database),
    ("new multixact has more than one updating member*", Database),
    ("found * from before *", Database),
    ("cache lookup failed for *", Database),
    ("could not find tuple for *", Database),
    ("could not find pg_class *", Database),
    ("pg_attribute catalog is missing *", Database),
    ("failed to fetch *tuple*", Database),
    ("failed to re-find shared *", Database),
    // Class XX: damaged indexes
    ("index * contains *", Database),
    ("index * is not *", Database),
    ("index * has wrong *", Database),
    (r#"*in index "*"#, Database),
    (r#"*of index "*"#, Database),
    ("posting list *", Database),
    ("failed to add * page*", Database),
    ("lost saved point in index", Database),
    ("cached plan must not change result type", Database),
];
