//! The events: what comes between the pin and the store.
//!
//! Promise: an event does what its row in `case.rs` says and leaves the system's
//! settings as they were. What the kernel refuses to do to pinned pages is an
//! outcome, what it does not know at all is a reason to skip.

use std::{fs, io};

use anyhow::Context as _;

use super::{
    Event,
    pages::Pages,
    sibling::Sibling,
    skipped::{skip_on, skipped},
};
use crate::sys::{self, Advice, Mapping, Protection, Userfault, Watch};

mod ksm;
mod numa;

/// What an event leaves behind until the pages were measured.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    child: Option<Sibling>,
    _watch: Option<Userfault>,
    _twin: Option<Mapping>,
}

impl Aftermath {
    /// Lets the child go, if there is one. It comes before the unpin: it holds the device too.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let Some(child) = self.child else { return Ok(()) };
        let code = child.finish().context("cannot wait for the child")?;
        anyhow::ensure!(code == 0, "the child ended with {code}");
        Ok(())
    }
}

impl Event {
    /// What comes before the pin.
    pub(super) fn before_pin(self) -> anyhow::Result<Aftermath> {
        match self {
            Self::ForkBefore => fork(),
            _ => Ok(Aftermath::default()),
        }
    }

    /// What comes between the pin and the store.
    pub(super) fn happen(self, pages: &mut Pages) -> anyhow::Result<Aftermath> {
        match self {
            // The last is the holder's own doing, in `provoke.rs`.
            Self::Nothing | Self::ForkBefore | Self::HolderExits => {}
            Self::Fork => return fork(),
            Self::ForkExit => fork()?.end()?,
            Self::Vfork => sys::vfork_child().context("cannot vfork")?,
            Self::DontFork => {
                advise(pages, Advice::DontFork)?;
                return fork();
            }
            Self::Mprotect => {
                pages.protect(Protection::Read)?;
                pages.protect(Protection::ReadWrite)?;
            }
            Self::MprotectPart => {
                pages.protect_first_pages(Protection::Read)?;
                pages.protect_first_pages(Protection::ReadWrite)?;
            }
            Self::UffdWp => write_protect(pages).context("cannot use userfaultfd")?,
            Self::ClearRefs => {
                fs::write("/proc/self/clear_refs", "4").context("cannot clear soft-dirty bits")?;
            }
            Self::PagemapScan => return scan(pages),
            Self::PageoutWrite => page_out(pages)?,
            Self::PageoutReadWrite => {
                page_out(pages)?;
                pages.load_each();
            }
            Self::Ksm => return ksm::share(pages),
            Self::NumaMove => numa::move_to_another_node(pages)?,
            Self::Compact => compact()?,
            Self::Collapse => collapse(pages)?,
            Self::Mremap => pages.move_elsewhere().map_err(unknown_to_hugetlb)?,
            Self::DontNeed => {
                pages.mapping().advise(Advice::DontNeed).map_err(unknown_to_hugetlb)?;
            }
            Self::Free => {
                advise(pages, Advice::Free)?;
                advise(pages, Advice::PageOut)?;
            }
            Self::Remap => pages.remap().context("cannot map over the pages")?,
            Self::Reuse => pages.reuse().context("cannot map where the pages were")?,
            Self::Truncate => pages.truncate().context("cannot truncate the file")?,
            Self::Punch => sys::discard_in_file(pages.file()?, pages.mapping().bytes())
                .context("cannot punch a hole")?,
        }
        Ok(Aftermath::default())
    }
}

fn fork() -> anyhow::Result<Aftermath> {
    let child = Sibling::fork().context("cannot fork")?;
    Ok(Aftermath { child: Some(child), ..Aftermath::default() })
}

fn advise(pages: &Pages, advice: Advice) -> anyhow::Result<()> {
    pages.mapping().advise(advice).with_context(|| format!("madvise {advice:?} fails"))
}

/// mremap and MADV_DONTNEED of huge pages from the pool came late (5.16, 5.18).
fn unknown_to_hugetlb(error: io::Error) -> anyhow::Error {
    skip_on(&[libc::EINVAL], "this kernel does not do that to such pages")(error)
}

fn write_protect(pages: &Pages) -> anyhow::Result<()> {
    let userfault = Userfault::new()?;
    watch_stores(&userfault, pages)?;
    userfault.write_protect(pages.mapping(), true)?;
    userfault.write_protect(pages.mapping(), false)?;
    Ok(userfault.unregister(pages.mapping())?)
}

/// Of file and pool pages: from 5.19 on.
fn watch_stores(userfault: &Userfault, pages: &Pages) -> anyhow::Result<()> {
    let why = "this kernel does not write-protect such pages through userfaultfd";
    let registered = userfault.register(pages.mapping(), Watch::WriteProtected);
    registered.map_err(skip_on(&[libc::EINVAL], why))
}

fn scan(pages: &Pages) -> anyhow::Result<Aftermath> {
    let why = "PAGEMAP_SCAN is of 6.7 and later";
    let watch = Userfault::without_waiting().map_err(skip_on(&[libc::EINVAL], why))?;
    watch_stores(&watch, pages)?;
    let pagemap = fs::File::open("/proc/self/pagemap").context("cannot open the page map")?;
    sys::scan_and_write_protect(&pagemap, pages.mapping())
        .map_err(skip_on(&[libc::ENOTTY, libc::EINVAL], why))
        .context("cannot scan the page map")?;
    Ok(Aftermath { _watch: Some(watch), ..Aftermath::default() })
}

fn page_out(pages: &Pages) -> anyhow::Result<()> {
    // Files here are in memory, so that their pages go to swap too.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() < 2 {
        return Err(skipped("there is no swap to page out to"));
    }
    advise(pages, Advice::PageOut)
}

fn compact() -> anyhow::Result<()> {
    fs::write("/proc/sys/vm/compact_memory", "1")
        .map_err(skip_on(&[libc::ENOENT], "this kernel does not compact memory"))
        .context("cannot compact memory")
}

/// Refusals have many numbers, EINVAL among them, so whether the kernel knows this is asked first.
fn collapse(pages: &Pages) -> anyhow::Result<()> {
    let known = pages.mapping().advise_part(0, 0, Advice::Collapse);
    known.map_err(skip_on(&[libc::EINVAL], "MADV_COLLAPSE is of 6.1 and later"))?;
    let _ = pages.mapping().advise(Advice::HugePages); // Means nothing to a file.
    match pages.mapping().advise(Advice::Collapse) {
        Err(error) if !REFUSALS.contains(&error.raw_os_error().unwrap_or(0)) => {
            Err(error).context("cannot collapse")
        }
        _ => Ok(()),
    }
}

const REFUSALS: [i32; 4] = [libc::EINVAL, libc::EAGAIN, libc::EBUSY, libc::ENOMEM];
