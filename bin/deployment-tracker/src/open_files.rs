//! The limit on open files. Connections must leave enough file descriptors for the database.

use anyhow::bail;

/// Open files per connection.
const PER_CONNECTION: usize = 2;
/// Open files for the database, the outputs, and certificate files.
const DATABASE_AND_OUTPUTS: usize = 64;
/// Open files of each server worker; there is one per processor core.
const PER_WORKER: usize = 4;

/// Raises the limit as far as `connections` need and the system allows. Returns the number of connections that fit,
/// which is at most `connections`.
///
/// # Errors
/// If no connection fits.
pub fn raise_limit(connections: usize) -> anyhow::Result<usize> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let others = (DATABASE_AND_OUTPUTS + PER_WORKER * workers).max(128);
    let wanted = connections * PER_CONNECTION + others;
    let files = rlimit::increase_nofile_limit(wanted as u64).unwrap_or_else(|error| {
        log::warn!("cannot raise the limit on open files: {error}");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(wanted as u64, |(soft, _)| soft)
    });
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let fit = (files.saturating_sub(others) / PER_CONNECTION).min(connections);
    if fit == 0 {
        let minimum = others + PER_CONNECTION;
        bail!("the limit of {files} open files is too low; raise it (`ulimit -n`, LimitNOFILE=) to at least {minimum}");
    }
    if fit < connections {
        log::warn!(
            "the limit of {files} open files allows only {fit} connections; raise it (`ulimit -n`, LimitNOFILE=) to \
             {wanted}, or lower `limits.connections`"
        );
    }
    Ok(fit)
}
