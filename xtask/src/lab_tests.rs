//! The lab tests: what cowtrace does on real kernels.
//!
//! To add one, add a row to [`table`]: a sentence, a guest script, a check over
//! what the script printed. Rows that ask for the same machine share a boot, a
//! dozen at most, and run one after the other in it, in the table's order.

mod case;
mod checks;
mod frames;
mod guest;
mod table;

use std::{
    cmp::Reverse,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Result, ensure};

use self::{
    case::{Case, Verdict},
    guest::Group,
};
use crate::{
    binary,
    kernels::{self, Kernel},
    setup,
};

/// Whether the sentence of any contains `only`.
pub fn has(only: Option<&str>) -> bool {
    only.is_none_or(|text| table::cases().iter().any(|case| case.name.contains(text)))
}

/// Times that a case may take longer where it is to do more.
const FULL: u32 = 4;

/// Runs the cases on the kernels `words` name, `full` ones more of what takes long; 1 if any failed.
pub fn run(words: &[String], only: Option<&str>, full: bool, jobs: usize) -> Result<u8> {
    setup::lab_tools()?;
    let cowtrace = binary::build()?;
    let mut cases = table::cases();
    cases.retain(|case| only.is_none_or(|text| case.name.contains(text)));
    for case in &mut cases {
        case.limit *= if full { FULL } else { 1 };
    }
    let groups = groups(&cases, &kernels::select(words)?, full)?;
    ensure!(!groups.is_empty(), "no lab test has that in its name");
    let next = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    let (mut passed, mut failed) = (0, 0);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (tell, next, groups, cowtrace) = (tell.clone(), &next, &groups, &cowtrace);
            scope.spawn(move || {
                while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    group.run(cowtrace, &|verdict| drop(tell.send(verdict)));
                }
            });
        }
        drop(tell);
        for verdict in told {
            print(&verdict);
            *if verdict.outcome.is_ok() { &mut passed } else { &mut failed } += 1;
        }
    });
    println!("{passed} passed, {failed} failed");
    Ok(u8::from(failed > 0))
}

/// Boots, each of a kernel and a machine, with the cases that share it. Those that may take longest go first.
fn groups<'a>(
    cases: &'a [Case],
    kernels: &[&'static Kernel],
    full: bool,
) -> Result<Vec<Group<'a>>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for &kernel in kernels {
        for case in cases.iter().filter(|case| case.runs_on(kernel, full)) {
            let shared = groups
                .iter_mut()
                .find(|group| group.kernel.name == kernel.name && *group.machine == case.machine);
            match shared {
                Some(group) => group.cases.push(case),
                None => groups.push(Group {
                    kernel: kernels::ensure(kernel, case.machine.flavour())?,
                    series: kernel,
                    machine: &case.machine,
                    full,
                    cases: vec![case],
                }),
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().flat_map(Group::split).collect();
    groups.sort_by_key(|group| Reverse(group.cases.iter().map(|case| case.limit).sum::<u32>()));
    Ok(groups)
}

fn print(verdict: &Verdict) {
    let Verdict { kernel, name, seconds, outcome } = verdict;
    let took = seconds.map(|seconds| format!("{seconds} s")).unwrap_or_default();
    match outcome {
        Ok(()) => println!("ok      {kernel:<5} {took:>5} {name}"),
        Err(why) => println!("FAILED  {kernel:<5} {took:>5} {name}\n{}", indented(why)),
    }
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("        {line}"));
    lines.collect::<Vec<_>>().join("\n")
}
