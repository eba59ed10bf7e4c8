//! The figures of `verify --cost`: medians, how far they vary, and what can be concluded from them.

use std::io::{self, Write};

use cowtrace_common::program::Program;
use serde_json::json;

use super::Took;
use crate::event::Cost;

/// What one operation takes, pass by pass.
pub struct Operation {
    /// Its load.
    pub load: &'static str,
    what: &'static str,
    alone: Vec<f64>,
    traced: Vec<f64>,
    /// What cowtrace's own process took for one, turn by turn.
    own: Vec<f64>,
    skipped: Option<String>,
}

/// The middle half of some passes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Middle {
    from: f64,
    median: f64,
    to: f64,
}

impl Middle {
    fn of(passes: &[f64]) -> Option<Self> {
        let mut passes = passes.to_vec();
        passes.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            passes.get((passes.len().checked_sub(1)? * quarters + 2) / 4).copied()
        };
        Some(Self { from: at(1)?, median: at(2)?, to: at(3)? })
    }

    /// How wide it is, as a part of the median.
    fn spread(self) -> f64 {
        (self.to - self.from) / self.median
    }

    fn overlaps(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// What came of an operation.
struct Figures {
    alone: f64,
    traced: f64,
    own: f64,
    /// The wider of both.
    spread: f64,
    /// Whether the difference is more than the machine itself varies by.
    conclusive: bool,
}

impl Operation {
    /// Nothing measured yet.
    pub fn new(load: &'static str, what: &'static str) -> Self {
        let (alone, traced, own) = (Vec::new(), Vec::new(), Vec::new());
        Self { load, what, alone, traced, own, skipped: None }
    }

    /// A turn with nothing attached.
    pub fn alone(&mut self, took: &Took) {
        let passes = self.each(took);
        self.alone.extend(passes);
    }

    /// A turn with cowtrace attached.
    pub fn traced(&mut self, took: &Took) {
        let passes = self.each(took);
        self.traced.extend(passes);
        if let Took::Passes(passes) = took {
            // One pass more than is told ran first.
            let all = (passes.nanos.len() as u64 + 1) * passes.operations;
            self.own.push(float(passes.own) / float(all.max(1)));
        }
    }

    fn each(&mut self, took: &Took) -> Vec<f64> {
        match took {
            Took::Passes(passes) => {
                let operations = float(passes.operations.max(1));
                passes.nanos.iter().map(|nanos| float(*nanos) / operations).collect()
            }
            Took::Skipped(why) => {
                self.skipped = Some(why.clone());
                Vec::new()
            }
        }
    }

    fn figures(&self) -> Option<Figures> {
        let [alone, traced] = [Middle::of(&self.alone)?, Middle::of(&self.traced)?];
        Some(Figures {
            alone: alone.median,
            traced: traced.median,
            own: Middle::of(&self.own)?.median,
            spread: alone.spread().max(traced.spread()),
            conclusive: !alone.overlaps(traced),
        })
    }
}

/// All of it.
pub struct Table {
    /// Which kernel.
    pub kernel: String,
    /// Turns of each kind.
    pub turns: usize,
    /// The operations.
    pub operations: Vec<Operation>,
    /// How long each program ran in the turn that measured that.
    pub programs: Vec<(Program, Cost)>,
}

/// From which spread on a machine is noisy.
const NOISY: f64 = 0.1;

impl Table {
    /// For people.
    pub fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "what tracing costs on kernel {}, {} turns each\n", self.kernel, self.turns)?;
        let heads = ["alone ns", "traced ns", "ratio", "spread", "cowtrace ns"];
        writeln!(
            out,
            "{:<38}{}",
            "one operation",
            heads.map(|head| format!("{head:>12}")).concat()
        )?;
        for operation in &self.operations {
            writeln!(out, "{:<38}{}", operation.what, row(operation))?;
        }
        writeln!(out, "\n{}", self.noise())?;
        writeln!(
            out,
            "traced: in the thread that does it. cowtrace: what its own process spends on it, on any CPU.\n\n\
             {:<24}{:>12}{:>12}\n",
            "eBPF program", "runs", "ns each"
        )?;
        for (program, cost) in self.ran() {
            let each = cost.each().unwrap_or(0);
            writeln!(out, "{:<24}{:>12}{each:>12}", program.name(), cost.runs)?;
        }
        Ok(())
    }

    /// For programs, a line each.
    pub fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        for operation in &self.operations {
            let figures = operation.figures();
            let of = |field: fn(&Figures) -> f64| figures.as_ref().map(field);
            let conclusive = figures.as_ref().is_some_and(|figures| figures.conclusive);
            let ratio = of(|figures| figures.traced / figures.alone).filter(|_| conclusive);
            let line = json!({
                "type": "cost", "operation": operation.load, "alone_ns": of(|figures| figures.alone),
                "traced_ns": of(|figures| figures.traced), "cowtrace_ns": of(|figures| figures.own),
                "spread": of(|figures| figures.spread), "ratio": ratio, "conclusive": conclusive,
                "skipped": operation.skipped,
            });
            writeln!(out, "{line}")?;
        }
        for (program, cost) in self.ran() {
            let line = json!({"type": "program", "name": program.name(), "runs": cost.runs, "ns": cost.nanos});
            writeln!(out, "{line}")?;
        }
        let line = json!({"type": "cost-summary", "kernel": self.kernel, "turns": self.turns, "spread": self.spread()});
        writeln!(out, "{line}")
    }

    fn ran(&self) -> impl Iterator<Item = &(Program, Cost)> {
        self.programs.iter().filter(|(_, cost)| cost.runs > 0)
    }

    /// The widest of all.
    fn spread(&self) -> Option<f64> {
        let figures = self.operations.iter().filter_map(Operation::figures);
        figures.map(|figures| figures.spread).max_by(f64::total_cmp)
    }

    /// How noisy the machine was.
    fn noise(&self) -> String {
        let Some(spread) = self.spread() else { return "nothing could be measured".to_owned() };
        let percent = spread * 100.0;
        let how = if spread < NOISY { "quiet" } else { "noisy: run it again when less goes on" };
        format!(
            "the machine was {how}. The middle half of the passes of one operation is at most {percent:.1} % wide; where \
             those of both overlap, the ratio is within the noise and not told"
        )
    }
}

fn row(operation: &Operation) -> String {
    let Some(figures) = operation.figures() else {
        let why = operation.skipped.as_deref().unwrap_or("not measured");
        return format!("    skipped: {why}");
    };
    let ratio = if figures.conclusive {
        format!("{:.2}", figures.traced / figures.alone)
    } else {
        "noise".to_owned()
    };
    format!(
        "{:>12.0}{:>12.0}{ratio:>12}{:>11.1}%{:>12.0}",
        figures.alone,
        figures.traced,
        figures.spread * 100.0,
        figures.own
    )
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "what is measured is not that exact")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::verify::cost::Passes;

    fn took(nanos: &[u64]) -> Took {
        Took::Passes(Passes { operations: 10, nanos: nanos.to_vec(), own: 600 })
    }

    fn operation(alone: &[u64], traced: &[u64]) -> Operation {
        let mut operation = Operation::new("cow", "COW break");
        operation.alone(&took(alone));
        operation.traced(&took(traced));
        operation
    }

    #[test]
    fn what_is_within_the_noise_is_not_concluded() {
        let rows = [
            operation(&[1000, 1010, 990, 1000, 1005], &[1500, 1510, 1490, 1500, 1500]),
            operation(&[1000, 1400, 900, 1300, 1100], &[1200, 1500, 1000, 1100, 1300]),
        ];
        let words = |operation| row(&operation).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(rows.map(words), ["100 150 1.50 0.5% 10", "110 120 noise 27.3% 10"]);
    }

    #[test]
    fn what_cannot_run_is_skipped_with_its_reason() {
        let mut read = Operation::new("read", "read");
        read.alone(&Took::Skipped("no such disk".to_owned()));
        assert_eq!(row(&read), "    skipped: no such disk");
    }

    #[test]
    fn the_middle_half_leaves_out_what_is_rare() {
        let middle = Middle::of(&[1.0, 100.0, 101.0, 102.0, 9000.0]);
        assert_eq!(middle, Some(Middle { from: 100.0, median: 101.0, to: 102.0 }));
        assert_eq!(Middle::of(&[]), None);
    }
}
