//! What verify prints: a line for each case that does not agree, then the counts.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::judge::Judged;
use crate::{finding::Finding, ledger::Ledger, provoke::Case, sinks::count, trace::Trace};

/// Pages of one sort: lost and found, lost and not found, kept and found, kept and not found.
#[derive(Clone, Copy, Debug, Default)]
struct Confusion([[u64; 2]; 2]);

/// The counts so far.
#[derive(Debug, Default)]
pub struct Report {
    run: usize,
    agreed: usize,
    missed: usize,
    false_alarms: usize,
    wrong: usize,
    failed: usize,
    skipped: BTreeMap<String, usize>,
    /// Found as suspects, of the references that were due.
    references: (u64, u64),
    /// References of pages that were kept, flagged and all.
    sync: (u64, u64),
    /// Causes that are right, and all that were due.
    causes: (u64, u64),
    /// Predictions that came true, and all.
    predicted: (u64, u64),
    pins: BTreeMap<(String, String), Confusion>,
}

impl Report {
    /// A case that cannot run here.
    pub fn skip(&mut self, why: String) {
        *self.skipped.entry(why).or_default() += 1;
    }

    /// A case that did not work.
    pub fn fail(
        &mut self,
        out: &mut dyn Write,
        case: Case,
        why: &str,
        as_json: bool,
    ) -> io::Result<()> {
        self.failed += 1;
        if as_json {
            return writeln!(
                out,
                "{}",
                json!({"type": "case", "case": case.to_string(), "failed": why})
            );
        }
        writeln!(out, "FAILED   {case}: {why}")
    }

    /// A case's pages, judged.
    pub fn add(
        &mut self,
        out: &mut dyn Write,
        case: Case,
        pages: &[Judged],
        findings: &[Finding],
        as_json: bool,
    ) -> io::Result<()> {
        self.run += 1;
        for page in pages {
            self.count(case, page);
        }
        let word = verdict(pages);
        match word {
            "missed" => self.missed += 1,
            "false" => self.false_alarms += 1,
            "wrong" => self.wrong += 1,
            _ => self.agreed += 1,
        }
        let said: Vec<_> = findings.iter().map(|finding| finding.verdict.name()).collect();
        let causes: Vec<_> = findings
            .iter()
            .map(|finding| finding.cause.as_ref().map(|cause| cause.kind.name()))
            .collect();
        if as_json {
            let moved = pages.iter().filter(|page| page.moved).count();
            let line = json!({
                "type": "case", "case": case.to_string(), "result": word, "pages": pages.len(),
                "moved": moved, "findings": said, "causes": causes,
                "causes_wrong": pages.iter().filter(|page| page.cause == Some(false)).count(),
            });
            return writeln!(out, "{line}");
        }
        if word == "agreed" {
            return Ok(());
        }
        let wrong = pages.iter().find_map(|page| page.wrong.as_deref()).unwrap_or_default();
        let moved: Vec<_> = pages.iter().map(|page| page.moved).collect();
        writeln!(out, "{word:<8} {case}: moved {moved:?}, found {said:?} {wrong}")
    }

    fn count(&mut self, case: Case, page: &Judged) {
        let (pin, kind) = (page.pin.clone(), case.page_name().to_owned());
        let cell = self.pins.entry((pin, kind)).or_default();
        cell.0[usize::from(!page.due)][usize::from(!page.found)] += 1;
        if !page.is_pin() {
            let of = if page.due { &mut self.references } else { &mut self.sync };
            of.0 += u64::from(page.found);
            of.1 += 1;
        }
        if let Some(right) = page.cause {
            self.causes.0 += u64::from(right);
            self.causes.1 += 1;
        }
        if page.armed {
            self.predicted.0 += u64::from(page.moved);
            self.predicted.1 += 1;
        }
    }

    /// Whether every pin was judged right, and references well enough: 95 % found, under 2 % false.
    pub fn is_good(&self) -> bool {
        let pins = self.pins.iter().filter(|((pin, _), _)| pin != "get");
        let pins = pins.map(|(_, confusion)| confusion.0[0][1] + confusion.0[1][0]).sum::<u64>();
        let (found, due) = self.references;
        let (flagged, kept) = self.sync;
        pins + (self.wrong + self.failed) as u64 == 0
            && found * 100 >= due * 95
            && flagged * 50 <= kept
            && self.predicted.0 == self.predicted.1
    }

    /// The counts.
    pub fn end(
        &self,
        out: &mut dyn Write,
        trace: &Trace,
        missed: &[String],
        as_json: bool,
    ) -> io::Result<()> {
        if as_json {
            return writeln!(out, "{}", self.json(&trace.ledger, missed));
        }
        for (why, cases) in &self.skipped {
            writeln!(out, "skipped  {}: {why}", count(*cases as u64, "case"))?;
        }
        for spot in missed {
            writeln!(out, "not seen: {spot}")?;
        }
        let skipped: usize = self.skipped.values().sum();
        writeln!(
            out,
            "{} run: {} agreed, {} missed, {} false, {} wrong, {} failed; {skipped} skipped",
            count(self.run as u64, "case"),
            self.agreed,
            self.missed,
            self.false_alarms,
            self.wrong,
            self.failed,
        )?;
        writeln!(
            out,
            "references found as suspects: {} of {}; flagged though kept: {} of {}",
            self.references.0, self.references.1, self.sync.0, self.sync.1
        )?;
        writeln!(
            out,
            "causes named right: {} of {}; predictions that came true: {} of {}",
            self.causes.0, self.causes.1, self.predicted.0, self.predicted.1
        )?;
        writeln!(
            out,
            "pages by pin and kind        due+found  due+silent  not due+found  not due+silent"
        )?;
        for ((pin, kind), Confusion([due, rest])) in &self.pins {
            writeln!(
                out,
                "  {pin:<12} {kind:<12} {:>10} {:>11} {:>14} {:>15}",
                due[0], due[1], rest[0], rest[1]
            )?;
        }
        Ok(())
    }

    fn json(&self, ledger: &Ledger, missed: &[String]) -> Value {
        let table: Vec<_> = self
            .pins
            .iter()
            .map(|((pin, kind), Confusion([due, rest]))| {
                json!({
                    "pin": pin, "page": kind, "due_found": due[0], "due_silent": due[1],
                    "not_due_found": rest[0], "not_due_silent": rest[1],
                })
            })
            .collect();
        json!({
            "type": "verify", "good": self.is_good(), "run": self.run, "agreed": self.agreed,
            "missed": self.missed, "false": self.false_alarms, "wrong": self.wrong,
            "failed": self.failed, "skipped": self.skipped, "references_found": self.references.0,
            "references_due": self.references.1, "references_flagged": self.sync.0,
            "references_kept": self.sync.1, "causes_right": self.causes.0,
            "causes_due": self.causes.1, "predicted_true": self.predicted.0,
            "predicted": self.predicted.1, "pages_live": ledger.live_pages(), "unseen": missed,
            "table": table,
        })
    }
}

/// A case in a word, by its worst page.
fn verdict(pages: &[Judged]) -> &'static str {
    let any = |wanted: fn(&Judged) -> bool| pages.iter().any(wanted);
    if pages.iter().all(Judged::agrees) {
        "agreed"
    } else if any(|page| page.due && !page.found) {
        "missed"
    } else if any(|page| (page.found && !page.due) || (page.armed && !page.moved)) {
        "false"
    } else {
        "wrong"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::schemas;

    #[test]
    fn what_it_came_to_is_as_its_schema_says() {
        let mut report = Report { agreed: 3, ..Report::default() };
        report.pins.insert(("long-write".to_owned(), "4k".to_owned()), Confusion([[1, 2], [3, 4]]));
        let value = report.json(&Ledger::default(), &["an unpin".to_owned()]);
        schemas::check("verify.json", &value);
    }
}
