//! What a workload measured of a page, against what was found: pure, so that each way has its test.

use serde::Deserialize;

use crate::{
    finding::{Finding, How, Verdict},
    provoke::{Case, Event, PageKind},
};

/// A page as the workload measured it: its line of output.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// Where it was pinned.
    pub address: u64,
    /// Where it was when it was stored to.
    pub new_address: u64,
    /// The frame that was pinned.
    pub pfn_before: u64,
    /// The frame after the event and a store.
    pub pfn_after: u64,
    /// Whether these differ.
    pub moved: bool,
    /// How it is held, see docs/json.md.
    pub pin: String,
    /// Where the device finds it, if it has addresses of its own.
    pub iova: Option<u64>,
}

/// How a page was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four questions, each with its own answer")]
pub struct Judged {
    /// How it was held.
    pub pin: String,
    /// It was lost, and a finding was due.
    pub due: bool,
    /// There is one.
    pub found: bool,
    /// The finding tells other pages than were measured, or an unlikely cause.
    pub wrong: Option<String>,
    /// The cause, where a finding was due and there is one: whether it is one that the event can have.
    pub cause: Option<bool>,
    /// It was predicted.
    pub armed: bool,
    /// It was lost, whether a finding was due or not.
    pub moved: bool,
}

impl Judged {
    /// Whether found is what was due, and right.
    pub fn agrees(&self) -> bool {
        self.due == self.found && self.wrong.is_none() && (!self.armed || self.moved)
    }

    /// Whether it is about a pin, not a plain reference.
    pub fn is_pin(&self) -> bool {
        self.pin != "get"
    }
}

/// Judges one page by the findings that came while its case ran.
pub fn page(case: Case, page: &Page, findings: &[Finding]) -> Judged {
    let covers = |finding: &&Finding| {
        [page.address, page.new_address]
            .iter()
            .any(|address| (finding.address..finding.end()).contains(address))
    };
    let about: Vec<&Finding> = findings.iter().filter(covers).collect();
    let zapped = matches!(
        case.event,
        Event::DontNeed
            | Event::Remap
            | Event::Reuse
            | Event::Truncate
            | Event::Punch
            | Event::Free
    );
    let (due, listed): (bool, fn(Verdict) -> bool) = match page.pin.as_str() {
        // What becomes of the holder's own address is another story than the child's.
        "long-write" if case.event == Event::HolderExits => {
            (page.moved, |verdict| verdict == Verdict::Snapshot)
        }
        "long-write" | "long-read" | "short-write" => {
            (page.moved, |verdict| verdict > Verdict::Armed)
        }
        // A page that a zap took has no write-protect fault to look at; the first store to a page of a file, or to
        // the zero page, is answered with a copy by design.
        "get" => {
            let private = !matches!(case.page, PageKind::File | PageKind::Zero);
            (page.moved && !zapped && private, |verdict| verdict != Verdict::Armed)
        }
        // By design a short-term read may miss what is stored later.
        _ => (false, |verdict| verdict > Verdict::Armed),
    };
    let found = about.iter().filter(|finding| listed(finding.verdict)).max_by_key(|f| f.verdict);
    Judged {
        pin: page.pin.clone(),
        due,
        found: found.is_some(),
        wrong: found.and_then(|finding| other_pages(page, finding)),
        cause: found.filter(|_| due).map(|finding| is_cause(case, page, finding)),
        armed: about.iter().any(|finding| finding.verdict == Verdict::Armed),
        moved: page.moved,
    }
}

/// What a finding about this one page tells that was measured otherwise.
fn other_pages(page: &Page, finding: &Finding) -> Option<String> {
    if let Some(iova) = page.iova.filter(|_| finding.address == page.address)
        && finding.old_pfn == page.pfn_before
        && !finding.reach.iter().any(|reach| reach.iova == iova)
    {
        return Some(format!("the device finds it at {iova:#x}, found {:?}", finding.reach));
    }
    let alone = finding.pages == 1 && finding.how == How::Copied;
    let same = (finding.old_pfn, finding.new_pfn) == (page.pfn_before, page.pfn_after);
    (alone && !same).then(|| {
        format!(
            "found {:#x} -> {:#x}, measured {:#x} -> {:#x}",
            finding.old_pfn, finding.new_pfn, page.pfn_before, page.pfn_after
        )
    })
}

/// Whether the cause that a finding names is one that the event can have.
fn is_cause(case: Case, page: &Page, finding: &Finding) -> bool {
    // A pin for reading holds the file's page, or the zero page; one for writing the process's own.
    let holds_shared = finding.how == How::Copied && page.pin == "long-read";
    let wanted: &[&str] = match case.event {
        _ if holds_shared && matches!(case.page, PageKind::File | PageKind::Zero) => {
            &["first-write"]
        }
        Event::Mprotect | Event::MprotectPart => &["mprotect"],
        Event::UffdWp => &["uffd-wp", "mprotect"],
        Event::ClearRefs => &["soft-dirty", "still-shared"],
        Event::PagemapScan => &["pagemap-scan", "uffd-wp"],
        Event::DontNeed => &["madvise"],
        Event::Remap | Event::Reuse => &["munmap", "mmap"],
        Event::Truncate => &["truncate"],
        Event::Punch => &["punch-hole"],
        Event::Mremap => &["mremap"],
        Event::PageoutWrite | Event::PageoutReadWrite => &["swap", "reclaim"],
        Event::Fork | Event::ForkExit | Event::ForkBefore | Event::HolderExits => {
            &["fork", "still-shared"]
        }
        _ => return true,
    };
    // A mapping that is read-only during the event was write-protected before and after it.
    finding
        .cause
        .as_ref()
        .is_some_and(|cause| wanted.contains(&cause.kind.name()) || cause.kind.name() == "mprotect")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Api,
        reach::{Reach, ReachState},
    };

    fn measured(pin: &str, moved: bool) -> Page {
        let pfn_after = if moved { 0x50 } else { 0x40 };
        let (address, pfn_before) = (0x1000, 0x40);
        let (new_address, pin) = (address, pin.to_owned());
        Page { address, new_address, pfn_before, pfn_after, moved, pin, iova: None }
    }

    fn copied(verdict: Verdict) -> Finding {
        let (address, old_pfn, new_pfn) = (0x1000, 0x40, 0x50);
        Finding { address, old_pfn, new_pfn, ..Finding::new(verdict, How::Copied) }
    }

    fn judged(pin: &str, moved: bool, findings: &[Finding]) -> Judged {
        let case = "io-uring/4k/mprotect".parse().expect("a case");
        page(case, &measured(pin, moved), findings)
    }

    #[test]
    fn a_pinned_page_that_moved_wants_a_finding_and_one_that_stayed_wants_none() {
        let lost = copied(Verdict::Lost);
        assert!(judged("long-write", true, std::slice::from_ref(&lost)).agrees());
        assert!(!judged("long-write", true, &[]).agrees());
        assert!(!judged("long-write", false, &[lost]).agrees());
        assert!(judged("long-write", false, &[]).agrees());
    }

    #[test]
    fn a_prediction_is_right_only_if_the_page_moved_and_is_no_finding_of_it() {
        let armed = copied(Verdict::Armed);
        let both = [armed.clone(), copied(Verdict::Diverged)];
        assert!(judged("long-write", true, &both).agrees());
        assert!(!judged("long-write", true, std::slice::from_ref(&armed)).agrees());
        assert!(!judged("long-write", false, &[armed]).agrees());
    }

    #[test]
    fn a_reference_wants_a_suspect_and_a_short_read_nothing() {
        let suspect = copied(Verdict::SuspectGet);
        assert!(judged("get", true, std::slice::from_ref(&suspect)).agrees());
        assert!(!judged("get", false, &[suspect]).agrees());
        assert!(judged("short-read", true, &[]).agrees());
    }

    #[test]
    fn a_device_that_finds_the_page_elsewhere_is_wrong() {
        let case = "vfio/4k/mprotect".parse().expect("a case");
        let measured = Page { iova: Some(0x100_0000), ..measured("long-write", true) };
        let at = |iova| {
            let (device, state) = ("0000:00:03.0".into(), ReachState::Live);
            let reach = Reach { device, api: Api::Iommu, space: 1, iova, since: 0, state };
            Finding { reach: vec![reach], ..copied(Verdict::Lost) }
        };
        assert!(page(case, &measured, &[at(0x100_0000)]).agrees());
        assert!(!page(case, &measured, &[at(0x200_0000)]).agrees());
        assert!(!page(case, &measured, &[copied(Verdict::Lost)]).agrees());
    }

    #[test]
    fn a_finding_elsewhere_is_not_about_the_page_and_other_frames_are_wrong() {
        let elsewhere = Finding { address: 0x9000, ..copied(Verdict::Lost) };
        assert!(!judged("long-write", true, &[elsewhere]).found);
        let other = Finding { new_pfn: 0x51, ..copied(Verdict::Lost) };
        assert!(judged("long-write", true, &[other]).wrong.is_some());
    }
}
