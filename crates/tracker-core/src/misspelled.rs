//! Finds misspelled fields in reports. A report with an unknown member is accepted, but its sender should hear about
//! `enviroment`.

use crate::deployment::DeploymentFields;
use crate::json::Object;
use crate::server::ServerFields;

/// Fields of deployment reports that records do not have as [`DeploymentFields`].
const OTHER_DEPLOYMENT_FIELDS: [&str; 2] = ["deployment_id", "assert_empty_server_result"];
/// Fields of server reports that records do not have as [`ServerFields`].
const OTHER_SERVER_FIELDS: [&str; 2] = ["deployment_id", "hostname"];
/// Maximum number of unknown members to examine, and the maximum length of their names in bytes.
const MAX_MEMBERS: usize = 32;
const MAX_NAME: usize = 64;

/// The fields that the report of a deployment seems to misspell. `given` is the number of [`DeploymentFields`] in it.
pub(crate) fn in_deployment(object: &Object, given: usize) -> Vec<&'static str> {
    find(object, given, DeploymentFields::NAMES, &OTHER_DEPLOYMENT_FIELDS)
}

/// The fields that the report of a server seems to misspell. `given` is the number of [`ServerFields`] in it.
pub(crate) fn in_server(object: &Object, given: usize) -> Vec<&'static str> {
    find(object, given, ServerFields::NAMES, &OTHER_SERVER_FIELDS)
}

/// Every field that a report can misspell.
pub(crate) fn all_fields() -> impl Iterator<Item = &'static str> {
    [DeploymentFields::NAMES, &OTHER_DEPLOYMENT_FIELDS, ServerFields::NAMES, &OTHER_SERVER_FIELDS]
        .into_iter()
        .flatten()
        .copied()
}

fn find(object: &Object, given: usize, fields: &[&'static str], others: &[&'static str]) -> Vec<&'static str> {
    let given = given + others.iter().filter(|name| object.get(name).is_some()).count();
    if given == object.len() {
        return Vec::new();
    }
    let known = || fields.iter().chain(others).copied();
    let unknown = object.iter().map(|(name, _)| name).filter(|name| !known().any(|field| field == *name));
    let mut misspelled = Vec::new();
    for name in unknown.take(MAX_MEMBERS).filter(|name| name.len() <= MAX_NAME) {
        let name = letters(name);
        let absent = known().filter(|field| object.get(field).is_none());
        let near = absent.filter_map(|field| {
            let letters = letters(field);
            let distance = distance(&name, &letters, (letters.len() / 4).max(1))?;
            Some((distance, field))
        });
        if let Some((_, field)) = near.min_by_key(|(distance, _)| *distance)
            && !misspelled.contains(&field)
        {
            misspelled.push(field);
        }
    }
    misspelled
}

/// The letters and digits of a name, in lower case: `engineVersion` and `engine-version` both mean `engine_version`.
fn letters(name: &str) -> Vec<char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The number of characters to insert, delete, replace or swap with their neighbor that turns `a` into `b` (optimal
/// string alignment), if it is at most `max`.
fn distance(a: &[char], b: &[char], max: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > max {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|distance| *distance <= max)
}

#[cfg(test)]
mod tests {
    use crate::DeploymentId;
    use crate::deployment::DeploymentReport;
    use crate::json::read;
    use crate::server::ServerReport;

    #[test]
    fn misspelled_fields_are_found_and_other_unknown_members_are_not() {
        let id = DeploymentId(uuid::Uuid::nil());
        for (members, expected) in [
            (r#""enviroment":1"#, &["environment"][..]),
            (r#""enviornment":1"#, &["environment"]),
            (r#""Environment":1"#, &["environment"]),
            (r#""environnement":1"#, &["environment"]),
            (r#""engineVersion":1,"engine":"e""#, &["engine_version"]),
            (r#""package-url":1,"packgae":1"#, &["package_url", "package"]),
            (r#""elapsedSeconds":1,"reuslt":1"#, &["elapsed_seconds", "result"]),
            (r#""usr":1,"hots":1,"verison":1,"argument":1"#, &["user", "host", "version", "arguments"]),
            (r#""deploymentId":1,"assert_empty_server_results":1"#, &["deployment_id", "assert_empty_server_result"]),
            (r#""enviroment":1,"enviromnent":1,"\u0065nvironmen":1"#, &["environment"]),
            // The right field is given, too.
            (r#""enviroment":1,"environment":"dev""#, &[]),
            (r#""createdAt":1,"updatedAt":1,"servers":[],"message":1,"_id":1,"":1,"é":1,"team":1"#, &[]),
            (r#""hostname":1,"ip_address":1,"environment_of_the_package":1"#, &[]),
            (r#""engine":"e","environment":"dev","deployment_id":"00000000-0000-0000-0000-000000000000""#, &[]),
            ("", &[]),
        ] {
            let body = format!("{{{members}}}");
            let report =
                DeploymentReport::read(id, read(body.as_bytes()).expect("valid JSON")).expect("a valid report");
            assert_eq!(report.misspelled, expected, "{body}");
        }
        for (members, expected) in [
            (r#""ipAddress":1,"elapsed_second":1"#, &["ip_address", "elapsed_seconds"][..]),
            (r#""ip_address":"::1","result":"success","host":1,"environment":1"#, &[]),
        ] {
            let body = format!(r#"{{"hostname":"h",{members}}}"#);
            let report = ServerReport::read(id, read(body.as_bytes()).expect("valid JSON")).expect("a valid report");
            assert_eq!(report.misspelled, expected, "{body}");
        }
    }

    #[test]
    fn many_and_long_unknown_members_are_not_examined() {
        let id = DeploymentId(uuid::Uuid::nil());
        let many: String = (0..40).map(|i| format!("\"x{i}\":1,")).collect();
        let long = "-".repeat(100);
        for body in [format!(r#"{{{many}"enviroment":1}}"#), format!(r#"{{"enviroment{long}":1}}"#)] {
            let report =
                DeploymentReport::read(id, read(body.as_bytes()).expect("valid JSON")).expect("a valid report");
            assert_eq!(report.misspelled, [""; 0], "{body}");
        }
    }
}
