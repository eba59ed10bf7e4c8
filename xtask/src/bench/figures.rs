//! What the guest measured, by load and tool.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// All lines of a run.
pub struct Figures {
    lines: Vec<Value>,
}

impl Figures {
    /// Reads what the guest printed.
    pub fn parse(text: &str) -> Result<Self> {
        let parse =
            |line: &str| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"));
        let lines = text.lines().filter(|line| !line.is_empty());
        Ok(Self { lines: lines.map(parse).collect::<Result<_>>()? })
    }

    fn of<'a>(&'a self, kind: &'a str, tool: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind && line["tool"] == tool)
    }

    fn measured<'a>(&'a self, tool: &'a str, load: &'a str) -> impl Iterator<Item = &'a Value> {
        self.of("measured", tool).filter(move |line| line["load"] == load)
    }

    /// Instructions for one operation: the median of all passes of all rounds.
    pub fn each(&self, tool: &str, load: &str) -> Option<f64> {
        median(self.measured(tool, load).flat_map(passes).collect())
    }

    /// What a tool adds to one operation.
    pub fn added(&self, tool: &str, load: &str) -> Option<f64> {
        Some(self.each(tool, load)? - self.each("nothing", load)?)
    }

    /// What a tool's own process spends for one operation.
    pub fn aside(&self, tool: &str, load: &str) -> Option<f64> {
        median(self.measured(tool, load).filter_map(aside).collect())
    }

    /// The farthest that the median of one round is from that of all, as a part of it.
    pub fn spread(&self, tool: &str, load: &str) -> Option<f64> {
        let all = self.each(tool, load)?;
        let rounds = self.measured(tool, load).filter_map(|line| median(passes(line)));
        Some(rounds.map(|round| (round - all).abs() / all).fold(0.0, f64::max))
    }

    /// The median of a number in a tool's lines of one kind.
    pub fn number(&self, kind: &str, tool: &str, name: &str) -> Option<f64> {
        median(self.of(kind, tool).filter_map(|line| line[name].as_f64()).collect())
    }
}

/// Instructions for one operation, pass by pass.
fn passes(line: &Value) -> Vec<f64> {
    let operations = line["passes"]["operations"].as_f64().unwrap_or(1.0);
    let nanos = line["passes"]["nanos"].as_array().into_iter().flatten();
    nanos.filter_map(Value::as_f64).map(|nanos| nanos / operations).collect()
}

fn aside(line: &Value) -> Option<f64> {
    // One pass more than is told ran first.
    let passes = u32::try_from(line["passes"]["nanos"].as_array()?.len()).ok()? + 1;
    Some(line["tool_ns"].as_f64()? / line["passes"]["operations"].as_f64()? / f64::from(passes))
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"
{"type":"measured","tool":"nothing","load":"cow","tool_ns":0,"passes":{"operations":10,"nanos":[100,90,110]}}
{"type":"measured","tool":"cowtrace","load":"cow","tool_ns":80,"passes":{"operations":10,"nanos":[150,150,190]}}
{"type":"measured","tool":"cowtrace","load":"cow","tool_ns":80,"passes":{"operations":10,"nanos":[160,170,160]}}
{"type":"memory","tool":"cowtrace","resident":7}"#;

    #[test]
    fn a_tool_adds_the_difference_of_the_medians() {
        let figures = Figures::parse(RUN).unwrap();
        assert_eq!(figures.each("nothing", "cow"), Some(10.0));
        assert_eq!(figures.added("cowtrace", "cow"), Some(6.0));
        assert_eq!(figures.spread("cowtrace", "cow"), Some(1.0 / 16.0));
        assert_eq!(figures.added("cowtrace", "read"), None);
    }

    #[test]
    fn the_pass_that_does_not_count_is_in_the_tools_own_time() {
        assert_eq!(Figures::parse(RUN).unwrap().aside("cowtrace", "cow"), Some(2.0));
    }

    #[test]
    fn numbers_beside_the_loads_are_found_by_their_kind() {
        assert_eq!(
            Figures::parse(RUN).unwrap().number("memory", "cowtrace", "resident"),
            Some(7.0)
        );
    }
}
