//! What a workload measured of one page, and how that is printed.

use std::fmt;

use super::Case;

/// One page in one repetition: a line of output.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) case: Case,
    pub(super) pid: u32,
    pub(super) tid: u32,
    /// Where the page is in the process; page-aligned.
    pub(super) address: usize,
    /// The frame behind it when it was pinned.
    pub(super) pfn_before: u64,
    /// The frame behind it after the store that followed the disturbance.
    pub(super) pfn_after: u64,
    pub(super) data: Data,
}

/// What became of data that was written through the pin after the disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// The process sees it.
    Sync,
    /// The process does not see it.
    Lost,
    /// None was written: the page was not pinned.
    None,
}

impl Data {
    fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Lost => "lost",
            Self::None => "none",
        }
    }
}

/// A JSON object on one line, `type` first. Written out by hand because `serde_json` sorts the
/// keys of its values; no string in it needs escaping.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, pid, tid, address, pfn_before, pfn_after, data } = self;
        let (case, data, moved) = (case.name(), data.name(), pfn_before != pfn_after);
        write!(
            f,
            r#"{{"type":"provoke","case":"{case}","pid":{pid},"tid":{tid},"address":{address},"#
        )?;
        write!(
            f,
            r#""pfn_before":{pfn_before},"pfn_after":{pfn_after},"moved":{moved},"data":"{data}"}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    const OUTCOME: Outcome = Outcome {
        case: Case::IoUringMprotect,
        pid: 41,
        tid: 42,
        address: 0x7f00_0000_1000,
        pfn_before: 5,
        pfn_after: 6,
        data: Data::Lost,
    };

    #[test]
    fn a_line_has_its_type_first_and_numbers_as_integers() {
        assert_eq!(
            OUTCOME.to_string(),
            concat!(
                r#"{"type":"provoke","case":"io-uring-mprotect","pid":41,"tid":42,"address":139637976731648,"#,
                r#""pfn_before":5,"pfn_after":6,"moved":true,"data":"lost"}"#
            )
        );
    }

    #[test]
    fn a_page_that_kept_its_frame_has_not_moved() {
        assert!(Outcome { pfn_after: 5, ..OUTCOME }.to_string().contains(r#""moved":false"#));
    }

    #[test]
    fn every_line_is_json() {
        for &case in Case::value_variants() {
            for data in [Data::Sync, Data::Lost, Data::None] {
                let line = Outcome { case, data, ..OUTCOME }.to_string();
                let parsed: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
                assert_eq!(parsed["case"], case.name());
                assert_eq!(parsed["data"], data.name());
            }
        }
    }
}
