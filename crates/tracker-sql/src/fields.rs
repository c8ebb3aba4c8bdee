//! The text fields of a deployment.

/// Expands `$callback! { engine engine_version … }` with the name of each optional text field, in the order
/// of the columns. The table, its rows, their sizes and upserts derive from this list; so a new field needs a
/// line here and a migration.
macro_rules! with_text_fields {
    ($callback:ident) => {
        $callback! { engine engine_version host user environment package package_url version arguments }
    };
}

pub(crate) use with_text_fields;
