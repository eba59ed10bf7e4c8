//! What a workload measured of one page, and how that is printed.

use std::{fmt, fs::File, os::unix::fs::FileExt as _};

use super::{Case, device::Pin};

/// One page in one repetition: a line of output.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) case: Case,
    /// The process whose pages these are, when they were stored to.
    pub(super) pid: u32,
    /// The thread that stored to them.
    pub(super) tid: u32,
    /// The process that called for the pin.
    pub(super) holder: Option<u32>,
    /// Where the page was in the process when it was pinned.
    pub(super) address: usize,
    /// Where it was when it was stored to.
    pub(super) new_address: usize,
    /// Where the device finds it, if it has addresses of its own.
    pub(super) iova: Option<u64>,
    /// The frame behind it when it was pinned.
    pub(super) pfn_before: u64,
    /// The frame behind it after the store that followed the event.
    pub(super) pfn_after: u64,
    pub(super) data: Data,
    pub(super) pin: Pin,
    /// Of how many base pages it is one that is measured.
    pub(super) pages: usize,
    /// What the kernel said that it was when it was pinned.
    pub(super) page_kind: &'static str,
}

/// What became of data that went through the pin after the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Process and device see the same.
    Sync,
    /// One does not see what the other stored.
    Lost,
    /// None went through.
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

/// What the kernel says of each frame (/proc/kpageflags); "unknown" where it does not.
pub(super) fn kinds(pfns: &[u64]) -> Vec<&'static str> {
    let flags = File::open("/proc/kpageflags").ok();
    let of = |pfn: u64| {
        let mut word = [0; 8];
        flags.as_ref()?.read_exact_at(&mut word, pfn * 8).ok()?;
        Some(kind(u64::from_ne_bytes(word)))
    };
    pfns.iter().map(|&pfn| of(pfn).unwrap_or("unknown")).collect()
}

/// By the bits of include/uapi/linux/kernel-page-flags.h, the most telling first.
fn kind(flags: u64) -> &'static str {
    const NAMES: [(u32, &str); 5] =
        [(24, "zero"), (17, "hugetlb"), (21, "ksm"), (22, "thp"), (12, "anonymous")];
    NAMES.iter().find(|(bit, _)| flags >> bit & 1 == 1).map_or("file", |(_, name)| name)
}

/// A JSON object on one line, `type` first. Written out by hand because `serde_json` sorts the
/// keys of its values; no string in it needs escaping.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, pid, tid, address, new_address, pfn_before, pfn_after, .. } = self;
        let (data, pin, moved) = (self.data.name(), self.pin.name(), pfn_before != pfn_after);
        let holder = self.holder.map_or("null".to_owned(), |pid| pid.to_string());
        let iova = self.iova.map_or("null".to_owned(), |iova| iova.to_string());
        let (pages, page_kind, dirty) = (self.pages, self.page_kind, case.device.unpins_dirty());
        write!(f, r#"{{"type":"provoke","case":"{case}","pid":{pid},"tid":{tid},"#)?;
        write!(f, r#""holder_pid":{holder},"address":{address},"new_address":{new_address},"#)?;
        write!(f, r#""pfn_before":{pfn_before},"pfn_after":{pfn_after},"moved":{moved},"#)?;
        write!(f, r#""data":"{data}","pin":"{pin}","pages":{pages},"page_kind":"{page_kind}","#)?;
        write!(f, r#""unpinned_dirty":{dirty},"iova":{iova}}}"#)
    }
}

/// A line for each.
pub(super) fn lines(outcomes: &[Outcome]) -> String {
    outcomes.iter().flat_map(|outcome| [outcome.to_string(), "\n".to_owned()]).collect()
}

/// The line of a case that cannot run here.
pub(super) fn skipped_line(case: Case, why: &str) -> String {
    // Keeps its order too; only the reason may need escapes.
    let why = serde_json::Value::from(why);
    format!(r#"{{"type":"provoke-skipped","case":"{case}","why":{why}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provoke::{DeviceKind, Event, PageKind};

    const OUTCOME: Outcome = Outcome {
        case: Case { device: DeviceKind::IoUring, page: PageKind::Base, event: Event::Mprotect },
        pid: 41,
        tid: 42,
        holder: Some(40),
        address: 0x7f00_0000_1000,
        new_address: 0x7f00_0000_1000,
        iova: Some(0x0100_0000),
        pfn_before: 5,
        pfn_after: 6,
        data: Data::Lost,
        pin: Pin::LongWrite,
        pages: 1,
        page_kind: "anonymous",
    };

    #[test]
    fn a_line_has_its_type_first_and_numbers_as_integers() {
        assert_eq!(
            OUTCOME.to_string(),
            concat!(
                r#"{"type":"provoke","case":"io-uring/4k/mprotect","pid":41,"tid":42,"holder_pid":40,"#,
                r#""address":139637976731648,"new_address":139637976731648,"#,
                r#""pfn_before":5,"pfn_after":6,"moved":true,"data":"lost","pin":"long-write","#,
                r#""pages":1,"page_kind":"anonymous","unpinned_dirty":false,"iova":16777216}"#
            )
        );
    }

    #[test]
    fn a_page_that_kept_its_frame_has_not_moved() {
        assert!(Outcome { pfn_after: 5, ..OUTCOME }.to_string().contains(r#""moved":false"#));
    }

    #[test]
    fn every_line_is_json() {
        for case in Case::all() {
            for data in [Data::Sync, Data::Lost, Data::None] {
                let line = Outcome { case, data, holder: None, iova: None, ..OUTCOME }.to_string();
                let parsed: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
                assert_eq!(parsed["case"], case.to_string());
                assert_eq!(parsed["data"], data.name());
                assert!(parsed["holder_pid"].is_null());
            }
        }
        let line = skipped_line(OUTCOME.case, r#"no "swap""#);
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(
            (&parsed["type"], &parsed["why"]),
            (&"provoke-skipped".into(), &r#"no "swap""#.into())
        );
    }

    #[test]
    fn a_frame_is_named_by_its_most_telling_flag() {
        assert_eq!(kind(1 << 12 | 1 << 22), "thp");
        assert_eq!(kind(1 << 12 | 1 << 21), "ksm");
        assert_eq!(kind(1 << 17 | 1 << 12), "hugetlb");
        assert_eq!(kind(1 << 14), "file");
    }
}
