//! The table that compares two builds.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Setting;
use crate::table::{setting_json, setting_text};
use crate::wrk::Run;

/// A workload at a number of connections: the runs of both builds, in the order of the rounds.
#[derive(Debug)]
pub struct Comparison {
    pub workload: String,
    pub connections: usize,
    pub baseline: Vec<Run>,
    pub candidate: Vec<Run>,
}

impl Comparison {
    /// Requests per second of the candidate ÷ those of the baseline, from the medians of all rounds.
    fn ratio(&self) -> f64 {
        median(&self.candidate) / median(&self.baseline)
    }

    /// The ratio of each round, which shows how much the machine varied.
    fn ratios(&self) -> Vec<f64> {
        self.baseline.iter().zip(&self.candidate).map(|(old, new)| new.per_second() / old.per_second()).collect()
    }

    fn errors(&self) -> u64 {
        self.baseline.iter().chain(&self.candidate).map(Run::errors).sum()
    }

    fn line(&self) -> String {
        format!(
            "| {} | {} | {:.0} | {:.0} | {:.3} | {} | {} |",
            self.workload,
            self.connections,
            median(&self.baseline),
            median(&self.candidate),
            self.ratio(),
            self.ratios().iter().map(|ratio| format!("{ratio:.3}")).collect::<Vec<_>>().join(" "),
            self.errors(),
        )
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.workload, "connections": self.connections, "errors": self.errors(),
            "baseline_requests_per_second": median(&self.baseline),
            "candidate_requests_per_second": median(&self.candidate),
            "ratio": self.ratio(), "ratios": self.ratios(),
        })
    }
}

/// The comparisons of a run.
#[derive(Debug)]
pub struct Comparisons {
    pub setting: Setting,
    pub rows: Vec<Comparison>,
}

impl Comparisons {
    /// The comparisons in Markdown.
    pub fn text(&self) -> String {
        let mut text = setting_text(&self.setting);
        text += "\n| workload | conn. | baseline req/s | candidate req/s | ratio | ratio of each round | errors |\n\
                 |---|--:|--:|--:|--:|---|--:|\n";
        for row in &self.rows {
            writeln!(text, "{}", row.line()).expect("a `String` accepts every write");
        }
        text
    }

    /// The comparisons for a program.
    pub fn json(&self) -> Value {
        let rows: Vec<_> = self.rows.iter().map(Comparison::json).collect();
        json!({"setting": setting_json(&self.setting), "rows": rows})
    }

    pub fn errors(&self) -> u64 {
        self.rows.iter().map(Comparison::errors).sum()
    }
}

/// The median of the requests per second; of an even number of runs, the mean of the middle two.
fn median(runs: &[Run]) -> f64 {
    let mut rates: Vec<_> = runs.iter().map(Run::per_second).collect();
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    if rates.len() % 2 == 1 { rates[middle] } else { f64::midpoint(rates[middle - 1], rates[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(rates: &[u64]) -> Vec<Run> {
        rates.iter().map(|&rate| Run::of_one_second(rate)).collect()
    }

    #[test]
    fn the_median_is_the_middle_rate_or_the_mean_of_the_middle_two() {
        assert_eq!(
            [median(&runs(&[7])), median(&runs(&[300, 100, 110])), median(&runs(&[4, 1, 3, 2]))],
            [7.0, 110.0, 2.5]
        );
    }

    #[test]
    fn the_table_has_the_medians_their_ratio_and_the_ratio_of_each_round() {
        let (baseline, candidate) = (runs(&[100, 200, 400]), runs(&[90, 210, 100]));
        let rows = vec![Comparison { workload: "start".into(), connections: 64, baseline, candidate }];
        let comparisons = Comparisons { setting: vec![("baseline", "/old".into())], rows };
        assert_eq!(
            comparisons.text(),
            "- baseline: /old\n\n\
             | workload | conn. | baseline req/s | candidate req/s | ratio | ratio of each round | errors |\n\
             |---|--:|--:|--:|--:|---|--:|\n\
             | start | 64 | 200 | 100 | 0.500 | 0.900 1.050 0.250 | 0 |\n"
        );
        assert_eq!(comparisons.json()["rows"][0]["ratio"], 0.5);
    }
}
