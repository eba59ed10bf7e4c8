//! What the programs count, and what the kernel counts of them: told where it has changed.

use std::{
    collections::BTreeMap,
    fs,
    mem::offset_of,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use cowtrace_common::{
    program::Program,
    wire::{Counts, Outcome},
};

use super::map;
use crate::{
    encode::Writer,
    event::{Cost, ShortTerm, Tally},
    sys,
};

/// The programs' counts on one CPU: the words of a [`Counts`].
type Words = [u64; size_of::<Counts>() / 8];

/// Where in them the write-protect faults begin, by outcome.
const ANSWERS: usize = offset_of!(Counts, answers) / 8;

/// By program: runs that the kernel skipped, and how long the others took.
type Programs = BTreeMap<Program, (u64, Cost)>;

/// The map of them.
const COUNTS: &str = "COUNTS";

/// Whether what the programs count can be read, with the capabilities that there are now.
pub fn can_be_read(ebpf: &Ebpf) -> bool {
    let counts = ebpf.map(COUNTS).map(PerCpuArray::<_, Words>::try_from);
    counts.is_some_and(|counts| counts.is_ok_and(|counts| counts.get(&0, 0).is_ok()))
}

/// The counters.
pub struct Counters {
    counts: PerCpuArray<MapData, Words>,
    short_term: PerCpuArray<MapData, [u64; 3]>,
    /// As last read: the programs are gone when the last counts are told.
    programs: Programs,
    /// Runs that never came.
    missed: BTreeMap<Program, u64>,
    told: BTreeMap<Program, (Tally, Cost)>,
    told_outcomes: Vec<u64>,
    told_short_term: ShortTerm,
}

impl Counters {
    /// Takes the maps out: a program that wants them cannot be loaded any more.
    pub fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            counts: map(ebpf, COUNTS)?,
            short_term: map(ebpf, "SHORT_TERM")?,
            programs: BTreeMap::new(),
            missed: BTreeMap::new(),
            told: BTreeMap::new(),
            told_outcomes: Vec::new(),
            told_short_term: ShortTerm::default(),
        })
    }

    /// Whether the maps can be read, with the capabilities that there are now.
    pub fn can_be_read(&self) -> bool {
        self.counts.get(&0, 0).is_ok()
    }

    /// Reads what the kernel counts for each program: the runs that it skipped (5.12 and later,
    /// `bpf_prog_show_fdinfo`), and how long the others took, where it measures that.
    pub fn read_programs(&mut self, ebpf: &Ebpf) {
        for program in Program::ALL {
            let loaded = ebpf.program(program.name()).and_then(|loaded| loaded.fd().ok());
            let Some(fd) = loaded.map(|fd| fd.as_fd().as_raw_fd()) else {
                continue;
            };
            // Where there is no descriptor left to read it by, it is as it was.
            let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) else {
                continue;
            };
            let number = |name: &str| {
                let line = info.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
            };
            let cost = Cost { runs: number("run_cnt:"), nanos: number("run_time_ns:") };
            self.programs.insert(*program, (number("recursion_misses:"), cost));
        }
    }

    /// Programs have not been run so often: the kernel skipped them, too, and does not count it.
    pub fn miss(&mut self, missed: impl IntoIterator<Item = (Program, u64)>) {
        self.missed = missed.into_iter().collect();
    }

    /// Tells what has changed since it was told last.
    pub fn tell(&mut self, writer: &mut Writer) {
        let mut outcomes = vec![0; Outcome::ALL.len()];
        // Understudies first: what their programs were made to skip would else seem lost, for one record.
        let that = |stands_in| {
            Program::ALL.iter().filter(move |one| one.stands_in_for().is_some() == stands_in)
        };
        for program in that(true).chain(that(false)) {
            let Ok(values) = self.counts.get(&(*program as u32), 0) else {
                continue;
            };
            for cpu in values.iter() {
                outcomes.iter_mut().zip(&cpu[ANSWERS..]).for_each(|(sum, n)| *sum += n);
            }
            let sum = |n: usize| values.iter().map(|cpu| cpu[n]).sum();
            let (recursion, cost) = kernels_own(&self.programs, *program);
            let recursion = recursion + self.missed.get(program).copied().unwrap_or(0);
            let tally = Tally { hits: sum(0), ring_full: sum(1), map_full: sum(2), recursion };
            let before = self.told.insert(*program, (tally, cost)).unwrap_or_default();
            // What is lost while it is read was lost by then.
            let mut writer = writer.at(sys::boottime_ns());
            if before.0 != tally {
                writer.tally(*program, &tally);
            }
            if before.1 != cost {
                writer.cost(*program, &cost);
            }
        }
        if outcomes != self.told_outcomes {
            writer.outcomes(&outcomes);
            self.told_outcomes = outcomes;
        }
        let sum = |n: usize| {
            self.short_term.get(&0, 0).map_or(0, |cpus| cpus.iter().map(|cpu| cpu[n]).sum())
        };
        let counts = ShortTerm { pinned: sum(0), unpinned: sum(1), told: sum(2) };
        if counts != self.told_short_term {
            writer.short_term(&counts);
            self.told_short_term = counts;
        }
    }
}

/// What the kernel counts for a program. An understudy that is not there has missed all that the first was made to
/// skip: it was not called for, where the kernel preempts no task inside itself, but that may be changed at any time.
fn kernels_own(programs: &Programs, program: Program) -> (u64, Cost) {
    let of = |program| programs.get(&program).copied();
    let alone = || (program.stands_in_for().and_then(of).unwrap_or_default().0, Cost::default());
    of(program).unwrap_or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_understudy_that_is_not_there_has_missed_what_the_first_was_made_to_skip() {
        let skipped = |times| (times, Cost::default());
        let mut programs = Programs::from([(Program::WpFaultExit, skipped(3))]);
        assert_eq!(kernels_own(&programs, Program::WpFaultExit), skipped(3));
        assert_eq!(kernels_own(&programs, Program::WpFaultAgain), skipped(3));
        programs.insert(Program::WpFaultAgain, skipped(1));
        assert_eq!(kernels_own(&programs, Program::WpFaultAgain), skipped(1));
        assert_eq!(kernels_own(&programs, Program::Zap), skipped(0), "it is not attached at all");
    }
}
