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
    finding::Verdict,
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
const RECORDINGS: [&str; 4] = ["diverged-5.10", "inconclusive-6.12", "snapshot-6.12", "lost-5.10"];

fn main() {
    divan::main();
}

fn again(name: &str) -> Again {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/{name}.cow"));
    Again::new(&mut Recording::open(&file).expect("it is in the repository"))
}

/// The source's own records, the kernel's as a busy ring would give them, and how many.
fn batch(name: &str) -> (Vec<u8>, Vec<u8>, u64) {
    let again = again(name);
    let mut batch = Vec::new();
    let times = RECORDS.div_ceil(again.records);
    (0..times).for_each(|n| again.tell(n, &mut batch));
    (again.front, batch, times * again.records)
}

/// From a file's bytes to records.
#[divan::bench(args = RECORDINGS)]
fn read(bencher: Bencher<'_, '_>, name: &str) {
    let (front, batch, records) = batch(name);
    let file: PathBuf = env::temp_dir().join(format!("cowtrace-bench-{}.cow", std::process::id()));
    let mut tee = Tee::create(&file, Plan::default(), Verdict::Lost).expect("a file");
    batch.chunks(1 << 20).for_each(|part| tee.write(part));
    drop(front);
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
