//! Converts events to metrics.

use std::borrow::Cow;

use tracker_core::{DeploymentFields, Event, EventKind, Server};

use crate::config::Names;

/// The maximum length of a part of a clean name, in bytes; the rest is cut off. Graphite makes each part a file
/// name, which may have 255 bytes.
const MAX_PART: usize = 250;

/// A metric. Its name has no prefix or suffix yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Metric {
    /// A counter that increases by one.
    Count(Cow<'static, str>),
    /// A timer. The value is the reported number of seconds, although the unit of StatsD is milliseconds.
    Time(Cow<'static, str>, i64),
}

/// The escaped prefix, without a dot at its end. No part of it is empty, and no character in it ends a name.
pub(crate) fn prefix(configured: &str) -> String {
    let parts: Vec<_> = configured.split('.').filter(|part| !part.is_empty()).map(escape).collect();
    parts.join(".")
}

/// The escaped suffix. No character in it ends a name.
pub(crate) fn suffix(configured: &str) -> String {
    escape(configured)
}

/// The metrics of `event`. Log messages have none here; the output counts them for the whole delivery.
pub(crate) fn metrics(names: Names, event: &Event) -> Vec<Metric> {
    match &event.kind {
        EventKind::DeploymentStarted(deployment) => started(names, &deployment.fields),
        EventKind::DeploymentFinished(deployment) => finished(names, &deployment.fields),
        EventKind::ServerStarted(server) => {
            hostname(names, server).map(|host| Metric::Count(format!("{host}.started").into())).into_iter().collect()
        }
        EventKind::ServerFinished(server) => server_finished(names, server),
        _ => Vec::new(),
    }
}

fn started(names: Names, fields: &DeploymentFields) -> Vec<Metric> {
    let mut metrics = vec![Metric::Count("deployments.started".into())];
    if let Some(engine) = part(names, fields.engine.as_deref()) {
        metrics.push(Metric::Count(format!("deployments.engine.{engine}").into()));
    }
    if let Some(package) = package(names, fields) {
        metrics.push(Metric::Count(format!("{package}{}started", names.after_package()).into()));
    }
    metrics
}

fn finished(names: Names, fields: &DeploymentFields) -> Vec<Metric> {
    let mut metrics = Vec::with_capacity(4);
    if let Some(result) = fields.result {
        metrics.push(Metric::Count(format!("deployments.{}", result.as_str()).into()));
    }
    if let Some(elapsed) = fields.elapsed_seconds {
        metrics.push(Metric::Time("deployments.elapsed".into(), elapsed));
    }
    let Some(package) = package(names, fields) else { return metrics };
    if let Some(result) = fields.result {
        metrics.push(Metric::Count(format!("{package}.{}", result.as_str()).into()));
    }
    if let Some(elapsed) = fields.elapsed_seconds {
        metrics.push(Metric::Time(format!("{package}{}elapsed", names.after_package()).into(), elapsed));
    }
    metrics
}

fn server_finished(names: Names, server: &Server) -> Vec<Metric> {
    let Some(host) = hostname(names, server) else { return Vec::new() };
    let result = server.fields.result.map(|result| Metric::Count(format!("{host}.{}", result.as_str()).into()));
    let elapsed = server.fields.elapsed_seconds;
    let elapsed = elapsed.map(|elapsed| Metric::Time(format!("{host}.elapsed").into(), elapsed));
    result.into_iter().chain(elapsed).collect()
}

fn hostname(names: Names, server: &Server) -> Option<String> {
    part(names, Some(server.hostname.as_str())).map(|host| format!("servers.hostname.{host}"))
}

fn package(names: Names, fields: &DeploymentFields) -> Option<String> {
    let environment = part(names, fields.environment.as_deref())?;
    let package = part(names, fields.package.as_deref())?;
    Some(format!("deployments.environments.{environment}.packages.{package}"))
}

impl Names {
    /// The separator between a package and `started` or `elapsed`. Results always follow a single dot.
    fn after_package(self) -> &'static str {
        match self {
            Self::Clean => ".",
            Self::Original => "..",
        }
    }
}

/// `text` as one part of a name; `None` if it is absent or empty.
fn part(names: Names, text: Option<&str>) -> Option<String> {
    let part = escape(text.filter(|text| !text.is_empty())?);
    Some(match names {
        Names::Clean => part[..part.floor_char_boundary(MAX_PART)].replace('.', "_"),
        Names::Original => part.replacen('.', "_", 1),
    })
}

/// Replaces characters that would end a name, or create a folder in Graphite.
fn escape(text: &str) -> String {
    text.replace(|c: char| matches!(c, ':' | '|' | '@' | '/') || c.is_whitespace() || c.is_control(), "_")
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use tracker_core::testing::{logged, new_id, server_report, started as start_event};
    use tracker_core::{Deployment, DeploymentResult, time};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { kind, ..Event::clone(&start_event(DeploymentFields::default())) }
    }

    fn start(fields: DeploymentFields) -> Event {
        Event::clone(&start_event(fields))
    }

    fn finish(fields: DeploymentFields) -> Event {
        let now = Some(time::now());
        event(EventKind::DeploymentFinished(Deployment { id: new_id(), fields, created_at: now, updated_at: now }))
    }

    fn server(body: &str) -> Server {
        let report = server_report(new_id(), body);
        let (id, now) = (report.key.deployment_id, Some(time::now()));
        let fields = report.fields;
        Server { hostname: report.key.hostname, deployment_id: id, fields, created_at: now, updated_at: now }
    }

    fn named(environment: &str, package: &str) -> DeploymentFields {
        DeploymentFields {
            engine: Some("vagrant_orchestrate".into()),
            environment: Some(environment.into()),
            package: Some(package.into()),
            ..Default::default()
        }
    }

    fn done(result: Option<DeploymentResult>, elapsed_seconds: Option<i64>) -> DeploymentFields {
        DeploymentFields { result, elapsed_seconds, ..named("dev", "test") }
    }

    #[test]
    fn events_have_the_documented_metrics() {
        const SUCCESS: Option<DeploymentResult> = Some(DeploymentResult::Success);
        let dotted = r#"{"hostname":"web01.example.com","result":"success","elapsed_seconds":7}"#;
        // An event, its clean metrics, and its metrics as version 0.1 sent them. The recorded traffic of version 0.1 is
        // in `bin/deployment-tracker/tests/fixtures/wire.json`.
        let table: Vec<(Event, &[&str], &[&str])> = vec![
            (
                start(named("dev", "test")),
                &[
                    "deployments.started",
                    "deployments.engine.vagrant_orchestrate",
                    "deployments.environments.dev.packages.test.started",
                ],
                &[
                    "deployments.started",
                    "deployments.engine.vagrant_orchestrate",
                    "deployments.environments.dev.packages.test..started",
                ],
            ),
            (start(DeploymentFields::default()), &["deployments.started"], &["deployments.started"]),
            (
                start(named("", "test")),
                &["deployments.started", "deployments.engine.vagrant_orchestrate"],
                &["deployments.started", "deployments.engine.vagrant_orchestrate"],
            ),
            (
                start(named("a.b.c", "p/q:r|s@t u\n\u{2028}\u{7}ö")),
                &[
                    "deployments.started",
                    "deployments.engine.vagrant_orchestrate",
                    "deployments.environments.a_b_c.packages.p_q_r_s_t_u___ö.started",
                ],
                &[
                    "deployments.started",
                    "deployments.engine.vagrant_orchestrate",
                    "deployments.environments.a_b.c.packages.p_q_r_s_t_u___ö..started",
                ],
            ),
            (
                finish(done(SUCCESS, Some(234))),
                &[
                    "deployments.success",
                    "deployments.elapsed 234",
                    "deployments.environments.dev.packages.test.success",
                    "deployments.environments.dev.packages.test.elapsed 234",
                ],
                &[
                    "deployments.success",
                    "deployments.elapsed 234",
                    "deployments.environments.dev.packages.test.success",
                    "deployments.environments.dev.packages.test..elapsed 234",
                ],
            ),
            (
                finish(done(Some(DeploymentResult::Failure), None)),
                &["deployments.failure", "deployments.environments.dev.packages.test.failure"],
                &["deployments.failure", "deployments.environments.dev.packages.test.failure"],
            ),
            (
                finish(DeploymentFields { package: None, ..done(None, Some(0)) }),
                &["deployments.elapsed 0"],
                &["deployments.elapsed 0"],
            ),
            (finish(done(None, None)), &[], &[]),
            (
                event(EventKind::ServerStarted(server(dotted))),
                &["servers.hostname.web01_example_com.started"],
                &["servers.hostname.web01_example.com.started"],
            ),
            (
                event(EventKind::ServerFinished(server(dotted))),
                &["servers.hostname.web01_example_com.success", "servers.hostname.web01_example_com.elapsed 7"],
                &["servers.hostname.web01_example.com.success", "servers.hostname.web01_example.com.elapsed 7"],
            ),
            (event(EventKind::ServerFinished(server(r#"{"hostname":"h"}"#))), &[], &[]),
            (Event::clone(&logged(r#"{"message":"m"}"#)), &[], &[]),
        ];
        for (event, clean, original) in table {
            for (names, expected) in [(Names::Clean, clean), (Names::Original, original)] {
                let metrics = metrics(names, &event).into_iter().map(|metric| match metric {
                    Metric::Count(name) => name.into_owned(),
                    Metric::Time(name, value) => format!("{name} {value}"),
                });
                assert_eq!(metrics.collect::<Vec<_>>(), expected, "{names:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_long_part_is_cut_between_characters() {
        let long = part(Names::Clean, Some(&"ö.".repeat(1_000)));
        assert_eq!(long, Some("ö_".repeat(83)), "at most {MAX_PART} bytes");
        let original = part(Names::Original, Some(&"ö".repeat(2_048)));
        assert_eq!(original, Some("ö".repeat(2_048)), "original names are not cut");
    }

    #[test]
    fn a_prefix_has_single_dots_between_parts_and_none_at_its_ends() {
        for (configured, expected) in [
            ("deployment-tracker.", "deployment-tracker"),
            ("deployment-tracker", "deployment-tracker"),
            ("a.b", "a.b"),
            (".a..b c:.", "a.b_c_"),
            ("...", ""),
            ("", ""),
        ] {
            assert_eq!(prefix(configured), expected, "{configured:?}");
        }
    }
}
