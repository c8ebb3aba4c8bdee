//! Pagination: `limit` with `offset` or with the cursor `before`, and `Link` headers to the neighboring pages.

mod stream;

use std::future::{Ready, ready};
use std::ops::RangeInclusive;

use actix_web::dev::Payload;
use actix_web::http::Version;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::utf8_percent_encode;
use tracker_core::Page;
use utoipa::IntoParams;

use crate::cursor::Cursor;
use crate::error::ApiError;
use crate::servers::SEGMENT;

pub use stream::json;

const DEFAULT_LIMIT: u32 = 25;
const MAX_LIMIT: u32 = 1_000;
/// Maximum rows that one request reads at once.
const PIECE_ROWS: u32 = 50;

/// The page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only describes the parameters")]
pub struct PagingParameters {
    /// Maximum number of records in the page.
    #[param(minimum = 1, maximum = 1000, default = 25)]
    limit: Option<u32>,
    /// Number of records to skip. The cost grows with this number.
    #[param(minimum = 0, default = 0)]
    offset: Option<u64>,
    /// Cursor, instead of `offset`. Start with an empty value, then follow the `next` link; the last page has none.
    /// Every page costs the same, and new records do not shift the pages.
    before: Option<String>,
}

/// The requested page of a list.
#[derive(Debug)]
pub struct Paging {
    limit: u32,
    start: Start,
    /// Whether the response can be streamed in chunks. HTTP/1.0 has none.
    is_chunked: bool,
    /// URL of the list, without a query.
    url: String,
    /// All other query parameters, unchanged, each with a leading `&`.
    others: String,
}

/// Where the page starts.
#[derive(Debug)]
enum Start {
    Offset(u64),
    /// After the record at a cursor; without a cursor, at the first record.
    Before(Option<String>),
}

impl Paging {
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let (mut limit, mut offset, mut before, mut others) = (None, None, None, String::new());
        for parameter in request.query_string().split('&').filter(|parameter| !parameter.is_empty()) {
            // In a form, `+` means a space. Here it is the sign of a UTC offset: `before=2015-07-07T00:00:00+02:00`.
            let encoded = parameter.replace('+', "%2B");
            let Some((name, value)) = form_urlencoded::parse(encoded.as_bytes()).next() else { continue };
            match &*name {
                "limit" => read_number("limit", &mut limit, &value, 1..=MAX_LIMIT.into())?,
                "offset" => read_number("offset", &mut offset, &value, 0..=i64::MAX as u64)?,
                "before" if before.is_none() => before = Some(value.into_owned()),
                "before" => {
                    return Err(ApiError::invalid_parameter("before", "`before` is given twice; give it once"));
                }
                _ => {
                    others.push('&');
                    others.push_str(parameter);
                }
            }
        }
        let start = match (before, offset) {
            (None, offset) => Start::Offset(offset.unwrap_or(0)),
            (Some(before), None) => Start::Before(Some(before).filter(|before| !before.is_empty())),
            (Some(_), Some(_)) => {
                let message = "`before` and `offset` exclude each other; give only one of them";
                return Err(ApiError::invalid_parameter("before", message));
            }
        };
        let limit = limit.map_or(DEFAULT_LIMIT, |limit| u32::try_from(limit).unwrap_or(MAX_LIMIT));
        let is_chunked = request.version() >= Version::HTTP_11;
        let scheme = if request.app_config().secure() { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", host(request), request.uri().path());
        Ok(Self { limit, start, is_chunked, url, others })
    }

    pub(crate) fn page<K: Cursor>(&self) -> Result<Page<K>, ApiError> {
        let (after, offset) = match &self.start {
            Start::Offset(offset) => (None, *offset),
            Start::Before(None) => (None, 0),
            Start::Before(Some(cursor)) => {
                let message =
                    "`before` is not a valid cursor for this list; take it from the `Link` header of the previous page";
                let cursor = K::read(cursor).ok_or_else(|| ApiError::invalid_parameter("before", message))?;
                (Some(cursor), 0)
            }
        };
        Ok(Page { after, offset, ..Page::first(self.limit) })
    }

    /// The `Link` header. With offsets, `next` is always present, and `prev` unless this is the first page. With
    /// cursors, `next` is present unless `last`, the cursor of the page's last record, is `None`.
    pub(crate) fn link<K: Cursor>(&self, last: Option<K>) -> Option<String> {
        let Self { limit, url, others, .. } = self;
        let offset = match self.start {
            Start::Offset(offset) => offset,
            Start::Before(_) => {
                // The legacy service recorded empty hostnames. They sort last; an empty cursor would restart the list.
                let cursor = last.map(|last| last.write()).filter(|cursor| !cursor.is_empty())?;
                let cursor = utf8_percent_encode(&cursor, SEGMENT);
                return Some(format!("<{url}?before={cursor}&limit={limit}{others}>; rel=\"next\""));
            }
        };
        let step = u64::from(*limit);
        let to = |offset: u64, rel: &str| format!("<{url}?offset={offset}&limit={limit}{others}>; rel=\"{rel}\"");
        let next = to((offset + step).min(i64::MAX as u64), "next");
        if offset == 0 {
            return Some(next);
        }
        let previous = to(offset.saturating_sub(step), "prev");
        Some(format!("{next}, {previous}"))
    }
}

impl FromRequest for Paging {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::read(request))
    }
}

fn read_number(
    name: &'static str,
    number: &mut Option<u64>,
    value: &str,
    range: RangeInclusive<u64>,
) -> Result<(), ApiError> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number)) {
        Some(read) if number.is_none() => {
            *number = Some(read);
            Ok(())
        }
        _ => {
            let (from, to) = range.into_inner();
            let message = format!("`{name}` must be a whole number from {from} to {to}, given once");
            Err(ApiError::invalid_parameter(name, message))
        }
    }
}

/// The host that the client requested; links use the same host. HTTP/2 has it in the request target.
fn host(request: &HttpRequest) -> String {
    if let Some(authority) = request.uri().authority() {
        return authority.to_string();
    }
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = header.filter(|host| host.parse::<Authority>().is_ok());
    host.map_or_else(|| request.app_config().local_addr().to_string(), str::to_owned)
}
