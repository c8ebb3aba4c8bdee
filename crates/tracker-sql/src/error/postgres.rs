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
    // Class 53: insufficient resources
    ("could not extend file *", Database),
    ("could not write *", Database),
    ("out of memory", Database),
    ("out of shared memory", Database),
    // Classes 55 and 57: object not in prerequisite state, operator intervention
    ("canceling statement due to *", Database),
    ("could not obtain lock on *", Database),
    ("terminating connection *", Database),
    ("server closed the connection unexpectedly*", Database),
    // Classes 58 and XX: system error, internal error
    ("could not open file *", Database),
    ("could not read block *", Database),
    ("invalid page in block *", Database),
    ("missing chunk number *", Database),
    ("index * contains *", Database),
    ("cached plan must not change result type", Database),
];
