//! Makes a long recording out of a real one, then reads it: how fast, in how much memory, and how soon a time is found.
//!
//! `cargo run --release --example long_recording -- EVENTS FILE [RECORDING]`
//!
//! The records of RECORDING (one of tests/recordings) are told again and again, each time later. FILE stays, for other
//! commands: `cowtrace report FILE`.

#![expect(clippy::print_stdout, reason = "it answers on stdout")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use cowtrace::{
    decode::Records,
    finding::Verdict,
    source::recording::{Plan, Recording},
    tee::Tee,
    trace::Trace,
};

#[path = "again/again.rs"]
mod again;
use again::Again;

/// Records that are handed to the recorder at once, as a busy ring does.
const BATCH: usize = 1 << 20;

fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let events: u64 = words.next().context("how many events?")?.parse()?;
    let file = PathBuf::from(words.next().context("which file to write?")?);
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/diverged-5.10.cow");
    let from = words.next().map_or_else(usual, PathBuf::from);
    if !file.exists() {
        let began = Instant::now();
        let bytes = make(events, &file, &from)?;
        let each = bytes as f64 / events as f64;
        println!("made in {:.1?}: {bytes} bytes, {each:.2} for an event", began.elapsed());
    }
    let began = cpu()?;
    let (decoded, _) = read(&file, |_| {})?;
    say("decoded", decoded, cpu()?.saturating_sub(began));
    let mut trace = Trace::default();
    let began = cpu()?;
    let (folded, bytes) = read(&file, |event| drop(trace.take(event)))?;
    say("decoded and judged", folded, cpu()?.saturating_sub(began));
    ahead(&file)?;
    println!("{bytes} bytes of records, {} findings", trace.findings.len());
    drop(trace);
    seek(&file)?;
    let status = fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

/// What this thread has had of a CPU: others on the machine do not count.
fn cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().context("no time")?.parse()?))
}

fn say(what: &str, events: u64, took: Duration) {
    let rate = events as f64 / took.as_secs_f64() / 1e6;
    println!("{what} {events} in {took:.1?} of a CPU: {rate:.2} million a second");
}

/// Writes the recording; its bytes.
fn make(events: u64, file: &Path, from: &Path) -> Result<u64> {
    let again = Again::new(&mut Recording::open(from)?);
    let mut tee = Tee::create(file, Plan::default(), Verdict::Lost)?;
    let mut trace = Trace::default();
    let mut fold = |tee: &mut Tee, batch: &[u8]| {
        tee.write(batch);
        Records::new(batch).for_each(|event| drop(trace.take(event)));
        tee.folded(&trace, &[]);
    };
    fold(&mut tee, &again.front);
    let repeats = events.div_ceil(again.records.max(1));
    let mut batch = Vec::new();
    for repeat in 0..repeats {
        again.tell(repeat, &mut batch);
        if batch.len() >= BATCH || repeat + 1 == repeats {
            fold(&mut tee, &batch);
            batch.clear();
        }
    }
    tee.finish().context("the recording is not whole")
}

/// Reads all of it; records and their bytes.
fn read(
    file: &Path,
    mut each: impl FnMut(Result<cowtrace::event::Event, cowtrace::decode::Malformed>),
) -> Result<(u64, u64)> {
    let mut recording = Recording::open(file)?;
    let (mut records, mut bytes) = (0, 0);
    while let Some(batch) = recording.batch() {
        bytes += batch.len() as u64;
        for event in Records::new(&batch) {
            records += 1;
            each(event);
        }
    }
    Ok((records, bytes))
}

/// Reads all of it as `cowtrace report` does: in a thread, while another one judges what was read.
fn ahead(file: &Path) -> Result<()> {
    let (began, of_cpu) = (Instant::now(), cpu()?);
    let (mut trace, mut events) = (Trace::default(), 0);
    for batch in Recording::open(file)?.ahead()? {
        for event in Records::new(&batch) {
            events += 1;
            trace.take(event);
        }
    }
    let judging = cpu()?.saturating_sub(of_cpu);
    say("read in another thread; decoded and judged", events, judging);
    let rate = events as f64 / began.elapsed().as_secs_f64() / 1e6;
    println!("both by the clock: {rate:.2} million a second");
    Ok(())
}

/// Goes to ten times, each from the start: the trace as it was then.
fn seek(file: &Path) -> Result<()> {
    let mut longest = Duration::ZERO;
    for n in 1..=10 {
        let began = Instant::now();
        let mut recording = Recording::open(file)?;
        let (first, last) = recording.times().context("it has no times")?;
        let to = first + (last - first) / 10 * n;
        recording.seek(to)?;
        let mut trace = Trace::default();
        while trace.now < to {
            let Some(batch) = recording.batch() else { break };
            for event in Records::new(&batch) {
                trace.take(event);
                if trace.now >= to {
                    break;
                }
            }
        }
        longest = longest.max(began.elapsed());
    }
    println!("ten times found, the slowest within {longest:.1?}");
    Ok(())
}
