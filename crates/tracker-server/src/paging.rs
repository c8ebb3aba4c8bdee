//! Parts of lists: `limit`, `offset` or `before`, and the `Link` to the next and the previous part.

use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::Version;
use actix_web::http::header::{ContentType, HOST, LINK};
use actix_web::http::uri::Authority;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use futures_util::stream::{self, StreamExt};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use tracker_core::Page;
use tracker_core::json::WriteJson;
use utoipa::IntoParams;

use crate::cursor::Cursor;
use crate::error::ApiError;
use crate::servers::SEGMENT;

const DEFAULT_LIMIT: u32 = 25;
const MAX_LIMIT: u32 = 1_000;
/// How many records are in memory at a time for one request, unless that is of HTTP/1.0, which knows no answers in pieces.
const AT_ONCE: u32 = 50;

/// The part of a list that is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct PagingParameters {
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000, default = 25)]
    limit: Option<u32>,
    /// How many to pass over first. The cost grows with it.
    #[param(minimum = 0, default = 0)]
    offset: Option<u64>,
    /// Instead of `offset`: where the last part ended. Begin with an empty one, then follow `Link`, which has no `next` at
    /// the end of the list. Each part costs the same, and none moves when something is recorded meanwhile.
    before: Option<String>,
}

/// Which part of a list is asked for, and how to ask for its neighbours.
#[derive(Debug)]
pub struct Paging {
    limit: u32,
    start: Start,
    /// How many records are read at a time.
    at_once: u32,
    /// The address of the list, without a query.
    address: String,
    /// The other members of the query, each with a leading `&`.
    others: String,
}

/// Where the part begins.
#[derive(Debug)]
enum Start {
    Offset(u64),
    /// At a cursor, or, without one, with the first record.
    Before(Option<String>),
}

impl Paging {
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let (mut limit, mut offset, mut before, mut others) = (None, None, None, String::new());
        for member in request.query_string().split('&').filter(|member| !member.is_empty()) {
            let (name, value) = member.split_once('=').unwrap_or((member, ""));
            match decoded(name).as_str() {
                "limit" => set("limit", &mut limit, value, 1..=MAX_LIMIT.into())?,
                "offset" => set("offset", &mut offset, value, 0..=i64::MAX as u64)?,
                "before" if before.is_none() => before = Some(decoded(value)),
                "before" => return Err(ApiError::member("before", "`before` stands twice; give it once")),
                _ => {
                    others.push('&');
                    others.push_str(member);
                }
            }
        }
        let start = match (before, offset) {
            (None, offset) => Start::Offset(offset.unwrap_or(0)),
            (Some(before), None) => Start::Before(Some(before).filter(|before| !before.is_empty())),
            (Some(_), Some(_)) => {
                return Err(ApiError::member("before", "`before` and `offset` exclude each other; give one of them"));
            }
        };
        let limit = limit.map_or(DEFAULT_LIMIT, |limit| u32::try_from(limit).unwrap_or(MAX_LIMIT));
        let scheme = if request.app_config().secure() { "https" } else { "http" };
        let at_once = if request.version() < Version::HTTP_11 { MAX_LIMIT } else { AT_ONCE };
        Ok(Self {
            limit,
            start,
            at_once,
            address: format!("{scheme}://{}{}", host(request), request.uri().path()),
            others,
        })
    }

    pub(crate) fn page<K: Cursor>(&self) -> Result<Page<K>, ApiError> {
        let (after, offset) = match &self.start {
            Start::Offset(offset) => (None, *offset),
            Start::Before(None) => (None, 0),
            Start::Before(Some(cursor)) => {
                let message = "`before` is no place in this list; take it from the `Link` of the part before";
                (Some(K::read(cursor).ok_or_else(|| ApiError::member("before", message))?), 0)
            }
        };
        Ok(Page { limit: self.limit, after, offset })
    }

    /// The `Link` header. By offsets: always `next`, and `prev` unless this is the first part. By cursors: `next`, unless
    /// this is the end.
    pub(crate) fn link<K: Cursor>(&self, last: Option<K>) -> Option<String> {
        let Self { limit, address, others, .. } = self;
        let offset = match self.start {
            Start::Offset(offset) => offset,
            Start::Before(_) => {
                // Behind an empty hostname, which the old service took, is nothing; and an empty cursor would begin anew.
                let cursor = last.map(|last| last.write()).filter(|cursor| !cursor.is_empty())?;
                let cursor = utf8_percent_encode(&cursor, SEGMENT);
                return Some(format!("<{address}?before={cursor}&limit={limit}{others}>; rel=\"next\""));
            }
        };
        let step = u64::from(*limit);
        let to = |offset: u64, rel: &str| format!("<{address}?offset={offset}&limit={limit}{others}>; rel=\"{rel}\"");
        let next = to((offset + step).min(i64::MAX as u64), "next");
        if offset == 0 {
            return Some(next);
        }
        let previous = to(offset.saturating_sub(step), "prev");
        Some(format!("{next}, {previous}"))
    }

    /// The answer with this part of the list: `fetch` reads records, `place` tells where one stands. A long part is read
    /// and written piece by piece, as fast as the client takes it; when a piece cannot be read, the answer breaks off, so
    /// that nobody takes it for whole.
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
        let (page, at_once) = (self.page()?, self.at_once);
        let rest = page.limit.saturating_sub(at_once);
        let first = fetch(Page { limit: page.limit.min(at_once), ..page.clone() }).await?;
        let is_all = rest == 0 || first.len() < at_once as usize;
        let end = match self.start {
            // The link is written before the rest is read.
            Start::Before(_) if !is_all => {
                let last = fetch(Page { limit: 1, after: page.after, offset: u64::from(page.limit) - 1 }).await?;
                last.first().map(&cursor)
            }
            _ => first.last().filter(|_| first.len() == page.limit as usize).map(&cursor),
        };
        let mut response = HttpResponse::Ok();
        if let Some(link) = self.link(end) {
            response.insert_header((LINK, link));
        }
        response.content_type(ContentType::json());
        if is_all {
            return Ok(response.body(json(first.as_slice())));
        }
        let begin = piece(&first, b'[', false);
        let after = first.last().map(&cursor);
        let list = Rc::new((fetch, cursor));
        let pieces = stream::try_unfold((after, rest), move |(after, rest)| {
            let list = list.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let (fetch, cursor) = list.as_ref();
                let limit = rest.min(at_once);
                let rows = fetch(Page { limit, after: Some(after), offset: 0 }).await?;
                let is_end = limit == rest || rows.len() < limit as usize;
                let after = rows.last().filter(|_| !is_end).map(cursor);
                Ok::<_, ApiError>(Some((piece(&rows, b',', is_end), (after, rest - limit))))
            }
        });
        Ok(response.streaming(stream::once(async { Ok(begin) }).chain(pieces)))
    }
}

/// What a record or a list is answered as.
pub fn json(value: &(impl WriteJson + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    value.write_json(&mut bytes);
    bytes
}

/// A piece of an array: `rows` behind a first byte, and the end of the array if this is it.
fn piece(rows: &[impl WriteJson], first: u8, is_end: bool) -> Bytes {
    let mut bytes = json(rows);
    bytes[0] = first;
    if rows.is_empty() {
        bytes.remove(0);
    }
    if !is_end {
        bytes.pop();
    }
    bytes.into()
}

impl FromRequest for Paging {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Self::read(request))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn set(
    name: &'static str,
    slot: &mut Option<u64>,
    value: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), ApiError> {
    let value = decoded(value);
    let number = Some(&value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|value| value.parse().ok()).filter(|number| range.contains(number)) {
        Some(number) if slot.is_none() => {
            *slot = Some(number);
            Ok(())
        }
        _ => {
            let (from, to) = range.into_inner();
            Err(ApiError::member(name, format!("`{name}` must be one whole number from {from} to {to}")))
        }
    }
}

/// The host that the client has asked, so that the links lead the same way back. HTTP/2 has it in the target.
fn host(request: &HttpRequest) -> String {
    if let Some(authority) = request.uri().authority() {
        return authority.to_string();
    }
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let asked = header.filter(|host| host.parse::<Authority>().is_ok());
    asked.map_or_else(|| request.app_config().local_addr().to_string(), str::to_owned)
}
