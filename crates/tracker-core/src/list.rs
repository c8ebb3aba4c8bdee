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
/// last key says where a list ends. `next` does:
///
/// ```
/// use tracker_core::{DeploymentQuery, Page};
/// # use tracker_core::{DeploymentId, DeploymentReport, MemoryStore, Tracker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tracker = Tracker::builder(MemoryStore::new()).start();
/// # let mut expected = Vec::new();
/// # for _ in 0..6 {
/// #     expected.insert(0, DeploymentId::random());
/// #     tracker.start_deployment(DeploymentReport::new(expected[0])).await?;
/// # }
/// let mut ids = Vec::new();
/// let mut next = Some(Page::first(3));
/// while let Some(page) = next {
///     let list = tracker.deployments(DeploymentQuery::new(page)).await?;
///     ids.extend(list.records.iter().map(|record| record.deployment.id));
///     next = list.next;
/// }
/// # ids.sort();
/// # expected.sort();
/// # assert_eq!(ids, expected);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed<T, K> {
    /// The records.
    pub records: Vec<T>,
    /// The next page, with the same limits. `None` if the list has ended. If the list ends exactly where this page does,
    /// the next page is empty, and is the last one.
    pub next: Option<Page<K>>,
    /// The number of rows that the list may still have within the limit of this page, because the read ended at
    /// [`Page::max_bytes`].
    pub unread: u32,
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
            // A read with a limit of no bytes must make progress, too.
            if limit == 0 || bytes >= max_bytes.max(1) {
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
        // Pages without rows would never reach the end of a list.
        let has_more = has_more && page.limit > 0;
        let after = records.last().map(T::cursor).or(after);
        let next = has_more.then_some(Page { limit: page.limit, after, offset, max_bytes });
        Ok(Self { records, next, unread: if has_more { limit } else { 0 } })
    }
}

impl<T, K> Listed<T, K> {
    /// Whether no row was found, not even one that cannot be read.
    pub fn has_no_rows(&self) -> bool {
        self.records.is_empty() && self.next.is_none()
    }

    /// Converts each record.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Listed<U, K> {
        let Self { records, next, unread } = self;
        Listed { records: records.into_iter().map(convert).collect(), next, unread }
    }

    /// The rest of this page: the rows of [`Self::unread`]. `None` if there are none.
    pub fn rest(&self) -> Option<Page<K>>
    where
        K: Clone,
    {
        self.next.clone().filter(|_| self.unread > 0).map(|next| Page { limit: self.unread, ..next })
    }

    /// Turns the result of a smaller page into the result of a page of `limit` rows that starts at the same row.
    #[must_use]
    pub fn in_page(mut self, limit: u32) -> Self {
        if let Some(next) = &mut self.next {
            self.unread += limit.saturating_sub(next.limit);
            next.limit = limit;
        }
        self
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
