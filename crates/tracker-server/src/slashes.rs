//! Duplicate slashes in paths, such as `//v1/deployments`. Clients whose base URL ends with a slash send them.

use actix_web::dev::ServiceRequest;
use actix_web::http::Uri;
use actix_web::http::uri::PathAndQuery;

/// Merges duplicate slashes in the path from the byte `start`. This must precede routing. `%2F` is data of a segment and
/// stays as it is.
pub(crate) fn merge(request: &mut ServiceRequest, start: usize) {
    let (prefix, path) = request.uri().path().split_at(start);
    if !path.contains("//") {
        return;
    }
    let mut target = String::with_capacity(request.path().len());
    target.push_str(prefix);
    for c in path.chars() {
        if c != '/' || !target.ends_with('/') {
            target.push(c);
        }
    }
    if let Some(query) = request.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).expect("a valid path stays valid with fewer slashes"));
    let uri = Uri::from_parts(parts).expect("the other parts are unchanged");
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}
