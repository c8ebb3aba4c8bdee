//! Lists of records, which are read in pages.

use serde::Serialize;
use uuid::Uuid;

use crate::deployment::{Deployment, DeploymentWithServers};
use crate::id::DeploymentId;
use crate::log::LogMessage;
use crate::server::{Hostname, Server};
use crate::time::Timestamp;

/// The number of bytes after which a read of a page ends, unless the caller sets another number.
const PAGE_BYTES: usize = 1 << 20;

/// A part of a list whose records are ordered by `K`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<K> {
    /// The maximum number of rows to read.
    pub limit: u32,
    /// The cursor (keyset pagination): the list has only records after this key. The cost does not depend on the
    /// position, and no record needs to have this key.
    pub after: Option<K>,
    /// The number of rows to skip, each of which costs time; at most `i64::MAX`.
    pub offset: u64,
    /// The size at which a read ends before `limit`, in bytes of [`Record::size`]. The record that reaches it is still
    /// part of the result, so that a read always makes progress.
    pub max_bytes: usize,
}

impl<K> Page<K> {
    /// The first `limit` rows, as far as they fit into 1 MiB.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None, offset: 0, max_bytes: PAGE_BYTES }
    }

    /// Sets [`Self::after`].
    #[must_use]
    pub fn after(self, cursor: K) -> Self {
        Self { after: Some(cursor), ..self }
    }

    /// Sets [`Self::offset`].
    #[must_use]
    pub fn offset(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// Sets [`Self::max_bytes`].
    #[must_use]
    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}

/// The records that a store has read, and the place where the list continues.
///
/// A row that cannot be read is left out of `records`, but counts as a row: neither the number of records nor their
/// last key says where a list ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed<T, K> {
    /// The records.
    pub records: Vec<T>,
    /// The rest of the page, whose `limit` is the number of rows that are left of it, perhaps 0. `None` if the list
    /// ends before the limit of the page.
    pub next: Option<Page<K>>,
}

impl<T: Record> Listed<T, T::Cursor> {
    /// Takes rows until they reach a limit of `page`. `None` is a row that cannot be read.
    ///
    /// # Errors
    /// The first error of `rows`.
    pub fn read<E>(page: &Page<T::Cursor>, rows: impl IntoIterator<Item = Result<Option<T>, E>>) -> Result<Self, E> {
        let Page { mut limit, after, mut offset, max_bytes } = page.clone();
        let (mut records, mut bytes, mut rows) = (Vec::new(), 0, rows.into_iter());
        let has_more = loop {
            if limit == 0 || bytes >= max_bytes {
                break true;
            }
            let Some(row) = rows.next() else { break false };
            limit -= 1;
            match row? {
                Some(record) => {
                    bytes += record.size();
                    offset = 0;
                    records.push(record);
                }
                // The row has no cursor, so the list continues by its number.
                None => offset += 1,
            }
        };
        let after = records.last().map(T::cursor).or(after);
        Ok(Self { records, next: has_more.then_some(Page { limit, after, offset, max_bytes }) })
    }
}

impl<T, K> Listed<T, K> {
    /// Whether no row was found, not even one that cannot be read.
    pub fn has_no_rows(&self) -> bool {
        self.records.is_empty() && self.next.is_none()
    }

    /// Converts each record.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Listed<U, K> {
        Listed { records: self.records.into_iter().map(convert).collect(), next: self.next }
    }
}

/// A record of a list.
pub trait Record {
    /// The key by which the list is ordered.
    type Cursor: Clone;

    /// The key of this record. A record without a creation time is in no list.
    fn cursor(&self) -> Self::Cursor;

    /// The approximate size in memory, in bytes.
    fn size(&self) -> usize;
}

/// A cursor in a list that is ordered by creation time, newest first. Among records of the same time, the one with the
/// greater id comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CreatedCursor {
    /// When the record was created.
    pub created_at: Timestamp,
    /// The deployment of the record.
    pub deployment_id: DeploymentId,
}

impl Record for Deployment {
    type Cursor = CreatedCursor;

    fn cursor(&self) -> CreatedCursor {
        CreatedCursor { created_at: self.created_at.unwrap_or_default(), deployment_id: self.id }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.fields.size()
    }
}

impl Record for DeploymentWithServers {
    type Cursor = CreatedCursor;

    fn cursor(&self) -> CreatedCursor {
        self.deployment.cursor()
    }

    fn size(&self) -> usize {
        self.deployment.size() + self.servers.iter().map(Record::size).sum::<usize>()
    }
}

impl Record for Server {
    type Cursor = CreatedCursor;

    fn cursor(&self) -> CreatedCursor {
        CreatedCursor { created_at: self.created_at.unwrap_or_default(), deployment_id: self.deployment_id }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.hostname.as_str().len() + self.fields.size()
    }
}

impl Record for Hostname {
    type Cursor = Self;

    fn cursor(&self) -> Self {
        self.clone()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.as_str().len()
    }
}

impl Record for LogMessage {
    type Cursor = Uuid;

    fn cursor(&self) -> Uuid {
        self.event_id
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.object().get().len()
    }
}
