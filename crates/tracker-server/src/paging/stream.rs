//! Answers a page of a list. A long page is streamed in pieces, as fast as the client reads.

use actix_web::HttpResponse;
use actix_web::http::header::{ContentType, LINK};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::{Bytes, Data};
use futures_util::stream::{self, StreamExt};
use tracker_core::json::WriteJson;
use tracker_core::{Listed, Page};

use super::{PIECE_ROWS, Paging, Start};
use crate::cursor::Cursor;
use crate::error::ApiError;
use crate::response_budget::{ResponseBudget, exhausted};

/// Maximum reads of one request that find only rows that cannot be read.
const MAX_UNREADABLE: u32 = 400;

fn all_unreadable() -> ApiError {
    let message = "too many records in a row cannot be read, and the log of the server names the first of them; \
                   increase `limit`, use `offset`, or repair the records in the database";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable_records", message)
}

impl Paging {
    /// Answers with this page. `fetch` reads records, and `budget` bounds how many are in memory.
    ///
    /// Streams a page of more than one piece. If a later piece fails, the response ends without its final chunk, so that
    /// the client notices that it is incomplete.
    pub async fn answer<T, K, F>(
        self,
        budget: Data<ResponseBudget>,
        fetch: impl Fn(Page<K>) -> F + 'static,
    ) -> Result<HttpResponse, ApiError>
    where
        T: WriteJson + 'static,
        K: Cursor + 'static,
        F: Future<Output = Result<Listed<T, K>, ApiError>> + 'static,
    {
        let share = budget.try_take_piece()?;
        let page = Page { max_bytes: share.bytes(), ..self.page()? };
        let mut first = read_piece(&fetch, page.clone()).await?;
        let mut unreadable = 0;
        // Rows that cannot be read have no cursor: begin the page behind them.
        while let (Start::Before(_), true, Some(next)) = (&self.start, first.records.is_empty(), &first.next) {
            unreadable += page.limit.div_ceil(PIECE_ROWS);
            if unreadable >= MAX_UNREADABLE {
                return Err(all_unreadable());
            }
            first = read_piece(&fetch, Page { limit: page.limit, ..next.clone() }).await?;
        }
        let last = match self.start {
            Start::Offset(_) => None,
            Start::Before(_) => last_cursor(&fetch, first.next.as_ref(), first.unread).await?,
        };
        let mut response = HttpResponse::Ok();
        if let Some(link) = self.link(last) {
            response.insert_header((LINK, link));
        }
        response.content_type(ContentType::json());
        let rest = first.rest();
        let first = array_piece(&first.records, b'[', rest.is_none());
        let Some(rest) = rest else {
            // The body takes its own share.
            return Ok(response.body(first));
        };
        let first = budget.fit(share, first.len()).ok_or_else(exhausted)?.hold(first);
        let pieces = stream::try_unfold((budget, fetch, Some(rest)), async |(budget, fetch, rest)| {
            let Some(page) = rest else { return Ok::<_, ApiError>(None) };
            let (piece, rest) = next_piece(&budget, &fetch, page).await?;
            Ok(Some((piece, (budget, fetch, rest))))
        });
        let mut response = response.streaming(stream::once(async { Ok(first) }).chain(pieces));
        if !self.is_chunked {
            // The end of the connection is the end of the response.
            response.head_mut().no_chunking(true);
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(response)
    }
}

/// Reads the first piece of `page` that has a record. The limit of its `next` may be smaller than that of `page`.
async fn read_piece<T, K: Clone, F: Future<Output = Result<Listed<T, K>, ApiError>>>(
    fetch: impl Fn(Page<K>) -> F,
    mut page: Page<K>,
) -> Result<Listed<T, K>, ApiError> {
    loop {
        let limit = page.limit.min(PIECE_ROWS);
        let piece = fetch(Page { limit, ..page }).await?.in_page(page.limit);
        match piece.rest() {
            Some(rest) if piece.records.is_empty() => page = rest,
            _ => return Ok(piece),
        }
    }
}

/// Reads a later piece of a page, and returns the rest of the page.
///
/// Waits for memory *before* it reads. If the piece turns out to be larger than its share, it is dropped and read again
/// later, so that a response that waits holds nothing.
async fn next_piece<T: WriteJson, K: Clone, F: Future<Output = Result<Listed<T, K>, ApiError>>>(
    budget: &ResponseBudget,
    fetch: impl Fn(Page<K>) -> F,
    mut page: Page<K>,
) -> Result<(Bytes, Option<Page<K>>), ApiError> {
    let mut share = budget.take_piece(0).await?;
    page.max_bytes = share.bytes();
    loop {
        let listed = read_piece(&fetch, page.clone()).await?;
        let rest = listed.rest();
        let piece = array_piece(&listed.records, b',', rest.is_none());
        drop(listed);
        let bytes = piece.len();
        if let Some(share) = budget.fit(share, bytes) {
            return Ok((share.hold(piece), rest));
        }
        drop(piece);
        share = budget.take_piece(bytes).await?;
    }
}

/// The cursor of the last record of a page, of which the first `unread` rows from `next` are not yet read. `None` if the
/// list ends before the page.
///
/// The `Link` header precedes the pieces and needs this cursor.
async fn last_cursor<T, K: Clone, F: Future<Output = Result<Listed<T, K>, ApiError>>>(
    fetch: impl Fn(Page<K>) -> F,
    next: Option<&Page<K>>,
    unread: u32,
) -> Result<Option<K>, ApiError> {
    let Some(next) = next else { return Ok(None) };
    for row in (0..u64::from(unread)).rev() {
        let page = Page { limit: 1, offset: next.offset + row, ..next.clone() };
        match fetch(page).await? {
            Listed { next: None, .. } => return Ok(None),
            Listed { records, next: Some(next), .. } if !records.is_empty() => return Ok(next.after),
            // The row cannot be read. The next page begins behind the record before it.
            Listed { .. } => {}
        }
    }
    Ok(next.after.clone())
}

/// Writes a record or a list as JSON.
pub fn json(value: &(impl WriteJson + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    value.write_json(&mut bytes);
    bytes
}

/// Writes `records` as a piece of a JSON array: `first` replaces the opening bracket, and only the last piece keeps the
/// closing one. Only the last piece may be empty.
fn array_piece(records: &[impl WriteJson], first: u8, is_last: bool) -> Vec<u8> {
    let mut bytes = json(records);
    bytes[0] = first;
    if records.is_empty() && first != b'[' {
        bytes.remove(0);
    }
    if !is_last {
        bytes.pop();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use actix_web::ResponseError;
    use actix_web::test::TestRequest;
    use tracker_core::Hostname;

    use super::*;

    /// Requests a list that has only unreadable rows. Returns the status and the number of reads.
    async fn answer(query: &str) -> (StatusCode, u32) {
        let paging = Paging::read(&TestRequest::with_uri(&format!("/v1/servers?{query}")).to_http_request());
        let paging = paging.expect("the query is valid");
        let (reads, budget) = (Rc::new(Cell::new(0)), ResponseBudget::new(16 << 20, Duration::from_secs(1)));
        let counted = reads.clone();
        let fetch = move |page: Page<Hostname>| {
            counted.set(counted.get() + 1);
            let next = Page { offset: page.offset + u64::from(page.limit), ..page };
            async move {
                assert!(next.offset < 100_000, "the reads end");
                Ok(Listed::<Hostname, Hostname> { records: Vec::new(), next: Some(next), unread: 0 })
            }
        };
        let answer = paging.answer(Data::from(Arc::new(budget)), fetch).await;
        (answer.map_or_else(|error| error.status_code(), |response| response.status()), reads.get())
    }

    #[actix_web::test]
    async fn a_list_of_unreadable_rows_takes_a_bounded_number_of_reads() {
        assert_eq!(answer("before=&limit=1").await, (StatusCode::SERVICE_UNAVAILABLE, 400));
        assert_eq!(answer("before=&limit=1000").await, (StatusCode::SERVICE_UNAVAILABLE, 400));
        assert_eq!(answer("offset=0&limit=1000").await, (StatusCode::OK, 20));
    }
}
