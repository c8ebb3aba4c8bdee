//! Answers a page of a list. A long page is streamed in chunks, as fast as the client reads.

use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::http::header::{ContentType, LINK};
use actix_web::web::Bytes;
use futures_util::stream::{self, StreamExt};
use tracker_core::Page;
use tracker_core::json::WriteJson;

use super::{Paging, Start};
use crate::cursor::Cursor;
use crate::error::ApiError;

impl Paging {
    /// Answers with this page. `fetch` reads records, and `cursor` returns the cursor of a record.
    ///
    /// Streams a page of more than one chunk. If `fetch` fails for a later chunk, the response ends without its final
    /// chunk, so that the client notices that it is incomplete.
    pub async fn answer<T, K, F>(
        self,
        fetch: impl Fn(Page<K>) -> F + 'static,
        cursor: impl Fn(&T) -> K + 'static,
    ) -> Result<HttpResponse, ApiError>
    where
        T: WriteJson + 'static,
        K: Cursor + 'static,
        F: Future<Output = Result<Vec<T>, ApiError>>,
    {
        let (page, chunk) = (self.page()?, self.chunk);
        let rest = page.limit.saturating_sub(chunk);
        let first = fetch(Page { limit: page.limit.min(chunk), ..page.clone() }).await?;
        let is_complete = rest == 0 || first.len() < chunk as usize;
        let last = match self.start {
            // The `Link` header precedes the chunks and needs the page's last record.
            Start::Before(_) if !is_complete => {
                let last = fetch(Page { limit: 1, after: page.after, offset: u64::from(page.limit) - 1 }).await?;
                last.first().map(&cursor)
            }
            _ => first.last().filter(|_| first.len() == page.limit as usize).map(&cursor),
        };
        let mut response = HttpResponse::Ok();
        if let Some(link) = self.link(last) {
            response.insert_header((LINK, link));
        }
        response.content_type(ContentType::json());
        if is_complete {
            return Ok(response.body(json(first.as_slice())));
        }
        let begin = array_chunk(&first, b'[', false);
        let after = first.last().map(&cursor);
        let list = Rc::new((fetch, cursor));
        let chunks = stream::try_unfold((after, rest), move |(after, rest)| {
            let list = list.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let (fetch, cursor) = list.as_ref();
                let limit = rest.min(chunk);
                let records = fetch(Page { limit, after: Some(after), offset: 0 }).await?;
                let is_last = limit == rest || records.len() < limit as usize;
                let after = records.last().filter(|_| !is_last).map(cursor);
                Ok::<_, ApiError>(Some((array_chunk(&records, b',', is_last), (after, rest - limit))))
            }
        });
        Ok(response.streaming(stream::once(async { Ok(begin) }).chain(chunks)))
    }
}

/// Writes a record or a list as JSON.
pub fn json(value: &(impl WriteJson + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    value.write_json(&mut bytes);
    bytes
}

/// Writes `records` as a chunk of a JSON array: `first` replaces the opening bracket, and only the last chunk keeps the
/// closing one.
fn array_chunk(records: &[impl WriteJson], first: u8, is_last: bool) -> Bytes {
    let mut bytes = json(records);
    bytes[0] = first;
    if records.is_empty() {
        bytes.remove(0);
    }
    if !is_last {
        bytes.pop();
    }
    bytes.into()
}
