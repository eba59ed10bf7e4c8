//! Calls that a kprobe saw begin and whose return nobody saw.
//!
//! A kretprobe has room for as many calls at a time as it was registered with (ten, or two for each CPU), and the
//! kernel tells nobody of those beyond. What is left of them is the entry that the program at the beginning made.

use std::{collections::HashSet, thread, time::Duration};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use cowtrace_common::program::Program;

use super::map;

/// Longer than a fault that is under way takes.
const PAUSE: Duration = Duration::from_millis(10);

/// The maps of calls under way, by thread.
pub struct Unreturned {
    pins: HashMap<MapData, u64, [u64; 4]>,
    faults: HashMap<MapData, u64, u64>,
    hugetlb: HashMap<MapData, u64, [u64; 4]>,
}

impl Unreturned {
    /// Takes the maps out: a program that wants them cannot be loaded any more.
    pub fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            pins: map(ebpf, "CALLS")?,
            faults: map(ebpf, "FAULTS")?,
            hugetlb: map(ebpf, "HUGETLB_FAULTS")?,
        })
    }

    /// How many there are by the program that should have seen the return. A call that is really under way, and
    /// longer than a pause, is one of them: nobody will have seen its return either.
    pub fn count(&self) -> [(Program, u64); 3] {
        let mut calls = self.calls();
        if calls.iter().any(|(_, threads)| !threads.is_empty()) {
            thread::sleep(PAUSE);
            for ((_, threads), (_, later)) in calls.iter_mut().zip(self.calls()) {
                threads.retain(|thread| later.contains(thread));
            }
        }
        calls.map(|(program, threads)| (program, threads.len() as u64))
    }

    fn calls(&self) -> [(Program, HashSet<u64>); 3] {
        [
            (Program::PinReturn, self.pins.keys().flatten().collect()),
            (Program::WpFaultReturn, self.faults.keys().flatten().collect()),
            (Program::HugetlbCowReturn, self.hugetlb.keys().flatten().collect()),
        ]
    }
}
