//! Metrics as Prometheus reads them: the text format 0.0.4, or OpenMetrics 1.0 for who asks for it.
//!
//! Both are written here, since the libraries write one or the other: promtool checks the first, and scrapers ask for
//! the second. They differ in where a counter's `_total` stands, in the unit and in the end.

use std::fmt::{self, Write};

use super::{Distribution, Family, Kind, Labels, Value};

/// In which of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// What an `Accept` header asks for. Who does not name OpenMetrics gets what everybody reads.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All families; those without values are left out.
pub fn text(families: &[Family], form: Form) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.points.is_empty()) {
        // A String takes everything.
        let _ = write_family(&mut text, family, form);
    }
    if form == Form::OpenMetrics {
        text += "# EOF\n";
    }
    text
}

fn write_family(out: &mut String, family: &Family, form: Form) -> fmt::Result {
    let total = if family.kind == Kind::Counter { "_total" } else { "" };
    let sample = format!("{}{total}", family.name);
    let name = if form == Form::Text { &sample } else { family.name };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(out, "# HELP {name} {}.", family.help)?;
    writeln!(out, "# TYPE {name} {kind}")?;
    if let Some(unit) = family.unit.filter(|_| form == Form::OpenMetrics) {
        writeln!(out, "# UNIT {name} {}", unit.name())?;
    }
    for point in &family.points {
        match &point.value {
            Value::Number(value) => writeln!(out, "{sample}{} {value}", braces(&point.labels))?,
            Value::Distribution(values) => write_distribution(out, &sample, &point.labels, values)?,
        }
    }
    Ok(())
}

fn write_distribution(
    out: &mut String,
    name: &str,
    labels: &Labels,
    values: &Distribution,
) -> fmt::Result {
    let mut bucket = |bound: String, count: u64| {
        let labels: Labels = labels.iter().cloned().chain([("le", bound)]).collect();
        writeln!(out, "{name}_bucket{} {count}", braces(&labels))
    };
    let mut up_to = 0;
    for (bound, count) in &values.buckets {
        up_to += count;
        bucket(format!("{bound:?}"), up_to)?;
    }
    bucket("+Inf".to_owned(), values.count)?;
    let labels = braces(labels);
    writeln!(out, "{name}_sum{labels} {}", values.sum)?;
    writeln!(out, "{name}_count{labels} {}", values.count)
}

/// `{a="b"}`, or nothing where there are none.
fn braces(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::sinks::metrics::Point;

    fn check(form: Form, expected: &Expect) {
        let labels = || vec![("by", "a \"b\"\\\n".to_owned())];
        let values = Distribution { buckets: vec![(0.25, 1), (1.0, 2)], count: 4, sum: 9.5 };
        let took = Point { labels: labels(), value: Value::Distribution(values) };
        let families = [
            Family::new(Kind::Counter, "x_seconds", "Time it took").with(labels(), 1.5),
            Family::new(Kind::Gauge, "y", "How many there are").with(Labels::new(), 3.0),
            Family::new(Kind::Gauge, "z", "Nothing is known of it"),
            Family { points: vec![took], ..Family::new(Kind::Histogram, "t_seconds", "Times") },
        ];
        expected.assert_eq(&text(&families, form));
    }

    #[test]
    fn the_text_format_names_a_counter_as_its_sample() {
        check(
            Form::Text,
            &expect![[r#"
                # HELP x_seconds_total Time it took.
                # TYPE x_seconds_total counter
                x_seconds_total{by="a \"b\"\\\n"} 1.5
                # HELP y How many there are.
                # TYPE y gauge
                y 3
                # HELP t_seconds Times.
                # TYPE t_seconds histogram
                t_seconds_bucket{by="a \"b\"\\\n",le="0.25"} 1
                t_seconds_bucket{by="a \"b\"\\\n",le="1.0"} 3
                t_seconds_bucket{by="a \"b\"\\\n",le="+Inf"} 4
                t_seconds_sum{by="a \"b\"\\\n"} 9.5
                t_seconds_count{by="a \"b\"\\\n"} 4
            "#]],
        );
    }

    #[test]
    fn openmetrics_names_a_counter_without_total_and_tells_unit_and_end() {
        check(
            Form::OpenMetrics,
            &expect![[r#"
                # HELP x_seconds Time it took.
                # TYPE x_seconds counter
                # UNIT x_seconds seconds
                x_seconds_total{by="a \"b\"\\\n"} 1.5
                # HELP y How many there are.
                # TYPE y gauge
                y 3
                # HELP t_seconds Times.
                # TYPE t_seconds histogram
                # UNIT t_seconds seconds
                t_seconds_bucket{by="a \"b\"\\\n",le="0.25"} 1
                t_seconds_bucket{by="a \"b\"\\\n",le="1.0"} 3
                t_seconds_bucket{by="a \"b\"\\\n",le="+Inf"} 4
                t_seconds_sum{by="a \"b\"\\\n"} 9.5
                t_seconds_count{by="a \"b\"\\\n"} 4
                # EOF
            "#]],
        );
    }

    #[test]
    fn openmetrics_is_for_who_asks_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
        assert_eq!(Form::accepted("*/*"), Form::Text);
        assert_eq!(Form::accepted(""), Form::Text);
    }
}
