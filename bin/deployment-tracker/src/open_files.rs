//! How many files the process may have open. Each connection takes some, and the database must always find one.

/// Files that a connection takes.
const PER_CONNECTION: usize = 2;
/// Files for everything else: the database, the outputs, certificates that are read.
const OTHERS: usize = 128;

/// Raises the limit as far as `connections` need it and the system allows; how many connections fit.
pub fn make_room(connections: usize) -> usize {
    let wanted = connections * PER_CONNECTION + OTHERS;
    let files = rlimit::increase_nofile_limit(wanted as u64).unwrap_or_else(|error| {
        log::warn!("cannot raise the limit of open files: {error}");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(wanted as u64, |(soft, _)| soft)
    });
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let fit = (files.saturating_sub(OTHERS) / PER_CONNECTION).max(1).min(connections);
    if fit < connections {
        log::warn!(
            "{files} files may be open, enough for {fit} connections; raise the limit (`ulimit -n`, LimitNOFILE=) to \
             {wanted}, or lower `limits.connections`"
        );
    }
    fit
}
