//! How fast records become verdicts, and recordings records: `cargo bench --bench fold`.
//!
//! The records of the stored recordings (random schedules and provoked losses on real kernels: far more findings than
//! any host has) are told again and again, each time later. Figures are records a second, on one core.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use cowtrace::{
    decode::Records,
    event::{Event, Extent, Pin, Stack, Task, Unpin, What, Zap},
    finding::Verdict,
    ledger::Ledger,
    source::recording::{Plan, Recording},
    tee::Tee,
    trace::Trace,
};
use divan::{Bencher, black_box, counter::ItemsCount};

#[path = "../examples/again/again.rs"]
mod again;
use again::Again;

/// Records that one sample takes in, at least.
const RECORDS: u64 = 200_000;
/// What is told again.
const RECORDINGS: [&str; 3] = ["diverged-5.10", "snapshot-6.12", "lost-5.10"];

fn main() {
    divan::main();
}

/// The source's own records, the kernel's as a busy ring would give them, and how many.
fn batch(name: &str) -> (Vec<u8>, Vec<u8>, u64) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/{name}.cow"));
    let again = Again::new(&mut Recording::open(&file).expect("it is in the repository"));
    let mut batch = Vec::new();
    let times = RECORDS.div_ceil(again.records);
    (0..times).for_each(|n| again.tell(n, &mut batch));
    (again.front, batch, times * again.records)
}

/// From a file's bytes to records.
#[divan::bench(args = RECORDINGS)]
fn read(bencher: Bencher<'_, '_>, name: &str) {
    let (_, batch, records) = batch(name);
    let file: PathBuf = env::temp_dir().join(format!("cowtrace-bench-{}.cow", std::process::id()));
    let mut tee = Tee::create(&file, Plan::default(), Verdict::Lost).expect("a file");
    tee.write(&batch);
    tee.finish().expect("written");
    let bytes = fs::read(&file).expect("read");
    fs::remove_file(&file).expect("removed");
    bencher
        .counter(ItemsCount::new(records))
        .with_inputs(|| Recording::parse(bytes.clone(), &file).expect("a recording"))
        .bench_local_values(|mut recording| while black_box(recording.batch()).is_some() {});
}

/// From a ring's bytes to events.
#[divan::bench(args = RECORDINGS)]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let (_, batch, records) = batch(name);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        for event in Records::new(&batch) {
            let _ = black_box(event);
        }
    });
}

/// From a ring's bytes to verdicts.
#[divan::bench(args = RECORDINGS)]
fn judge(bencher: Bencher<'_, '_>, name: &str) {
    let (front, batch, records) = batch(name);
    let begun = || {
        let mut trace = Trace::default();
        Records::new(&front).for_each(|event| drop(trace.take(event)));
        trace
    };
    bencher.counter(ItemsCount::new(records)).with_inputs(begun).bench_local_values(|mut trace| {
        Records::new(&batch).for_each(|event| drop(trace.take(event)));
        trace
    });
}

/// Pages of a pin call in [`live`]; no two of them are neighbours.
const PAGES: u64 = 256;

/// A call pins, and another one unpins, while others hold this many pages.
#[divan::bench(args = [10_000, 1_000_000, 10_000_000], sample_count = 20)]
fn live(bencher: Bencher<'_, '_>, pages: u64) {
    let mut ledger = Ledger::default();
    for call in 0..pages / PAGES {
        let (event, pin) = pin(call);
        ledger.pin(&event, &pin);
    }
    let (event, pin) = pin(pages / PAGES);
    let (pages, extents) = (PAGES, pin.extents.clone());
    let unpin = Unpin { pages, unlisted: 0, make_dirty: false, extents };
    bencher.counter(ItemsCount::new(2 * PAGES)).bench_local(|| {
        ledger.pin(&event, &pin);
        ledger.unpin(&unpin)
    });
}

/// The pages of one call are discarded one by one, others are mapped there, and then they are unpinned one by one.
#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 5)]
fn discarded(bencher: Bencher<'_, '_>, pages: u64) {
    let begun = || {
        let mut trace = Trace::default();
        let parts = (0..pages.div_ceil(PAGES)).map(|part| What::Pin(part_of_call(part, pages)));
        parts.for_each(|what| drop(trace.take(Ok(event(1, what)))));
        trace
    };
    bencher.counter(ItemsCount::new(3 * pages)).with_inputs(begun).bench_local_values(
        |mut trace| {
            for page in 0..pages {
                let (address, pfn, time) = (page << 12, 1 << 30 | page, page + 2);
                drop(trace.take(Ok(event(time, What::Zap(zap(address))))));
                drop(trace.take(Ok(event(time, What::Refault { mm: MM, address, pfn }))));
            }
            assert_eq!(trace.findings.len() as u64, pages);
            for page in 0..pages {
                let extents = [Extent::new(page, 1)].into();
                let unpin = Unpin { pages: 1, unlisted: 0, make_dirty: true, extents };
                drop(trace.take(Ok(event(pages + page + 2, What::Unpin(unpin)))));
            }
            assert!(trace.findings.iter().all(|finding| finding.unpinned.is_some()));
            trace
        },
    );
}

/// Address space of what is pinned here.
const MM: u64 = 0x1000;

/// A part of a call that pins so many pages.
fn part_of_call(part: u64, call_pages: u64) -> Pin {
    let (first, pages) = (part * PAGES, PAGES.min(call_pages - part * PAGES));
    Pin {
        mm: MM,
        address: first << 12,
        pages,
        call_pages,
        unlisted: 0,
        gup_flags: 0x101,
        part: part as u32,
        extents: [Extent::new(first, pages)].into(),
    }
}

/// A page is discarded.
fn zap(start: u64) -> Zap {
    let (end, vma) = (start + 4096, (0, 1 << 40));
    Zap { mm: MM, start, end, vma, vma_flags: 0, spares_cows: false, first: None }
}

fn event(time: u64, what: What) -> Event {
    let (task, stack) = (Task::default(), Stack::default());
    Event { time, task, cpu: 0, program: None, stack, what }
}

/// The `n`th pin call.
fn pin(n: u64) -> (Event, Pin) {
    let extent = |page| Extent::new(2 * (n * PAGES + page), 1);
    let pin = Pin {
        mm: MM,
        address: (n * PAGES) << 12,
        pages: PAGES,
        call_pages: PAGES,
        unlisted: 0,
        gup_flags: 0x101,
        part: 0,
        extents: (0..PAGES).map(extent).collect(),
    };
    (event(n, What::Pin(pin.clone())), pin)
}
