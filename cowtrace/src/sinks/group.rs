//! Findings that are alike: same verdict, holder, cause and code site. A thousand lost pages of one buffer are one
//! thing to the person who has to mend it.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;

use super::stack;
use crate::{
    event::{Comm, Time},
    finding::{Finding, Verdict},
    ledger::PinId,
    trace::Trace,
};

/// What findings that are alike have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Kind {
    /// Their verdict.
    pub verdict: &'static str,
    /// Name of the process that pinned; of the one that lost the page where no pin was seen.
    pub holder: String,
    /// What write-protected or discarded the pages.
    pub cause: &'static str,
    /// The function that asked for the pin.
    pub site: Option<String>,
}

/// Findings that are alike.
#[derive(Clone, Debug)]
pub struct Group<'t> {
    /// In what.
    pub kind: Kind,
    /// The same, to be compared.
    pub verdict: Verdict,
    /// In the order found; at least one.
    pub findings: Vec<&'t Finding>,
}

impl<'t> Group<'t> {
    /// The example: the one found first.
    pub fn first(&self) -> &'t Finding {
        self.findings[0]
    }

    /// Pages of all of them.
    pub fn pages(&self) -> u64 {
        self.findings.iter().fold(0, |pages, finding| finding.pages.saturating_add(pages))
    }

    /// When the first and the last page was lost.
    pub fn times(&self) -> (Time, Time) {
        let times = || self.findings.iter().map(|finding| finding.broken_at);
        (times().min().unwrap_or(0), times().max().unwrap_or(0))
    }
}

/// All groups, the worst first, of those the largest.
pub fn groups<'t>(trace: &'t Trace, findings: &[&'t Finding]) -> Vec<Group<'t>> {
    let mut sites = Sites::default();
    let mut places: HashMap<(Verdict, Comm, &str, usize), usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for finding in findings {
        let holder = finding.holder().comm;
        let cause = finding.cause.as_ref().map_or("not seen", |cause| cause.kind.name());
        let site = sites.number(trace, finding);
        let place = *places.entry((finding.verdict, holder, cause, site)).or_insert_with(|| {
            let verdict = finding.verdict;
            let (holder, site) = (holder.to_string(), sites.names[site].clone());
            let kind = Kind { verdict: verdict.name(), holder, cause, site };
            groups.push(Group { kind, verdict, findings: Vec::new() });
            groups.len() - 1
        });
        groups[place].findings.push(finding);
    }
    groups.sort_by_key(|group| Reverse((group.verdict, group.findings.len())));
    groups
}

/// Code sites by number, so that the many findings of a pin look its functions' names up once.
#[derive(Default)]
struct Sites {
    names: Vec<Option<String>>,
    /// By number and time of the call: behind a gap in a recording a number may be another call's.
    by_call: HashMap<(PinId, Time), usize>,
}

impl Sites {
    fn number(&mut self, trace: &Trace, finding: &Finding) -> usize {
        let call = finding.pin.as_ref().map(|pin| (pin.call, pin.time));
        if let Some(number) = call.and_then(|call| self.by_call.get(&call)) {
            return *number;
        }
        let name = stack::site_of(trace, finding);
        let known = self.names.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        self.by_call.extend(call.map(|call| (call, number)));
        number
    }
}
