//! The errors of MariaDB and MySQL.

use tracker_core::RejectReason::{Constraint, Encoding, Invalid, TooLong};

use super::class::Errors;
use super::class::Known::{Column, Database, Race, Report};

/// The message of `SIGNAL` in a trigger may be any text, so it is not here.
pub const ERRORS: &Errors = &[
    // SQLSTATE class 22: data exception
    ("Data too long for column {} at row *", Column(TooLong)),
    ("Incorrect string value: * for column {} at row *", Column(Encoding)),
    ("Incorrect * value: * for column {} at row *", Column(Invalid)),
    ("Out of range value for column {} at row *", Column(Invalid)),
    ("Data truncated for column {} at row *", Column(Invalid)),
    // Class 23: integrity constraint violation. MariaDB's key is `PRIMARY`, and MySQL's is `Deployments.PRIMARY`.
    ("Duplicate entry * for key *PRIMARY'", Race),
    ("Duplicate entry * for key *", Report(Constraint)),
    ("Column {} cannot be null", Column(Constraint)),
    ("CONSTRAINT {} failed for *", Column(Constraint)),
    ("Check constraint {} is violated.", Column(Constraint)),
    ("Cannot add or update a child row: a foreign key constraint fails *", Report(Constraint)),
    ("Table has no partition for value *", Report(Constraint)),
    // Class 42 in MariaDB, but a limit on one row
    ("Row size too large*", Report(TooLong)),
    ("Got a packet bigger than 'max_allowed_packet' bytes", Report(TooLong)),
    // Class 40: transaction rollback
    ("Deadlock found when trying to get lock; try restarting transaction", Race),
    ("Record has changed since last read in table *", Race),
    // The group replication of MySQL, at COMMIT
    ("Plugin instructed the server to rollback the current transaction.", Race),
    // Every report lacks the same column.
    ("Field * doesn't have a default value", Database),
    // Locks and deadlines
    ("Lock wait timeout exceeded; try restarting transaction", Database),
    ("Query execution was interrupted*", Database),
    ("Wait on a lock was aborted due to a pending exclusive lock", Database),
    ("The total number of locks exceeds the lock table size", Database),
    ("Can't execute the query because you have a conflicting read lock", Database),
    ("Can't execute the given command because you have active locked tables *", Database),
    ("Table * was locked with a READ lock and can't be updated", Database),
    // Resources
    ("Disk full *", Database),
    ("Error * file *", Database),
    ("Error on * (errno: *", Database),
    ("IO * error: *", Database),
    ("Got error *", Database),
    ("Got temporary error *", Database),
    ("Internal error: *", Database),
    ("Fatal error: *", Database),
    ("The table * is full", Database),
    ("The index file for table * is full", Database),
    ("Out of *memory*", Database),
    ("Too many connections", Database),
    ("Too many files opened*", Database),
    ("Too many active concurrent transactions", Database),
    ("Can't create a new thread *", Database),
    ("Can't create more than max_prepared_stmt_count statements *", Database),
    ("User * has exceeded the * resource*", Database),
    ("User * already has more than * active connections", Database),
    // Read-only database servers
    ("The MariaDB server is running with the * option so it cannot execute this statement", Database),
    ("The MySQL server is running with the * option so it cannot execute this statement", Database),
    ("Cannot execute statement in a READ ONLY transaction", Database),
    ("InnoDB is in read only mode*", Database),
    ("Running in read-only mode", Database),
    ("Table * is read only", Database),
    // Permissions and definitions
    ("* command denied to user *", Database),
    ("Access denied*", Database),
    ("Table * doesn't exist*", Database),
    ("Unknown column * in *", Database),
    ("* does not exist", Database),
    ("Table definition has changed, please retry transaction", Database),
    ("Prepared statement needs to be re-prepared", Database),
    ("Unknown prepared statement handler *", Database),
    // Damage
    ("Index * is corrupt*", Database),
    ("Index corrupt: *", Database),
    ("File * is corrupted", Database),
    ("Corrupted *", Database),
    ("Old key file for table *", Database),
    ("Incorrect information in file: *", Database),
    ("Can't * file* (errno: *", Database),
    ("Can't open table", Database),
    ("Can't read record in system table", Database),
    ("Can't get status of *", Database),
    ("Can't find record in *", Database),
    ("Tablespace *", Database),
    ("Cannot load from *", Database),
    ("Column count of * is wrong*", Database),
    ("Undo Log error: *", Database),
    ("Failed to read auto-increment value from storage engine", Database),
    ("Engine * failed to discover table *", Database),
    ("Storage engine * is *", Database),
    ("Operation cannot be performed. The table * is missing, corrupt or contains bad data", Database),
    ("Table * is marked as crashed*", Database),
    // Connections
    ("Connection was killed", Database),
    ("Lost connection to *", Database),
    ("*erver has gone away", Database),
    ("Server shutdown in progress", Database),
    ("Got an error *", Database),
    ("Got packets out of order", Database),
    ("Got timeout *", Database),
    ("Got a read error from the connection pipe", Database),
    ("Commands out of sync*", Database),
    ("Malformed communication packet", Database),
    ("Received malformed packet", Database),
    ("WSREP has not yet prepared node for application use", Database),
];
