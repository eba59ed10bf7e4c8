//! Random schedules: threads pin, fork, protect, discard, write and unpin at random, and keep books.
//!
//! Promise: what a thread does is decided by the seed alone; how the threads interleave is the kernel's. Each
//! registers buffers at addresses that are never used again, so that an address in the books means one page.
//!
//! Surprise: forks and clear_refs meet the buffers of all threads. The books say what became of these from the
//! page map, whoever brought it about.

use std::{
    fmt, fs,
    io::{self, Read as _, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use fastrand::Rng;

use crate::{
    pagemap::Pagemap,
    sys::{self, Advice, Child, Mapping, Protection, Uring},
};

/// Threads that work at the same time.
const THREADS: u64 = 4;
/// Most buffers of one thread: each takes three of the 65,530 mappings that a process may have.
const MOST_BUFFERS: usize = 4000;
/// Most pages of one buffer.
const MOST_PAGES: usize = 16;
/// Most things done to one buffer.
const MOST_STEPS: usize = 6;

/// A page that was pinned, and what became of it by the time that it was unpinned.
struct Entry {
    address: usize,
    pfn_before: u64,
    /// What was mapped there later; 0: nothing.
    pfn_after: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, pfn_before, pfn_after } = self;
        let lost = pfn_before != pfn_after;
        write!(f, r#"{{"type":"schedule-page","address":{address},"pfn_before":{pfn_before},"#)?;
        write!(f, r#""pfn_after":{pfn_after},"lost":{lost}}}"#)
    }
}

/// What a thread leaves behind: its books, and its last buffer, pinned.
struct Left {
    books: Vec<Entry>,
    buffers: usize,
    last: Option<(Uring, Mapping)>,
    /// Kept mapped, so that no address comes twice.
    used: Vec<Mapping>,
}

/// Runs the schedule of a seed, prints the books, and keeps the last buffers pinned until standard input ends.
pub(super) fn run(seed: u64, length: Duration, out: &mut impl Write) -> anyhow::Result<()> {
    let until = Instant::now() + length;
    let start = |n: u64| {
        let rng = Rng::with_seed(seed.wrapping_mul(THREADS).wrapping_add(n));
        thread::Builder::new().spawn(move || work(rng, until))
    };
    let threads: Vec<_> = (0..THREADS).map(start).collect::<io::Result<_>>()?;
    let all: Vec<Left> = threads
        .into_iter()
        .map(|thread| thread.join().map_err(|_| anyhow!("a thread of the schedule panicked"))?)
        .collect::<anyhow::Result<_>>()?;
    for entry in all.iter().flat_map(|left| &left.books) {
        writeln!(out, "{entry}")?;
    }
    let buffers: usize = all.iter().map(|left| left.buffers).sum();
    let last = all.iter().filter_map(|left| left.last.as_ref());
    let pinned: usize = last.map(|(_, memory)| memory.pages()).sum();
    writeln!(out, r#"{{"type":"schedule-end","buffers":{buffers},"pinned":{pinned}}}"#)?;
    out.flush()?;
    // Whoever reads the books closes it when done with them.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn work(mut rng: Rng, until: Instant) -> anyhow::Result<Left> {
    let pagemap = Pagemap::of_this_process()?;
    let mut left = Left { books: Vec::new(), buffers: 0, last: None, used: Vec::new() };
    while left.buffers < MOST_BUFFERS && Instant::now() < until {
        if let Some((uring, memory)) = left.last.take() {
            uring.unregister().context("cannot unregister a buffer")?;
            memory.advise(Advice::DontNeed).context("cannot free a buffer")?;
            left.used.push(memory);
        }
        let (uring, memory, mut entries) = buffer(&mut rng, &pagemap)?;
        left.buffers += 1;
        left.books.append(&mut entries);
        left.last = Some((uring, memory));
    }
    Ok(left)
}

/// A buffer from its registration on: what is done to it, and what became of its pages.
fn buffer(rng: &mut Rng, pagemap: &Pagemap) -> anyhow::Result<(Uring, Mapping, Vec<Entry>)> {
    let mut memory = Mapping::new(rng.usize(1..=MOST_PAGES)).context("cannot map a buffer")?;
    (0..memory.pages()).for_each(|page| memory.write_byte(page * sys::page_size(), 1));
    let uring = Uring::new().context("cannot set up a ring")?;
    uring.register(&memory).context("cannot register a buffer")?;
    let pfns = pagemap.pfns(&memory)?;
    let entry = |(page, pfn): (usize, u64)| Entry {
        address: memory.address() + page * sys::page_size(),
        pfn_before: pfn,
        pfn_after: pfn,
    };
    let mut entries: Vec<_> = pfns.into_iter().enumerate().map(entry).collect();
    let mut children = Vec::new();
    for _ in 0..rng.usize(1..=MOST_STEPS) {
        memory = step(rng, memory, &mut children)?;
        look(pagemap, &memory, &mut entries)?;
    }
    for child in children {
        child.wait().context("cannot wait for a child")?;
    }
    Ok((uring, memory, entries))
}

/// Does one thing to a part of a buffer.
fn step(rng: &mut Rng, memory: Mapping, children: &mut Vec<Child>) -> anyhow::Result<Mapping> {
    let first = rng.usize(0..memory.pages());
    let pages = rng.usize(1..=memory.pages() - first);
    let (offset, bytes) = (first * sys::page_size(), pages * sys::page_size());
    match rng.u8(0..16) {
        0..6 => {
            (first..first + pages).for_each(|page| memory.write_byte(page * sys::page_size(), 2));
        }
        6..8 => return by_another_thread(memory, offset),
        8..11 => {
            memory.protect_part(offset, bytes, Protection::Read)?;
            memory.protect_part(offset, bytes, Protection::ReadWrite)?;
        }
        11..13 => {
            let life = Duration::from_millis(rng.u64(0..20));
            // The child does nothing but live.
            let body = move || {
                thread::sleep(life);
                0
            };
            children.push(sys::fork_child((), body).context("cannot fork")?.0);
        }
        13..15 => memory.advise_part(offset, bytes, Advice::DontNeed)?,
        _ => fs::write("/proc/self/clear_refs", "4").context("cannot clear soft-dirty bits")?,
    }
    Ok(memory)
}

fn by_another_thread(memory: Mapping, offset: usize) -> anyhow::Result<Mapping> {
    let store = move || {
        memory.write_byte(offset, 3);
        memory
    };
    thread::spawn(store).join().map_err(|_| anyhow!("the thread that stores panicked"))
}

/// Takes down which pages are others by now. One that is gone stays lost, whatever comes in its place.
fn look(pagemap: &Pagemap, memory: &Mapping, entries: &mut [Entry]) -> anyhow::Result<()> {
    let mapped = pagemap.entries(memory.address() / sys::page_size(), memory.pages())?;
    for (entry, mapped) in entries.iter_mut().zip(mapped) {
        let pfn = mapped.unwrap_or(0);
        if pfn != entry.pfn_before {
            entry.pfn_after = pfn;
        }
    }
    Ok(())
}
