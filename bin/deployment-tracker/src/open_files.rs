//! The limit on open files. Connections must leave enough file descriptors for the database.

/// Open files per connection.
const PER_CONNECTION: usize = 2;
/// Open files for everything else: the database, the outputs, and certificate files.
const OTHERS: usize = 128;

/// Raises the limit as far as `connections` need and the system allows. Returns the number of connections that fit,
/// which is at most `connections`.
pub fn raise_limit(connections: usize) -> usize {
    let wanted = connections * PER_CONNECTION + OTHERS;
    let files = rlimit::increase_nofile_limit(wanted as u64).unwrap_or_else(|error| {
        log::warn!("cannot raise the limit on open files: {error}");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(wanted as u64, |(soft, _)| soft)
    });
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let fit = (files.saturating_sub(OTHERS) / PER_CONNECTION).max(1).min(connections);
    if fit < connections {
        log::warn!(
            "the limit of {files} open files allows only {fit} connections; raise it (`ulimit -n`, LimitNOFILE=) to \
             {wanted}, or lower `limits.connections`"
        );
    }
    fit
}
