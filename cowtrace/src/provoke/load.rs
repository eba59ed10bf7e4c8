//! Loads: one thing many times over, and how long it took, for what tracing costs.
//!
//! Promise: each pass does the same to pages in the same state, and tells what this thread spent on a CPU.
//! What comes before and after it is not counted.
//!
//! Surprise: what other processes do meanwhile is not counted either, so a tracer's own process is not in the
//! figures, and what its probes do in this thread is.

use std::{fs::File, io::Write, os::unix::fs::FileExt as _, os::unix::fs::OpenOptionsExt as _};

use anyhow::Context as _;
use clap::ValueEnum;

use super::{Args, secondary::SecondaryMmu, sibling::Sibling};
use crate::sys::{self, Advice, Aio, Mapping, Uring};

/// Passes that count; one more comes before them, since caches and the allocator then are as they stay.
const PASSES: usize = 5;
/// Pages of a registered buffer that only has to be there.
const BUFFER: usize = 16;

/// What is done many times over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// Stores to pages that a child shares: each is copied.
    Cow,
    /// The same while the process has a registered buffer elsewhere.
    CowPinned,
    /// The same while KVM follows the page table, with a registered buffer.
    CowNotified,
    /// io_uring registers the pages as one buffer, and unregisters it.
    Register,
    /// The same of pages that nobody has touched: the pin makes them.
    RegisterUntouched,
    /// O_DIRECT reads of 4 KiB.
    Read,
    /// The same, but an interrupt ends them, and finds on the CPU whoever else is there.
    ReadInterrupting,
    /// First stores to fresh pages.
    Touch,
    /// The same of a process that has discarded 2 GiB in which there was a registered buffer.
    TouchDiscarded,
}

/// Does the load a few times with so many pages, and prints what each pass took.
pub(super) fn run(load: Load, args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let passes = match load {
        Load::Cow => cow(args.pages)?,
        Load::CowPinned => with_buffer(|| cow(args.pages))?,
        Load::CowNotified => {
            let _listening = SecondaryMmu::kvm()?;
            with_buffer(|| cow(args.pages))?
        }
        Load::Register => register(args.pages, |pages| {
            store_each(pages, 1);
            Ok(())
        })?,
        Load::RegisterUntouched => {
            register(args.pages, |pages| Ok(pages.advise(Advice::DontNeed)?))?
        }
        Load::Read => read(args)?,
        Load::ReadInterrupting => read_interrupting(args)?,
        Load::Touch => touch(args.pages)?,
        Load::TouchDiscarded => touch_discarded(args.pages)?,
    };
    let pages = args.pages;
    Ok(writeln!(out, r#"{{"type":"load","operations":{pages},"nanos":{passes:?}}}"#)?)
}

/// What each pass took, in nanoseconds of this thread.
fn timed(mut pass: impl FnMut() -> anyhow::Result<u64>) -> anyhow::Result<Vec<u64>> {
    pass()?;
    (0..PASSES).map(|_| pass()).collect()
}

/// What a piece of a pass took.
fn clocked(piece: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let before = sys::thread_cpu_ns();
    piece()?;
    Ok(sys::thread_cpu_ns() - before)
}

fn store_each(pages: &Mapping, value: u8) {
    (0..pages.pages()).for_each(|page| pages.write_byte(page * sys::page_size(), value));
}

fn cow(count: usize) -> anyhow::Result<Vec<u64>> {
    let pages = Mapping::new(count)?;
    store_each(&pages, 1);
    timed(|| {
        let child = Sibling::fork().context("cannot fork")?;
        let took = clocked(|| {
            store_each(&pages, 2);
            Ok(())
        })?;
        child.finish()?;
        Ok(took)
    })
}

/// Runs a load while the process has a registered buffer that it does not touch.
fn with_buffer(load: impl FnOnce() -> anyhow::Result<Vec<u64>>) -> anyhow::Result<Vec<u64>> {
    let buffer = Mapping::new(BUFFER)?;
    let ring = Uring::new().context("cannot set up a ring")?;
    ring.register(&buffer).context("cannot register the buffer")?;
    let passes = load()?;
    ring.unregister().context("cannot unregister the buffer")?;
    Ok(passes)
}

/// `prepare`: what is done to the pages before each pass.
fn register(
    count: usize,
    prepare: impl Fn(&Mapping) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u64>> {
    let pages = Mapping::new(count)?;
    sys::raise_memlock_limit(pages.bytes() as u64)?;
    let ring = Uring::new().context("cannot set up a ring")?;
    timed(|| {
        prepare(&pages)?;
        clocked(|| {
            ring.register(&pages).context("cannot register the buffer")?;
            ring.unregister().context("cannot unregister the buffer")
        })
    })
}

fn open_disk(args: &Args) -> anyhow::Result<File> {
    let disk = args.slow_disk.as_deref().context("a load of reads needs --slow-disk PATH")?;
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_DIRECT);
    options.open(disk).with_context(|| format!("cannot open {}", disk.display()))
}

fn read_interrupting(args: &Args) -> anyhow::Result<Vec<u64>> {
    let file = open_disk(args)?;
    let page = Mapping::new(1)?;
    let reads = Aio::new().context("cannot use io_submit")?;
    timed(|| {
        clocked(|| {
            for _ in 0..args.pages {
                reads.read(&file, &page, &[0])?;
                reads.wait()?;
            }
            Ok(())
        })
    })
}

fn read(args: &Args) -> anyhow::Result<Vec<u64>> {
    let file = open_disk(args)?;
    let mut room = vec![0; 2 * sys::page_size()];
    let start = room.as_ptr().align_offset(sys::page_size());
    let page = &mut room[start..start + sys::page_size()];
    timed(|| {
        clocked(|| {
            for _ in 0..args.pages {
                file.read_exact_at(page, 0)?;
            }
            Ok(())
        })
    })
}

fn touch(count: usize) -> anyhow::Result<Vec<u64>> {
    let pages = Mapping::new(count)?;
    timed(|| {
        pages.advise(Advice::DontNeed)?;
        clocked(|| {
            store_each(&pages, 1);
            Ok(())
        })
    })
}

fn touch_discarded(count: usize) -> anyhow::Result<Vec<u64>> {
    let much = Mapping::new((2 << 30) / sys::page_size())?;
    let ring = Uring::new().context("cannot set up a ring")?;
    let bytes = BUFFER * sys::page_size();
    ring.register_part(&much, bytes).context("cannot register the buffer")?;
    ring.unregister().context("cannot unregister the buffer")?;
    much.advise(Advice::DontNeed)?;
    touch(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pass_does_not_count() {
        let mut next = 0..;
        let passes = timed(|| Ok(next.next().expect("endless"))).expect("no pass fails");
        assert_eq!(passes, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_load_of_stores_takes_time_in_each_pass() {
        let passes = touch(10).expect("mmap");
        assert_eq!(passes.len(), PASSES);
        assert!(passes.iter().all(|&took| took > 0), "{passes:?}");
    }
}
