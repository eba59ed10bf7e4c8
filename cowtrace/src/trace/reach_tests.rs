//! Which devices reach the page of a finding: script in, states out.

use super::*;
use crate::{
    decode::Records,
    event::{Api, Attached, DeviceMap, DeviceUnmap, Extent, Pin, Stack, Task, Unpin, Zap},
};

const MM: u64 = 0xaa;
const AT: u64 = 0x1_0000;
const PFN: u64 = 0x40;
const DOMAIN: u64 = 0xd0;
const IOVA: u64 = 0x100_0000;

/// A trace in which four pages are pinned at `AT`, and where mappings are watched.
struct Script {
    trace: Trace,
    now: Time,
}

impl Script {
    fn new() -> Self {
        let mut script = Self { trace: Trace::default(), now: 0 };
        for (key, value) in
            [(key::FOLL_WRITE, "1"), (key::FOLL_LONGTERM, "256"), (key::DEVICE_MAPS, "iommu")]
        {
            script.tell(What::Fact { key: key.to_owned(), value: value.to_owned() });
        }
        script.attach(DOMAIN);
        let extents = [Extent::new(PFN, 4)].into();
        let (pages, call_pages, unlisted, gup_flags, part) = (4, 4, 0, 0x101, 0);
        let pin =
            Pin { mm: MM, address: AT, pages, call_pages, unlisted, gup_flags, part, extents };
        script.tell(What::Pin(pin));
        script
    }

    fn tell(&mut self, what: What) {
        self.tell_of(None, what);
    }

    fn tell_of(&mut self, program: Option<Program>, what: What) {
        self.now += 1;
        let (time, task, stack) = (self.now, Task::default(), Stack::default());
        self.trace.take(Ok(Event { time, task, cpu: 0, program, stack, what }));
    }

    fn attach(&mut self, space: u64) {
        self.tell(What::Attached(Attached { device: 1, space, name: "0000:00:03.0".into() }));
    }

    fn map(&mut self) {
        let (physical, bytes, device) = ((PFN - 2) << 12, 8 << 12, "".into());
        let (space, iova, api, doubtful) = (DOMAIN, IOVA, Api::Iommu, false);
        let map = DeviceMap { space, iova, physical, bytes, api, doubtful, device };
        self.tell(What::DeviceMap(map));
    }

    fn unmap(&mut self) {
        let (space, iova, bytes, api) = (DOMAIN, IOVA, 8 << 12, Api::Iommu);
        self.tell(What::DeviceUnmap(DeviceUnmap { space, iova, bytes, api }));
    }

    /// The process gives the second and third page back, and touches the second again.
    fn lose_pages(&mut self) {
        self.tell(What::Zap(Zap {
            mm: MM,
            start: AT + 0x1000,
            end: AT + 0x3000,
            vma: (AT, AT + 0x4000),
            vma_flags: 0,
            spares_cows: false,
            first: None,
        }));
        self.tell(What::Refault { mm: MM, address: AT + 0x1000, pfn: 0x900 });
    }

    fn unpin(&mut self) {
        let extents = [Extent::new(PFN, 4)].into();
        self.tell(What::Unpin(Unpin { pages: 4, unlisted: 0, make_dirty: false, extents }));
    }

    fn lose_records_of(&mut self, program: Program) {
        self.tell_of(Some(program), What::Tally(Tally { ring_full: 2, ..Tally::default() }));
    }

    /// What is said of the one finding.
    fn check(&self, verdict: Verdict, expected: &[&str]) {
        let [finding] = &*self.trace.findings else {
            panic!("{} findings", self.trace.findings.len());
        };
        let of = |reach: &crate::reach::Reach| {
            let (name, iova) = (&reach.device, reach.iova);
            format!("{name} {iova:#x} since {} {:?}", reach.since, reach.state)
        };
        let said: Vec<_> = finding.reach.iter().map(of).collect();
        assert_eq!(
            (finding.verdict, said.iter().map(String::as_str).collect()),
            (verdict, expected.to_vec())
        );
    }
}

#[test]
fn a_finding_says_which_device_maps_the_old_page_where_and_since_when() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    // The second page is the fourth of the mapping.
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Live"]);
}

#[test]
fn a_mapping_that_goes_before_the_pin_is_told_with_its_time() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    script.unmap();
    script.unpin();
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Ended(9)"]);
}

#[test]
fn a_mapping_that_outlives_the_pin_is_live_until_it_goes() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    script.unpin();
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Live"]);
    script.unmap();
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Ended(10)"]);
}

#[test]
fn a_device_that_leaves_its_domain_reaches_nothing_there_until_it_comes_back() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    script.attach(0xe0);
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Ended(9)"]);
    script.attach(DOMAIN);
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 10 Live"]);
}

#[test]
fn a_page_that_is_mapped_after_it_was_lost_is_told_as_well() {
    let mut script = Script::new();
    script.lose_pages();
    script.check(Verdict::Diverged, &[]);
    script.map();
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 8 Live"]);
}

#[test]
fn a_page_that_is_mapped_when_its_pin_has_ended_is_anothers() {
    let mut script = Script::new();
    script.lose_pages();
    script.unpin();
    script.map();
    script.check(Verdict::Diverged, &[]);
}

#[test]
fn lost_unmaps_make_it_unknown_and_nothing_else_doubtful() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    script.lose_records_of(Program::IommuUnmapExit);
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Unknown"]);
    assert_eq!((script.trace.lost(), script.trace.lost_of_devices()), (0, 2));
    assert!(script.trace.blind_spots().is_empty());
}

#[test]
fn lost_maps_make_what_is_not_mapped_unknown_and_keep_what_is() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    script.lose_records_of(Program::IommuMapExit);
    script.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Live"]);
    assert!(!script.trace.misses_reach_of(&script.trace.findings[0]));
    let mut script = Script::new();
    script.lose_pages();
    assert!(!script.trace.misses_reach_of(&script.trace.findings[0]));
    script.lose_records_of(Program::IommuMapExit);
    assert!(script.trace.misses_reach_of(&script.trace.findings[0]));
}

#[test]
fn where_mappings_are_not_watched_nothing_is_said_of_them() {
    let mut script = Script::new();
    script.trace.facts = Facts::default();
    script.tell(What::Fact { key: key::FOLL_WRITE.to_owned(), value: "1".to_owned() });
    script.map();
    script.lose_pages();
    script.lose_records_of(Program::IommuMapExit);
    script.check(Verdict::Diverged, &[]);
    assert!(!script.trace.misses_reach_of(&script.trace.findings[0]));
}

#[test]
fn a_keyframe_keeps_who_reaches_a_page_and_who_did() {
    let mut script = Script::new();
    script.map();
    script.lose_pages();
    for (told, said) in [(false, "Live"), (true, "Ended(9)")] {
        if told {
            script.unmap();
        }
        let mut again = Script { trace: Trace::default(), now: script.now };
        for event in Records::new(&script.trace.keyframe()) {
            again.trace.take(event);
        }
        let said = format!("0000:00:03.0 0x1003000 since 6 {said}");
        again.check(Verdict::Diverged, &[&said]);
        if !told {
            again.unmap();
            again.check(Verdict::Diverged, &["0000:00:03.0 0x1003000 since 6 Ended(9)"]);
        }
    }
}

#[test]
fn pages_of_a_pin_are_counted_as_far_as_a_device_finds_them_in_a_row() {
    let mut script = Script::new();
    script.map();
    let pins = script.trace.ledger.pins();
    let (pin, _) = &pins[0];
    let reach = script.trace.reach_of(pin);
    assert_eq!((reach[0].iova, script.trace.pages_reached(pin, &reach[0])), (IOVA + 0x2000, 4));
}
