//! `cowtrace audit [PID]`: what is pinned now, without a trace, and which registered buffers have lost pages.
//!
//! Three witnesses that know nothing of each other: what processes say of their pins, the page map, and the
//! kernel's own counts of each page.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    btf::Btf,
    cli::AuditArgs,
    errors::{self, exit},
    kcore::PageCounts,
    pagemap::Pagemap,
    probes::{
        kernel::Kernel,
        settings::{Filter, Settings},
    },
    registered::{self, Buffer, Vma},
    sinks::count,
    sys,
};

/// Page size on the one architecture that is traced.
const PAGE: u64 = 4096;
/// Pages looked at in one go.
const STEP: u64 = 1 << 14;

/// What a range of addresses holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Pages {
    /// Pages that the kernel's own test calls maybe-pinned.
    pinned: u64,
    /// Pages that are mapped and not pinned.
    not_pinned: u64,
    /// Addresses where nothing is mapped: discarded, or unmapped by reclaim while the pin keeps the page.
    unmapped: u64,
}

/// A mapping that has pinned pages.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct PinnedVma {
    start: u64,
    end: u64,
    permissions: String,
    name: String,
    pages: Pages,
}

/// A registered buffer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct RegisteredBuffer {
    ring_fd: u32,
    index: u32,
    address: u64,
    bytes: u64,
    pages: Pages,
}

/// A process with pins.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Process {
    r#type: &'static str,
    tgid: u32,
    comm: String,
    vm_pin_kib: u64,
    pinned: Vec<PinnedVma>,
    buffers: Vec<RegisteredBuffer>,
    /// Pages of registered buffers at whose addresses the process has others.
    lost: u64,
}

/// Prints what it found; exit status 1 if a process has lost pages of a buffer.
pub fn run(args: &AuditArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    if sys::effective_uid() != 0 {
        return Err(errors::not_root());
    }
    let kernel = Kernel::read()?;
    let btf = Btf::parse(&kernel.btf).ok_or_else(|| errors::broken_btf(&kernel.release))?;
    let settings = Settings::find(&btf, &kernel.kallsyms, &Filter::default())?;
    let counts = PageCounts::open(&settings)?;
    if let Some(pid) = args.pid
        && registered::name(pid).is_none()
    {
        return Err(errors::no_process(pid));
    }
    let all = registered::processes();
    let buffers: Vec<_> = all.iter().flat_map(|tgid| buffers(*tgid, &counts)).collect();
    let (mut found, mut lost) = (0, 0);
    for tgid in all.into_iter().filter(|tgid| args.pid.is_none_or(|pid| pid == *tgid)) {
        let Some(process) = process(tgid, &buffers, &counts)? else { continue };
        found += 1;
        lost += process.lost;
        if args.json {
            serde_json::to_writer(&mut *out, &process)?;
            writeln!(out)?;
        } else {
            print(out, &process)?;
        }
    }
    if !args.json {
        summary(out, found, lost)?;
    }
    Ok(if lost > 0 { exit::FINDINGS } else { exit::CLEAN })
}

/// The buffers that a process has registered or inherited, and what it has at their addresses. A process may end
/// at any time, and then has none.
fn buffers(tgid: u32, counts: &PageCounts) -> Vec<(u32, Buffer, Pages)> {
    let look = |buffer: Buffer| {
        let look = Look { pagemap: Pagemap::of(tgid).ok()?, counts };
        let end = buffer.address.saturating_add(buffer.len);
        Some((tgid, buffer, look.pages(buffer.address & !(PAGE - 1), end).ok()?))
    };
    registered::buffers(tgid).into_iter().filter_map(look).collect()
}

/// Whether a process only inherited a ring: its parent has the pinned pages.
fn is_heir((tgid, buffer, pages): &(u32, Buffer, Pages), all: &[(u32, Buffer, Pages)]) -> bool {
    all.iter().any(|(other, same, theirs)| {
        let place = |buffer: &Buffer| (buffer.index, buffer.address, buffer.len);
        other != tgid && place(same) == place(buffer) && theirs.pinned > pages.pinned
    })
}

/// What a process has pinned; none if it has nothing.
fn process(
    tgid: u32,
    all: &[(u32, Buffer, Pages)],
    counts: &PageCounts,
) -> anyhow::Result<Option<Process>> {
    let (Some(comm), Ok(pagemap)) = (registered::name(tgid), Pagemap::of(tgid)) else {
        return Ok(None);
    };
    let look = Look { pagemap, counts };
    let mut pinned = Vec::new();
    for vma in registered::vmas(tgid) {
        let Vma { range: (start, end), permissions, name } = vma;
        let pages = look.pages(start, end)?;
        if pages.pinned > 0 {
            pinned.push(PinnedVma { start, end, permissions, name, pages });
        }
    }
    let own = all.iter().filter(|buffer| buffer.0 == tgid && !is_heir(buffer, all));
    let buffers: Vec<_> = own
        .map(|(_, buffer, pages)| RegisteredBuffer {
            ring_fd: buffer.fd,
            index: buffer.index,
            address: buffer.address,
            bytes: buffer.len,
            pages: *pages,
        })
        .collect();
    let lost = buffers.iter().map(|buffer| buffer.pages.not_pinned).sum();
    let vm_pin_kib = registered::vm_pin_kib(tgid);
    let any = !pinned.is_empty() || !buffers.is_empty() || vm_pin_kib > 0;
    let process = Process { r#type: "process", tgid, comm, vm_pin_kib, pinned, buffers, lost };
    Ok(any.then_some(process))
}

/// The page map of a process and the kernel's counts.
struct Look<'a> {
    pagemap: Pagemap,
    counts: &'a PageCounts<'a>,
}

impl Look<'_> {
    fn pages(&self, start: u64, end: u64) -> anyhow::Result<Pages> {
        let mut pages = Pages::default();
        let (mut next, end) = (start / PAGE, end.div_ceil(PAGE));
        while next < end {
            let step = (end - next).min(STEP);
            // What cannot be read has gone meanwhile, or is the kernel's own (vsyscall).
            let entries = self.pagemap.entries(next as usize, step as usize).unwrap_or_default();
            for run in entries.chunk_by(|one, other| one.map(|pfn| pfn + 1) == *other) {
                match run[0] {
                    Some(pfn) => self.add(&mut pages, pfn, run.len())?,
                    None => pages.unmapped += run.len() as u64,
                }
            }
            next += step;
        }
        Ok(pages)
    }

    fn add(&self, pages: &mut Pages, pfn: u64, run: usize) -> anyhow::Result<()> {
        // Memory of a device has no `struct page` in kcore; the kernel does not pin it for long.
        let pinned = match self.counts.maybe_pinned(pfn, run) {
            Ok(each) => each.into_iter().filter(|pinned| *pinned).count(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(errors::no_kcore(&error)),
        };
        pages.pinned += pinned as u64;
        pages.not_pinned += (run - pinned) as u64;
        Ok(())
    }
}

fn print(out: &mut dyn Write, process: &Process) -> io::Result<()> {
    let Process { comm, tgid, vm_pin_kib, .. } = process;
    writeln!(out, "{comm}[{tgid}]: {vm_pin_kib} KiB accounted as pinned (VmPin)")?;
    for vma in &process.pinned {
        let PinnedVma { start, end, permissions, name, pages } = vma;
        writeln!(
            out,
            "  {start:#x}-{end:#x} {permissions} {name:<8} {} maybe-pinned",
            count(pages.pinned, "page")
        )?;
    }
    for buffer in &process.buffers {
        let RegisteredBuffer { ring_fd, index, address, pages, .. } = buffer;
        let all = pages.pinned + pages.not_pinned + pages.unmapped;
        write!(
            out,
            "  io_uring of fd {ring_fd}, buffer {index}: {} from {address:#x} on: ",
            count(all, "page")
        )?;
        writeln!(out, "{}", buffer_words(*pages))?;
    }
    Ok(())
}

fn buffer_words(pages: Pages) -> String {
    let words = match pages.not_pinned {
        0 => "pinned where they are mapped".to_owned(),
        others => format!(
            "LOST: the process has {} there that {} not pinned, the device has others",
            count(others, "page"),
            if others == 1 { "is" } else { "are" }
        ),
    };
    match pages.unmapped {
        0 => words,
        unmapped => format!("{words}; {unmapped} not mapped now"),
    }
}

fn summary(out: &mut dyn Write, found: usize, lost: u64) -> io::Result<()> {
    let processes = match found {
        1 => "1 process".to_owned(),
        several => format!("{several} processes"),
    };
    match (found, lost) {
        (0, _) => writeln!(out, "nothing is pinned"),
        (_, 0) => writeln!(
            out,
            "{processes}: no registered buffer has lost a page. Of pins whose buffers nobody lists (RDMA, vfio, \
             AF_XDP) only a trace from their start tells"
        ),
        (_, lost) => {
            writeln!(out, "{processes}: {} of registered buffers lost", count(lost, "page"))
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::sinks::schemas;

    fn buffer(tgid: u32, address: u64, pinned: u64) -> (u32, Buffer, Pages) {
        let pages = Pages { pinned, not_pinned: 4 - pinned, unmapped: 0 };
        (tgid, Buffer { fd: 9, index: 0, address, len: 0x4000 }, pages)
    }

    #[test]
    fn who_inherited_a_ring_has_lost_nothing_while_another_has_the_pages() {
        let (parent, child) = (buffer(1, 0x1000, 3), buffer(2, 0x1000, 0));
        let all = [parent, child];
        assert!(is_heir(&all[1], &all));
        assert!(!is_heir(&all[0], &all), "it has lost one");
    }

    #[test]
    fn pages_that_are_only_not_mapped_are_not_called_lost() {
        let words = |not_pinned, unmapped| buffer_words(Pages { pinned: 1, not_pinned, unmapped });
        assert_eq!(words(0, 0), "pinned where they are mapped");
        assert_eq!(words(0, 2), "pinned where they are mapped; 2 not mapped now");
        assert!(words(1, 0).starts_with("LOST: the process has 1 page there that is not pinned"));
    }

    #[test]
    fn a_process_is_as_its_schema_says() {
        let root = schemas::generator().into_root_schema_for::<Process>();
        expect_file!["../../../docs/schema/audit.json"].assert_eq(&schemas::text(&root));
        let pages = Pages { pinned: 1, not_pinned: 2, unmapped: 0 };
        let (name, permissions) = (String::new(), "rw-p".to_owned());
        let process = Process {
            r#type: "process",
            tgid: 7,
            comm: "trainer".to_owned(),
            vm_pin_kib: 4,
            pinned: vec![PinnedVma { start: 0x1000, end: 0x4000, permissions, name, pages }],
            buffers: vec![RegisteredBuffer {
                ring_fd: 3,
                index: 0,
                address: 0x1000,
                bytes: 9,
                pages,
            }],
            lost: 2,
        };
        schemas::check("audit.json", &serde_json::to_value(process).expect("JSON"));
    }

    #[test]
    fn a_buffer_elsewhere_or_one_that_nobody_has_pinned_makes_no_heir() {
        let all = [buffer(1, 0x9000, 4), buffer(2, 0x1000, 0), buffer(3, 0x1000, 0)];
        assert!(!is_heir(&all[1], &all) && !is_heir(&all[2], &all));
    }
}
