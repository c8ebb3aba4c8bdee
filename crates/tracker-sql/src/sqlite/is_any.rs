//! A list of ids as one parameter.

use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::Sqlite;
use uuid::Uuid;

/// Whether a column has one of some ids, in either spelling. However many they are the statement is the same, so that it
/// stays prepared: preparing one anew with a place for each id takes 5 % of what a page of deployments does.
#[derive(Debug, Clone, QueryId, ValidGrouping)]
pub struct IsAny<C> {
    column: C,
    /// An array of JSON.
    ids: String,
}

impl<C> IsAny<C> {
    pub fn new(column: C, ids: &[Uuid]) -> Self {
        let spelled: Vec<_> =
            ids.iter().map(|id| id.as_hyphenated()).map(|id| format!(r#""{id:x}","{id:X}""#)).collect();
        Self { column, ids: format!("[{}]", spelled.join(",")) }
    }
}

impl<C: QueryFragment<Sqlite>> QueryFragment<Sqlite> for IsAny<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" IN (SELECT value FROM json_each(");
        out.push_bind_param::<Text, _>(&self.ids)?;
        out.push_sql("))");
        Ok(())
    }
}

impl<C: Expression> Expression for IsAny<C> {
    type SqlType = Bool;
}

impl<C: AppearsOnTable<T>, T> AppearsOnTable<T> for IsAny<C> {}

impl<C: SelectableExpression<T>, T> SelectableExpression<T> for IsAny<C> {}
