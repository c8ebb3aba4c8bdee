//! Logs values that another program has stored and that this service cannot read.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// Maximum number of values to log, which bounds the memory and the log.
const MAX_LOGGED: usize = 1_000;

/// Logs once that the value of `column` in a row of `table` cannot be read. Rows without a valid `id` share one line.
pub fn log_once(table: &'static str, id: Option<&dyn Display>, column: &'static str) {
    static LOGGED: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let row = id.map_or_else(|| "some rows".to_owned(), |id| format!("the row `{id}`"));
    let place = format!("`{column}` of `{table}`, in {row}");
    let is_new = {
        // A panic cannot leave the set half changed.
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let logged = logged.get_or_insert_default();
        logged.len() < MAX_LOGGED && logged.insert(place.clone())
    };
    if is_new {
        log::warn!(
            table = table, column = column;
            "another program has stored a value that does not fit in {place}; responses leave it out, and lists and \
             outputs may leave out the row; correct it with SQL"
        );
    }
}
