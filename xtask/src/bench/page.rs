//! docs/benchmarks.md: the figures as tables, the targets beside them.

use std::{
    fmt::{self, Write as _},
    fs,
    process::Command,
};

use anyhow::Result;

use super::figures::Figures;
use crate::{kernels::Bootable, process};

/// A load's row.
struct Row {
    load: &'static str,
    what: &'static str,
    /// Instructions that cowtrace may add to one operation.
    target: Option<f64>,
    /// Why it adds more, where it does.
    why: &'static str,
}

const ROWS: [Row; 7] = [
    Row {
        load: "cow",
        what: "COW break, no pins in the process",
        target: Some(400.0),
        why: "Nearly half of it is the way into an fexit program and back; the rest are direct loads, each with the \
              range check that the kernel adds, and two counters.",
    },
    Row {
        load: "cow-pinned",
        what: "COW break beside a registered buffer",
        target: Some(700.0),
        why: "A break within 64 KiB of a pinned page is told.",
    },
    Row {
        load: "cow-notified",
        what: "the same, with an MMU notifier (KVM)",
        target: None,
        why: "",
    },
    Row {
        load: "register",
        what: "page registered and unregistered, 2000 at once",
        target: Some(8.0),
        why: UNPINS,
    },
    Row {
        load: "register-large",
        what: "page registered and unregistered, 1 GiB at once",
        target: Some(8.0),
        why: UNPINS,
    },
    Row {
        load: "read",
        what: "O_DIRECT read of 4 KiB",
        target: Some(400.0),
        why: "A pin and an unpin each pass a hook, which costs something even if nothing is done there; who holds the \
              page is noted with name, cgroup and time.",
    },
    Row { load: "touch", what: "first store to a page", target: None, why: "" },
];

// No figures in these reasons: what this run has not measured would be true of another one.
const UNPINS: &str =
    "io_uring unpins page by page: each unpin passes two hooks, and is two words in the ring.";

/// Seconds of instruction time until everything is attached, and KiB resident.
const START_TARGET: f64 = 0.2;
const MEMORY_TARGET: f64 = 32.0 * 1024.0;

/// The whole page.
pub fn page(figures: &Figures, kernel: &Bootable) -> Result<String> {
    let mut page = String::from(HEAD);
    writeln!(page, "Kernel {}, {}, on {}.\n", kernel.release, emulator()?, processor())?;
    loads(&mut page, figures)?;
    misses(&mut page, figures)?;
    beside(&mut page, figures)?;
    Ok(page)
}

const HEAD: &str = "# What cowtrace costs

Made by `cargo xtask bench`, which boots one guest and has all tools take their turns in it. The guest's clock counts
instructions (QEMU's `-icount shift=0`, one CPU, single-threaded emulation), so a figure is the same on a busy machine
and says nothing about caches.

";

fn emulator() -> Result<String> {
    let version = process::text(Command::new("qemu-system-x86_64").arg("--version"))?;
    Ok(version.lines().next().unwrap_or_default().to_owned())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("an unknown CPU", |line| line.trim_start_matches([' ', '\t', ':'])).to_owned()
}

fn loads(page: &mut String, figures: &Figures) -> fmt::Result {
    page.push_str(
        "## Instructions added to one operation\n\n\
         | operation | alone | cowtrace | bpftrace | ftrace | target | cowtrace's process | spread |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for Row { load, what, target, .. } in &ROWS {
        let Some(alone) = figures.each("nothing", load) else { continue };
        let added = |tool| number(figures.added(tool, load));
        let spread = ["nothing", "cowtrace"].map(|tool| figures.spread(tool, load).unwrap_or(0.0));
        writeln!(
            page,
            "| {what} | {alone:.0} | {} | {} | {} | {} | {} | {:.2} % |",
            added("cowtrace"),
            added("bpftrace"),
            added("ftrace"),
            number(*target),
            number(figures.aside("cowtrace", load)),
            100.0 * spread[0].max(spread[1]),
        )?;
    }
    page.push('\n');
    page.push_str(EXPLAINED);
    Ok(())
}

const EXPLAINED: &str = "*alone*: instructions of one operation with nothing attached, counted in the thread that \
does it. The tools' columns: what is added to that, in the same thread. *cowtrace's process*: what `cowtrace record` itself spends on it, on any \
CPU. *spread*: how far the median of one turn is from that of all.

* cowtrace: `cowtrace record -o FILE`, nothing else.
* bpftrace: what one would write for the question which processes with pinned pages have COW breaks
  (`xtask/src/bench/question.bt`). It sees no unpins, and does not know which page was copied.
* ftrace: the function tracer on do_wp_page, pin_user_pages, pin_user_pages_fast, unpin_user_page, unpin_user_pages and
  unpin_user_folio.

";

fn number(number: Option<f64>) -> String {
    // Adding zero makes a zero of what rounds to minus zero.
    number.map_or("–".to_owned(), |number| format!("{:.0}", number.round() + 0.0))
}

fn misses(page: &mut String, figures: &Figures) -> fmt::Result {
    let mut any = false;
    for Row { load, what, target, why } in &ROWS {
        let (Some(added), &Some(target)) = (figures.added("cowtrace", load), target) else {
            continue;
        };
        if added > target {
            writeln!(page, "* Missed by {:.0}: {what}. {why}", added - target)?;
            any = true;
        }
    }
    page.push_str(if any { "\n" } else { "All targets are met.\n\n" });
    Ok(())
}

fn beside(page: &mut String, figures: &Figures) -> fmt::Result {
    page.push_str(
        "## Beside the operations\n\n| | cowtrace | bpftrace | target |\n|---|---|---|---|\n",
    );
    let mut row = |what: &str, kind: &str, name: &str, unit: f64, digits: usize, target: &str| {
        let of = |tool| {
            let number = figures.number(kind, tool, name);
            number.map_or("–".to_owned(), |number| format!("{:.digits$}", number / unit))
        };
        writeln!(page, "| {what} | {} | {} | {target} |", of("cowtrace"), of("bpftrace"))
    };
    let start = format!("{START_TARGET}");
    row("seconds until attached, waiting included", "start", "nanos", 1e9, 2, "–")?;
    row("seconds of CPU until attached", "start", "cpu", 1e9, 2, &start)?;
    let memory = format!("{:.0}", MEMORY_TARGET / 1024.0);
    row("MiB resident", "memory", "resident", 1024.0, 1, "–")?;
    row("MiB of that beside the ring", "memory", "beside", 1024.0, 1, &memory)?;
    row("MiB of that anonymous", "memory", "anonymous", 1024.0, 1, "–")?;
    row(
        "context switches in ten seconds, after twenty idle ones",
        "idle",
        "switches",
        1.0,
        0,
        "0",
    )?;
    late(page, figures);
    Ok(())
}

/// Why attaching takes longer than it should, and more memory.
fn late(page: &mut String, figures: &Figures) {
    let over = |kind, name, target| {
        figures.number(kind, "cowtrace", name).is_some_and(|number| number > target)
    };
    page.push('\n');
    if over("start", "cpu", START_TARGET * 1e9) {
        page.push_str(SLOW_START);
    }
    if over("memory", "beside", MEMORY_TARGET) {
        page.push_str(MUCH_MEMORY);
    }
    if over("idle", "switches", 0.0) {
        page.push_str(NOT_ASLEEP);
    }
}

const SLOW_START: &str = "* Attaching is slow: most of it is the kernel's verifier; the rest is attaching the programs one by one.\n";
const MUCH_MEMORY: &str =
    "* What is resident and neither anonymous nor the ring is the program itself.\n";
const NOT_ASLEEP: &str =
    "* The counters are read less and less often while nothing happens, and not never.\n";
