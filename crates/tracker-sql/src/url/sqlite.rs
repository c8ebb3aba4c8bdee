//! Paths of SQLite files.

use std::path::Path;

/// Checks that `text` is the path of a file.
pub fn check(text: &str) -> Result<(), String> {
    let file_name = Path::new(text).file_name();
    if text.starts_with("file:") {
        return Err("`file:` URIs are not supported; give the path, such as `data.sqlite3` or sqlite:PATH".to_owned());
    }
    if let Some((path, _)) = text.split_once('?') {
        let path = path.escape_debug();
        return Err(format!(
            "SQLite takes no parameters after `?`; give the path alone, such as sqlite:{path} (if the name of the file \
             contains a `?`, write it as %3F after sqlite:)"
        ));
    }
    if file_name.is_some_and(|name| name == ":memory:") {
        return Err("`:memory:` is not supported, since a database in memory would lose its data; give a path".into());
    }
    if file_name.is_none() || text.ends_with('/') || text.ends_with("/.") {
        return Err("the path must name a file; give one such as `data.sqlite3`".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("the path contains a control character, such as a line break; remove it".to_owned());
    }
    Ok(())
}
