//! Parts of lists: `limit`, `offset` and the `Link` to the next and the previous part.

use actix_web::dev::Payload;
use actix_web::http::header::{HOST, LINK};
use actix_web::http::uri::Authority;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tracker_core::Page;
use utoipa::IntoParams;

use crate::error::ApiError;

const DEFAULT_LIMIT: u32 = 25;
const MAX_LIMIT: u32 = 1_000;

/// The part of a list that is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "a shape, for the description only")]
pub struct PagingParameters {
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000, default = 25)]
    limit: Option<u32>,
    /// How many to pass over first.
    #[param(minimum = 0, default = 0)]
    offset: Option<u64>,
}

/// Which part of a list is asked for, and how to ask for its neighbours.
#[derive(Debug)]
pub struct Paging {
    /// The part.
    pub page: Page,
    /// The address of the list, without a query.
    address: String,
    /// The other members of the query, each with a leading `&`.
    others: String,
}

impl Paging {
    fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let (mut limit, mut offset, mut others) = (None, None, String::new());
        for member in request.query_string().split('&').filter(|member| !member.is_empty()) {
            let (name, value) = member.split_once('=').unwrap_or((member, ""));
            match decoded(name).as_str() {
                "limit" => set("limit", &mut limit, value, 1..=MAX_LIMIT.into())?,
                "offset" => set("offset", &mut offset, value, 0..=i64::MAX as u64)?,
                _ => {
                    others.push('&');
                    others.push_str(member);
                }
            }
        }
        let limit = limit.map_or(DEFAULT_LIMIT, |limit| u32::try_from(limit).unwrap_or(MAX_LIMIT));
        let page = Page { limit, offset: offset.unwrap_or(0) };
        Ok(Self { page, address: format!("http://{}{}", host(request), request.uri().path()), others })
    }

    /// The `Link` header: always `next`, and `prev` unless this is the first part.
    fn link(&self) -> String {
        let Page { limit, offset } = self.page;
        let step = u64::from(limit);
        let Self { address, others, .. } = self;
        let to = |offset: u64, rel: &str| format!("<{address}?offset={offset}&limit={limit}{others}>; rel=\"{rel}\"");
        let next = to((offset + step).min(i64::MAX as u64), "next");
        if offset == 0 {
            return next;
        }
        let previous = to(offset.saturating_sub(step), "prev");
        format!("{next}, {previous}")
    }

    /// The answer with this part of the list.
    pub fn answer(&self, rows: &impl Serialize) -> HttpResponse {
        HttpResponse::Ok().insert_header((LINK, self.link())).json(rows)
    }
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

/// The host that the client has asked, so that the links lead the same way back.
fn host(request: &HttpRequest) -> String {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let asked = header.filter(|host| host.parse::<Authority>().is_ok());
    asked.map_or_else(|| request.app_config().local_addr().to_string(), str::to_owned)
}
