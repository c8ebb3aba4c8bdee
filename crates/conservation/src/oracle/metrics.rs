//! Compares the StatsD counters with the records and the elements.

use std::collections::BTreeMap;

use super::{Kind, Outcome, Verdict, text};
use crate::ledger::ANNOUNCEMENT;

impl Verdict {
    pub(super) fn judge_metrics(&mut self, outcome: &Outcome) {
        let sums: BTreeMap<String, u64> = test_servers::statsd_sum(&outcome.metrics)
            .iter()
            .filter_map(|line| line.strip_suffix("|c")?.rsplit_once(':'))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        let sum = |matches: &dyn Fn(&str) -> bool| {
            sums.iter().filter(|(name, _)| matches(name)).map(|(_, sum)| sum).sum::<u64>()
        };
        let records = || outcome.records.values();
        let servers = || records().flat_map(|record| record["servers"].as_array().into_iter().flatten());
        let logs = outcome.elements.iter().filter(|element| !text(element, "message").starts_with(ANNOUNCEMENT));
        let of_server = |name: &str, suffix: &str| name.starts_with("dt.servers.") && name.ends_with(suffix);
        let is_result = |name: &str| ["dt.deployments.success", "dt.deployments.failure"].contains(&name);
        for (events, counted, happened) in [
            ("starts", sum(&|name| name == "dt.deployments.started"), records().count()),
            ("finishes", sum(&is_result), records().filter(|record| record.get("result").is_some()).count()),
            ("server starts", sum(&|name| of_server(name, ".started")), servers().count()),
            (
                "server finishes",
                sum(&|name| of_server(name, ".success") || of_server(name, ".failure")),
                servers().filter(|server| server.get("elapsed_seconds").is_some()).count(),
            ),
            ("log messages", sum(&|name| name == "dt.logs.message"), logs.count()),
        ] {
            let happened = happened as u64;
            if counted > happened {
                let description = format!("StatsD counted {counted} {events}, but there were {happened}");
                self.add_times(counted - happened, Kind::Overcounted, &description);
            }
        }
    }
}
