//! Which findings are listed: all of them, up to a number; from there on those of which none alike is.
//!
//! A bound on memory, not on truth: what is not listed is counted by verdict, as it was graded when it was found. How its
//! pin ends is not followed, and a page of it that is lost twice may be counted twice.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::Trace;
use crate::{
    event::Comm,
    finding::{Finding, Verdict},
};

/// Findings that are listed whatever they are.
const LISTED: usize = 100_000;

/// Kinds that are told apart: a thread can give itself a new name for each finding.
const KINDS: usize = 4096;

/// What findings that are alike have in common: verdict, name of the holder, cause, and the code that pinned.
type Kind = (Verdict, Comm, &'static str, Box<[u64]>);

/// Findings that are listed, by kind, and those that are not.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    kinds: HashSet<Kind>,
    unlisted: BTreeMap<Verdict, u64>,
}

impl Listed {
    /// Whether a finding is to be listed beside so many. Else it is counted.
    pub fn takes(&mut self, finding: &Finding, listed: usize) -> bool {
        let is_new = self.kinds.len() < KINDS && self.kinds.insert(kind(finding));
        if is_new || listed < LISTED {
            return true;
        }
        *self.unlisted.entry(finding.verdict).or_default() += 1;
        false
    }
}

fn kind(finding: &Finding) -> Kind {
    let (holder, stack) = match (&finding.pin, &finding.reference) {
        (Some(pin), _) => (pin.holder.comm, &pin.stack),
        (None, Some(reference)) => (finding.writer.comm, &reference.stack),
        (None, None) => (finding.writer.comm, &finding.writer_stack),
    };
    let cause = finding.cause.as_ref().map_or("", |cause| cause.kind.name());
    (finding.verdict, holder, cause, stack.kernel().into())
}

impl Trace {
    /// Findings that are counted and not listed, all verdicts together.
    pub fn unlisted(&self) -> u64 {
        self.listed.unlisted.values().sum()
    }

    /// The same by verdict, the worst first.
    pub fn unlisted_verdicts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        self.listed.unlisted.iter().rev().map(|(verdict, count)| (*verdict, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::How;

    #[test]
    fn beyond_the_bound_a_finding_is_listed_if_none_alike_is() {
        let mut listed = Listed::default();
        let found = |verdict| Finding::new(verdict, How::Copied);
        assert!(listed.takes(&found(Verdict::Lost), 0));
        assert!(listed.takes(&found(Verdict::Lost), LISTED - 1));
        assert!(!listed.takes(&found(Verdict::Lost), LISTED));
        assert!(listed.takes(&found(Verdict::Armed), LISTED), "the first of its kind");
        assert!(!listed.takes(&found(Verdict::Armed), LISTED + 1));
        let by = |name: usize| {
            let mut finding = found(Verdict::StaleRead);
            finding.writer.comm.0[..8].copy_from_slice(&name.to_le_bytes());
            finding
        };
        let renamed = (0..2 * KINDS).filter(|name| listed.takes(&by(*name), LISTED)).count();
        assert_eq!(renamed, KINDS - 2, "however many names there are");
        let trace = Trace { listed, ..Trace::default() };
        let verdicts: Vec<_> = trace.unlisted_verdicts().collect();
        let stale = (KINDS + 2) as u64;
        assert_eq!(
            verdicts,
            [(Verdict::Lost, 1), (Verdict::StaleRead, stale), (Verdict::Armed, 1)]
        );
        assert_eq!(trace.unlisted(), 2 + stale);
    }
}
