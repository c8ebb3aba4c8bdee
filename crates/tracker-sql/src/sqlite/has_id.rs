//! A list of ids as one parameter.

use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::Sqlite;
use uuid::Uuid;

/// Whether a column has one of several ids, in either letter case. The statement is the same for any number
/// of ids, so it stays prepared: preparing one with a parameter for each id takes 5 % of the time of a page
/// of deployments.
#[derive(Debug, Clone, QueryId, ValidGrouping)]
pub struct HasId<C> {
    column: C,
    /// A JSON array.
    ids: String,
}

impl<C> HasId<C> {
    pub fn new(column: C, ids: &[Uuid]) -> Self {
        let ids: Vec<_> = ids.iter().map(|id| id.as_hyphenated()).map(|id| format!(r#""{id:x}","{id:X}""#)).collect();
        Self { column, ids: format!("[{}]", ids.join(",")) }
    }
}

impl<C: QueryFragment<Sqlite>> QueryFragment<Sqlite> for HasId<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" IN (SELECT value FROM json_each(");
        out.push_bind_param::<Text, _>(&self.ids)?;
        out.push_sql("))");
        Ok(())
    }
}

impl<C: Expression> Expression for HasId<C> {
    type SqlType = Bool;
}

impl<C: AppearsOnTable<T>, T> AppearsOnTable<T> for HasId<C> {}

impl<C: SelectableExpression<T>, T> SelectableExpression<T> for HasId<C> {}
