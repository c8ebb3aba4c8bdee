//! Writes the Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};

use tracker_core::metrics::Histogram;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Converts nanoseconds to seconds, the base unit of the format.
pub const NANOSECONDS: f64 = 1e9;
/// Leaves a count unchanged.
pub const COUNT: f64 = 1.0;

/// Text in the format.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// Adds the samples of one metric.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Starts a metric.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        write(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.0, name }
    }

    /// Returns the text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// Adds the samples of a histogram, and divides its values by `unit`.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram, unit: f64) {
        let mut count = 0;
        for (bound, up_to) in histogram.cumulative() {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| (bound as f64 / unit).to_string());
            self.line("_bucket", labels, Some(&bound), up_to);
            count = up_to;
        }
        self.line("_sum", labels, None, histogram.sum() as f64 / unit);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        write(self.text, format_args!("{}{suffix}", self.name));
        let mut separator = '{';
        for (name, label) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            write(self.text, format_args!("{separator}{name}=\"{}\"", escaped(label)));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        write(self.text, format_args!("{end} {value}\n"));
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_follows_the_prometheus_text_format() {
        let mut exposition = Exposition::default();
        exposition.family("a_total", "counter", "Help.").sample(&[], 3).sample(&[("l", "a\"\\\n"), ("m", "x")], 4);
        let histogram = Histogram::new(&[250_000, 1_000_000_000]);
        histogram.record(250_000);
        histogram.record(1_500_000_000);
        exposition.family("d_seconds", "histogram", "Times.").histogram(&[("l", "x")], &histogram, NANOSECONDS);
        let expected = r#"# HELP a_total Help.
# TYPE a_total counter
a_total 3
a_total{l="a\"\\\n",m="x"} 4
# HELP d_seconds Times.
# TYPE d_seconds histogram
d_seconds_bucket{l="x",le="0.00025"} 1
d_seconds_bucket{l="x",le="1"} 1
d_seconds_bucket{l="x",le="+Inf"} 2
d_seconds_sum{l="x"} 1.50025
d_seconds_count{l="x"} 2
"#;
        assert_eq!(exposition.into_text(), expected);
    }
}
