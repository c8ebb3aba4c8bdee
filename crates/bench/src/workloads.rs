//! The workloads and their requests.

use anyhow::Context;
use test_servers::Server;

use crate::dataset::Dataset;

/// A log message as an engine sends it.
pub const MESSAGE: &str = r#"{"message": "Copied release 4.5.6 to /srv/www/releases and switched the link", "severity": "info", "logger": "capistrano", "task": "deploy:symlink"}"#;

/// Deployments on a page.
const PAGE: u64 = 25;
/// Deployments before a deep page. A smaller data set uses its last page.
const DEEP: u64 = 100_000;
/// The largest `limit` that the server accepts.
const MAX_LIMIT: u64 = 1_000;

/// A kind of traffic, and the data that it needs.
#[derive(Debug)]
pub struct Workload {
    pub name: String,
    pub traffic: Traffic,
    /// The data set that the database holds before; `None` for an empty database.
    pub data: Option<Dataset>,
    /// The ratio to the empty handler's requests per second that we want to reach.
    pub bar: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Starts,
    StartsAndFinishes,
    /// Log messages, this many per request.
    Logs(u64),
    /// Single deployments, each in turn.
    Gets,
    Page(Place),
    Mixed,
}

/// Which page of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    First,
    /// Past 100,000 deployments, or the last page, by `offset`.
    AtOffset,
    /// The same page by cursor.
    AtCursor,
}

/// All workloads whose data set has at most `rows` deployments.
pub fn all(rows: u64) -> Vec<Workload> {
    use Place::{AtCursor, AtOffset, First};
    let new = |name: &str, traffic, bar| Workload { name: name.into(), traffic, data: None, bar };
    let on = |name: &str, rows, servers, traffic, bar| Workload {
        name: name.into(),
        traffic,
        data: Some(Dataset { rows, servers }),
        bar,
    };
    let mut all = vec![
        new("start", Traffic::Starts, Some(0.40)),
        new("start+finish", Traffic::StartsAndFinishes, None),
        new("log1", Traffic::Logs(1), Some(0.50)),
        new("log10", Traffic::Logs(10), Some(0.22)),
        new("log100", Traffic::Logs(100), Some(0.05)),
        on("get", 1_000, 0, Traffic::Gets, Some(0.45)),
        on("get-servers", 1_000, 10, Traffic::Gets, None),
        on("list-1k", 1_000, 10, Traffic::Page(First), Some(0.04)),
    ];
    for (name, size) in [("100k", 100_000), ("1m", 1_000_000)] {
        if size <= rows {
            all.push(on(&format!("list-{name}"), size, 10, Traffic::Page(First), None));
            all.push(on(&format!("list-{name}-offset"), size, 10, Traffic::Page(AtOffset), None));
            all.push(on(&format!("list-{name}-cursor"), size, 10, Traffic::Page(AtCursor), None));
        }
    }
    all.push(new("mixed", Traffic::Mixed, None));
    all
}

impl Traffic {
    /// Log messages in each request, where that number is fixed.
    pub fn messages(self) -> Option<u64> {
        match self {
            Self::Logs(count) => Some(count),
            _ => None,
        }
    }

    /// The paths that wrk requests in turn. Empty for workloads that send reports, and if the server has no cursors.
    pub fn paths(self, server: &Server, data: Option<Dataset>) -> anyhow::Result<Vec<String>> {
        let rows = data.map_or(0, |data| data.rows);
        let deep = DEEP.min(rows.saturating_sub(PAGE));
        match self {
            Self::Gets => {
                let page = server.read(&format!("/v1/deployments?limit={MAX_LIMIT}"));
                let ids = page.as_array().into_iter().flatten().filter_map(|row| row["deployment_id"].as_str());
                Ok(ids.map(|id| format!("/v1/deployments/{id}")).collect())
            }
            Self::Page(Place::First) => Ok(vec![format!("/v1/deployments?limit={PAGE}")]),
            Self::Page(Place::AtOffset) => Ok(vec![format!("/v1/deployments?limit={PAGE}&offset={deep}")]),
            Self::Page(Place::AtCursor) => follow(server, deep).map(|path| path.into_iter().collect()),
            Self::Starts | Self::StartsAndFinishes | Self::Logs(_) | Self::Mixed => Ok(Vec::new()),
        }
    }

    /// The arguments of wrk's script: the kind of traffic and its parameters.
    pub fn script(self, paths_file: &str) -> Vec<String> {
        let arguments =
            |kind: &str, parameters: &[&str]| [&[kind], parameters].concat().into_iter().map(str::to_owned).collect();
        match self {
            Self::Starts => arguments("starts", &[]),
            Self::StartsAndFinishes => arguments("starts_and_finishes", &[]),
            Self::Logs(count) => arguments("logs", &[MESSAGE, &count.to_string()]),
            Self::Gets | Self::Page(_) => arguments("gets", &[paths_file]),
            Self::Mixed => arguments("mixed", &[MESSAGE]),
        }
    }
}

/// The path of the page after `count` deployments, found by following `rel="next"` from the first page. `None` if the
/// server has no cursors.
fn follow(server: &Server, count: u64) -> anyhow::Result<Option<String>> {
    let step = MAX_LIMIT.min(count);
    let mut path = format!("/v1/deployments?before=&limit={step}");
    for _ in 0..count / step.max(1) {
        let response = server.get(&path);
        let link = response.header("link").and_then(next);
        match link.and_then(|link| link.split_once("/v1/")) {
            Some((_, rest)) if rest.contains("before=") && !rest.contains("offset=") => path = format!("/v1/{rest}"),
            _ => return Ok(None),
        }
    }
    let (address, _) = path.split_once('?').context("the link to the next page has no query")?;
    let parameters = path.split(['?', '&']).skip(1).filter(|parameter| !parameter.starts_with("limit="));
    let query = parameters.chain([format!("limit={PAGE}").as_str()]).collect::<Vec<_>>().join("&");
    Ok(Some(format!("{address}?{query}")))
}

fn next(link: &str) -> Option<&str> {
    let next = link.split(", ").find(|part| part.ends_with("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_other_links() {
        let link = "<http://a/v1/deployments?offset=0>; rel=\"prev\", <http://a/v1/deployments?before=x>; rel=\"next\"";
        assert_eq!(next(link), Some("http://a/v1/deployments?before=x"));
        assert_eq!(next("<http://a/>; rel=\"prev\""), None);
    }
}
