//! The cases: DEVICE/PAGE/EVENT, three tables and the rule which combinations exist.
//!
//! Promise: parser, help, `--list` and the tests loop over these tables. A row
//! here and an arm in `device.rs`, `pages.rs` or `event.rs` is a new case.

use std::{fmt, str::FromStr};

/// What pins the pages, or holds a reference to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below documents each")]
pub enum DeviceKind {
    IoUring,
    IoUringRo,
    AfXdp,
    ProcessVmWrite,
    ProcessVmRead,
    ODirect,
    Vfio,
    VfioRo,
    Rdma,
    Udmabuf,
    Vmsplice,
    None,
}

/// What kind of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below documents each")]
pub enum PageKind {
    Base,
    Thp,
    ThpPte,
    Hugetlb,
    File,
    Shmem,
    Zero,
}

/// What happens to the pages between the pin and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below documents each")]
pub enum Event {
    Nothing,
    Fork,
    ForkExit,
    ForkBefore,
    Vfork,
    DontFork,
    Mprotect,
    MprotectPart,
    UffdWp,
    ClearRefs,
    PagemapScan,
    PageoutWrite,
    PageoutReadWrite,
    Ksm,
    NumaMove,
    Compact,
    Collapse,
    Mremap,
    DontNeed,
    Free,
    Remap,
    Reuse,
    Truncate,
    Punch,
    HolderExits,
}

/// One word of a case's name.
#[derive(Debug)]
pub struct Row<T> {
    /// What the word stands for.
    pub value: T,
    /// The word.
    pub name: &'static str,
    /// What it is, on a line.
    pub doc: &'static str,
}

const fn row<T>(value: T, name: &'static str, doc: &'static str) -> Row<T> {
    Row { value, name, doc }
}

/// All devices.
pub const DEVICES: &[Row<DeviceKind>] = &[
    row(
        DeviceKind::IoUring,
        "io-uring",
        "registered buffer: long-term pin for writing; the kernel then reads into it",
    ),
    row(DeviceKind::IoUringRo, "io-uring-ro", "the same, mapped read-only while the event happens"),
    row(
        DeviceKind::AfXdp,
        "af-xdp",
        "umem of an AF_XDP socket: long-term pin for writing, unpinned dirty; sends what it holds",
    ),
    row(
        DeviceKind::ProcessVmWrite,
        "process-vm-write",
        "another process is in process_vm_writev to the pages: short pin for writing",
    ),
    row(
        DeviceKind::ProcessVmRead,
        "process-vm-read",
        "another process is in process_vm_readv of the pages: short pin for reading",
    ),
    row(
        DeviceKind::ODirect,
        "o-direct",
        "O_DIRECT read from a slow disk is in flight: short pin for writing, before 6.5 a reference",
    ),
    row(
        DeviceKind::Vfio,
        "vfio",
        "a PCI device through vfio: long-term pin for writing; QEMU's edu then writes to it by DMA",
    ),
    row(DeviceKind::VfioRo, "vfio-ro", "the same, which may only read: long-term pin for reading"),
    row(
        DeviceKind::Rdma,
        "rdma",
        "memory region: long-term pin for writing, unpinned dirty; soft-RoCE writes to it",
    ),
    row(
        DeviceKind::Udmabuf,
        "udmabuf",
        "the file's pages as a DMA buffer: long-term pin by file and offset (6.12 and later)",
    ),
    row(DeviceKind::Vmsplice, "vmsplice", "a pipe refers to the pages: a reference, no pin"),
    row(DeviceKind::None, "none", "no pin and no reference"),
];

/// All kinds of pages.
pub const PAGES: &[Row<PageKind>] = &[
    row(PageKind::Base, "4k", "anonymous base pages"),
    row(PageKind::Thp, "thp", "anonymous huge page of 2 MiB, mapped as one"),
    row(PageKind::ThpPte, "thp-pte", "the same, mapped page by page before the pin"),
    row(PageKind::Hugetlb, "hugetlb", "huge page of 2 MiB from the pool, private"),
    row(PageKind::File, "file", "private mapping of a file, only read before the pin"),
    row(PageKind::Shmem, "shmem", "shared mapping of a file in memory"),
    row(PageKind::Zero, "zero", "anonymous, only read before the pin: the zero page"),
];

/// All events.
pub const EVENTS: &[Row<Event>] = &[
    row(Event::Nothing, "nothing", "nothing"),
    row(Event::Fork, "fork", "fork; the child lives"),
    row(Event::ForkExit, "fork-exit", "fork; the child is gone before the store"),
    row(Event::ForkBefore, "fork-before", "fork before the pin; the child lives"),
    row(Event::Vfork, "vfork", "a child that shares the memory until it exits, as of posix_spawn"),
    row(Event::DontFork, "dontfork", "MADV_DONTFORK, then fork; the child lives"),
    row(Event::Mprotect, "mprotect", "mprotect to read-only and back"),
    row(
        Event::MprotectPart,
        "mprotect-part",
        "the same for the first base page of each huge page, which splits its mapping",
    ),
    row(Event::UffdWp, "uffd-wp", "userfaultfd write-protects and un-protects"),
    row(Event::ClearRefs, "clear-refs", "4 into /proc/self/clear_refs: soft-dirty tracking begins"),
    row(
        Event::PagemapScan,
        "pagemap-scan",
        "PAGEMAP_SCAN write-protects what was written (6.7 and later)",
    ),
    row(Event::PageoutWrite, "pageout-write", "MADV_PAGEOUT"),
    row(Event::PageoutReadWrite, "pageout-read-write", "MADV_PAGEOUT, then a load"),
    row(Event::Ksm, "ksm", "MADV_MERGEABLE, and KSM has had time to share the pages"),
    row(Event::NumaMove, "numa-move", "move_pages to another NUMA node"),
    row(Event::Compact, "compact", "the kernel compacts all memory"),
    row(Event::Collapse, "collapse", "MADV_COLLAPSE to a huge page (6.1 and later)"),
    row(Event::Mremap, "mremap", "mremap to another address, and the store is there"),
    row(Event::DontNeed, "dontneed", "MADV_DONTNEED"),
    row(Event::Free, "free", "MADV_FREE, then MADV_PAGEOUT"),
    row(Event::Remap, "remap", "the same is mapped anew over the pages (MAP_FIXED)"),
    row(
        Event::Reuse,
        "reuse",
        "munmap, then mapped at the same address: what a registration cache takes for the same buffer",
    ),
    row(Event::Truncate, "truncate", "the file is cut to nothing and extended again"),
    row(Event::Punch, "punch", "a hole is punched over the pages in the file"),
    row(
        Event::HolderExits,
        "holder-exits",
        "fork; the process that pinned exits; the child stores and uses the ring",
    ),
];

/// What is done to which pages under whose pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What pins.
    pub device: DeviceKind,
    /// What is pinned.
    pub page: PageKind,
    /// What happens then.
    pub event: Event,
}

impl Case {
    /// The word for its pages.
    pub fn page_name(self) -> &'static str {
        PAGES.iter().find(|row| row.value == self.page).map_or("", |row| row.name)
    }

    /// All that exist, in the tables' order.
    pub fn all() -> impl Iterator<Item = Self> {
        let pages = |device| PAGES.iter().map(move |page| (device, page.value));
        let pairs = DEVICES.iter().flat_map(move |device| pages(device.value));
        let triples = pairs.flat_map(|(device, page)| {
            EVENTS.iter().map(move |event| Self { device, page, event: event.value })
        });
        triples.filter(|case| case.exists())
    }

    /// Whether the combination makes sense.
    pub const fn exists(self) -> bool {
        self.device_takes_pages() && self.pages_know_event() && self.device_knows_event()
    }

    const fn device_takes_pages(self) -> bool {
        use PageKind::{Base, File, Hugetlb, Shmem, Thp, ThpPte, Zero};
        match self.device {
            // Once pinned for writing, pages that were zero or of a private file are anonymous ones,
            // which io-uring shows.
            DeviceKind::AfXdp | DeviceKind::Vfio | DeviceKind::Rdma => {
                matches!(self.page, Base | Thp | Hugetlb | Shmem)
            }
            // Shared pages are not copied, however they are mapped.
            DeviceKind::IoUringRo => matches!(self.page, Base | Thp | ThpPte | Hugetlb),
            // What a long-term pin for reading holds may be a page that a store leaves behind.
            DeviceKind::VfioRo => matches!(self.page, Base | Thp | Hugetlb | File | Zero),
            // It takes a file in memory.
            DeviceKind::Udmabuf => matches!(self.page, Shmem),
            // A disk that is slow enough takes seconds for each case.
            DeviceKind::ODirect => matches!(self.page, Base | Hugetlb),
            _ => true,
        }
    }

    const fn pages_know_event(self) -> bool {
        use PageKind::{Base, File, Hugetlb, Shmem, Thp, ThpPte};
        match self.event {
            // The pool's pages are not reclaimed.
            Event::PageoutWrite | Event::PageoutReadWrite => !matches!(self.page, Hugetlb),
            // Others are mapped page by page anyway, or the kernel protects them as a whole only.
            Event::MprotectPart => matches!(self.page, Thp),
            // Only the process's own anonymous pages, which it has stored to, are shared or freed.
            Event::Ksm | Event::Free => matches!(self.page, Base | Thp | ThpPte),
            // The others are huge, or have nothing to put into a huge page.
            Event::Collapse => matches!(self.page, Base | ThpPte | Shmem),
            // An allocator's.
            Event::Reuse => matches!(self.page, Base),
            // It takes a file.
            Event::Truncate | Event::Punch => matches!(self.page, File | Shmem),
            _ => true,
        }
    }

    const fn device_knows_event(self) -> bool {
        match (self.device, self.event) {
            // Only a ring can be used by another process than the one that pinned.
            (device, Event::HolderExits) => matches!(device, DeviceKind::IoUring),
            // What is registered for long.
            (device, Event::Reuse) => matches!(device, DeviceKind::IoUring | DeviceKind::Vfio),
            // It is what io-uring-ro does anyway; no disk is slow for so long; and udmabuf asks for a file that
            // cannot be cut.
            (DeviceKind::IoUringRo, Event::Mprotect | Event::MprotectPart)
            | (DeviceKind::ODirect, Event::Ksm | Event::Compact)
            | (DeviceKind::Udmabuf, Event::Truncate) => false,
            _ => true,
        }
    }

    /// Whether whole huge pages are mapped, of which a few base pages are measured.
    pub(super) const fn is_large(self) -> bool {
        let huge = matches!(self.page, PageKind::Thp | PageKind::ThpPte | PageKind::Hugetlb);
        huge || matches!(self.event, Event::Collapse)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = name(DEVICES, self.device);
        write!(f, "{device}/{}/{}", name(PAGES, self.page), name(EVENTS, self.event))
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split('/').collect();
        let [device, page, event] = words[..] else {
            return Err("a case is DEVICE/PAGE/EVENT, as io-uring/4k/mprotect".to_owned());
        };
        let case = Self {
            device: value("device", DEVICES, device)?,
            page: value("kind of page", PAGES, page)?,
            event: value("event", EVENTS, event)?,
        };
        let sensible = case.exists().then_some(case);
        sensible.ok_or_else(|| "no such combination; `cowtrace provoke --list` has all".to_owned())
    }
}

/// The three tables, for the help.
pub(super) fn help() -> String {
    let devices = section("Devices", DEVICES);
    format!("{devices}\n{}\n{}", section("Pages", PAGES), section("Events", EVENTS))
}

fn section<T>(title: &str, rows: &[Row<T>]) -> String {
    let line = |row: &Row<T>| format!("  {:<20} {}\n", row.name, row.doc);
    std::iter::once(format!("{title}:\n")).chain(rows.iter().map(line)).collect()
}

fn name<T: PartialEq + Copy>(rows: &[Row<T>], value: T) -> &'static str {
    rows.iter().find(|row| row.value == value).map_or("?", |row| row.name)
}

fn value<T: Copy>(what: &str, rows: &[Row<T>], name: &str) -> Result<T, String> {
    let row = rows.iter().find(|row| row.name == name);
    row.map(|row| row.value).ok_or_else(|| {
        let names: Vec<_> = rows.iter().map(|row| row.name).collect();
        format!("no {what} {name:?}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_parsed_from_the_name_it_prints() {
        for case in Case::all() {
            assert_eq!(case.to_string().parse(), Ok(case));
        }
        assert!(Case::all().count() > 150);
    }

    #[test]
    fn every_word_is_in_some_case_and_in_the_help() {
        let (names, help): (Vec<_>, _) =
            (Case::all().map(|case| case.to_string()).collect(), help());
        let devices = DEVICES.iter().map(|row| row.name);
        let words = devices.chain(PAGES.iter().map(|row| row.name));
        for word in words.chain(EVENTS.iter().map(|row| row.name)) {
            assert!(names.iter().any(|name| name.split('/').any(|part| part == word)), "{word}");
            assert!(help.contains(&format!("  {word} ")), "{word}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_what_there_is() {
        for (text, told) in [
            ("io-uring-mprotect", "DEVICE/PAGE/EVENT"),
            ("tape/4k/fork", "there are io-uring, "),
            ("none/4k/rewind", "no event \"rewind\""),
            ("none/hugetlb/ksm", "no such combination"),
        ] {
            let refused = text.parse::<Case>().expect_err(text);
            assert!(refused.contains(told), "{refused}");
        }
    }
}
