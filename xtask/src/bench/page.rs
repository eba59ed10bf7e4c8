//! docs/benchmarks.md: the figures as tables, the targets beside them, and below each table what misses its target and
//! why.

use std::{
    fmt::{self, Write as _},
    fs,
    process::Command,
};

use anyhow::Result;

use super::{
    beside::{self, Released},
    figures::Figures,
    user_side::Rates,
};
use crate::{kernels::Bootable, process};

/// A load's row.
struct Row {
    load: &'static str,
    what: &'static str,
    /// Instructions that cowtrace may add to one operation.
    target: Option<f64>,
    /// Why it adds more, where it does; without a target, why it adds what it does.
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
        why: "KVM is told before each copy and after it, and both pass a hook. In a process with pins the first is \
              noted and the second makes a record with name, cgroup and time, near a pin or not: what a finding says \
              that a secondary MMU was told, and how long it was waited for, is from these.",
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
    Row {
        load: "touch",
        what: "first store to a page",
        target: None,
        why: "Every process pays it: what fills an empty entry of a page table may take the place of a pinned page that \
              was discarded. Once memory that had pins was unmapped anywhere, as the loads before do, each such store \
              is asked whether it was there; until then it pays the way into an fexit program and back.",
    },
];

// No figures in these reasons: what this run has not measured would be true of another one.
const UNPINS: &str =
    "io_uring unpins page by page: each unpin passes two hooks, and is two words in the ring.";

/// The whole page.
pub fn page(
    figures: &Figures,
    unseen: &[String],
    released: Option<&Released>,
    rates: Option<&Rates>,
    kernel: &Bootable,
) -> Result<String> {
    let mut page = String::from(HEAD);
    writeln!(page, "Kernel {}, {}, on {}.\n", kernel.release, emulator()?, processor())?;
    loads(&mut page, figures)?;
    misses(&mut page, figures)?;
    lost(&mut page, unseen)?;
    beside::section(&mut page, figures, released)?;
    if let Some(rates) = rates {
        rates.section(&mut page)?;
    }
    Ok(page)
}

const HEAD: &str = "# What cowtrace costs

Made by `cargo xtask bench`, which boots one guest and has all tools take their turns in it. The guest's clock counts
instructions (QEMU's `-icount shift=0`, one CPU, single-threaded emulation), so a figure is the same on a busy machine
and says nothing about caches. What the user side takes a second is not measured there: that section says how.

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
         | operation | alone | cowtrace | bpftrace | ftrace | target | cowtrace's processes | spread |\n\
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
does it. The tools' columns: what is added to that, in the same thread. *cowtrace's processes*: what `cowtrace record` and its \
child spend on it, on any CPU. *spread*: how far the median of one turn is from that of all.

* cowtrace: `cowtrace record -o FILE`, nothing else.
* bpftrace: what one would write for the question which processes with pinned pages have COW breaks
  (`xtask/src/bench/question.bt`). It sees no unpins, and does not know which page was copied.
* ftrace: the function tracer on do_wp_page, pin_user_pages, pin_user_pages_fast, unpin_user_page, unpin_user_pages and
  unpin_user_folio.

";

fn number(number: Option<f64>) -> String {
    // Adding zero makes a zero of what rounds to minus zero.
    decimal(number.map(|number| number.round() + 0.0), 0)
}

/// A number with so many digits behind the point; a dash for none.
pub fn decimal(number: Option<f64>, digits: usize) -> String {
    number.map_or("–".to_owned(), |number| format!("{number:.digits$}"))
}

/// What is lost costs less than what is told.
fn lost(page: &mut String, unseen: &[String]) -> fmt::Result {
    if unseen.is_empty() {
        return Ok(());
    }
    page.push_str(
        "Loads without a pause leave the one CPU too little for whoever reads the ring, and what is lost costs less:\n\n",
    );
    for line in unseen {
        writeln!(page, "* {line}")?;
    }
    page.push('\n');
    Ok(())
}

fn misses(page: &mut String, figures: &Figures) -> fmt::Result {
    let mut any = false;
    for Row { load, what, target, why } in &ROWS {
        let Some(added) = figures.added("cowtrace", load) else { continue };
        match target {
            Some(target) if added > *target => {
                writeln!(page, "* Missed by {:.0}: {what}. {why}", added - target)?;
                any = true;
            }
            Some(_) => {}
            None => writeln!(page, "* Without a target: {what}. {why}")?,
        }
    }
    page.push_str(if any { "\n" } else { "* All targets are met.\n\n" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two loads under cowtrace, with so many instructions more for one operation.
    fn told(cow: u32, touch: u32) -> String {
        let line = |tool: &str, load: &str, nanos: u32| {
            format!(
                r#"{{"type":"measured","tool":"{tool}","load":"{load}","passes":{{"operations":1,"nanos":[{nanos}]}}}}"#
            )
        };
        let lines = [
            line("nothing", "cow", 11_000),
            line("cowtrace", "cow", 11_000 + cow),
            line("nothing", "touch", 7_000),
            line("cowtrace", "touch", 7_000 + touch),
        ];
        let mut page = String::new();
        misses(&mut page, &Figures::parse(&lines.join("\n")).unwrap()).unwrap();
        page
    }

    #[test]
    fn a_load_that_adds_more_than_its_target_is_told_with_by_how_much() {
        let page = told(430, 0);
        assert!(page.starts_with("* Missed by 30: COW break, no pins in the process. "), "{page}");
        assert!(!page.contains("All targets"), "{page}");
    }

    #[test]
    fn what_a_load_without_a_target_adds_is_explained_and_no_miss() {
        let page = told(400, 390);
        assert!(page.starts_with("* Without a target: first store to a page. Every"), "{page}");
        assert!(page.ends_with("* All targets are met.\n\n"), "{page}");
    }
}
