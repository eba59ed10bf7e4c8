//! What is mapped where a call has pinned for long: names of VMAs, in front of its record.
//!
//! `/proc/PID/maps` is the one place that tells them on all kernels, and it tells all of a process at once: of one with
//! 60,000 VMAs that took 0.15 s, in which the ring is not emptied. So it is read anew for what was not read just now, as
//! long as that takes no more than a twentieth of the time; a pin beyond that has no name.

use std::{
    collections::HashMap,
    io::Read as _,
    ops::Range,
    time::{Duration, Instant},
};

use super::Batch;
use crate::{
    encode::Writer,
    event::{Event, Mm, Pin, What, is_file},
    facts::Facts,
    maps,
    privileges::opener::Opener,
};

/// Mappings that were read so lately are those of now: a burst of pins reads them once.
const FRESH: Duration = Duration::from_millis(100);
/// VMAs of one call that are told, from its first page on.
const OF_A_CALL: usize = 8;
/// VMAs that are known to have been told: a bound on memory. Beyond it all are told anew.
const TOLD: usize = 1 << 16;

/// The names, and which have been told.
pub struct Vmas {
    /// Which flag says that a pin is for long.
    facts: Facts,
    told: HashMap<(Mm, u64), (u64, String)>,
    last: Option<Maps>,
    budget: Budget,
}

impl Vmas {
    /// Nothing told yet, on a kernel of these facts.
    pub fn new(facts: Facts) -> Self {
        Self { facts, told: HashMap::new(), last: None, budget: Budget::new(Instant::now()) }
    }

    /// Writes the names that a pin needs and that were not told before.
    pub fn tell(&mut self, event: &Event, opener: &Opener, names: &mut Batch) {
        if let What::Pin(pin) = &event.what
            && pin.part == 0
            && self.facts.is_longterm(pin.gup_flags)
            && !is_file(pin.mm)
        {
            self.tell_of(event, pin, opener, names);
        }
    }

    fn tell_of(&mut self, event: &Event, pin: &Pin, opener: &Opener, names: &mut Batch) {
        // Whose pages a remote call has pinned the record does not say. What pins for long pins for its caller: vfio.
        self.read(event.task.tgid, opener, Instant::now());
        let Some(maps) = self.last.as_ref().filter(|maps| maps.tgid == event.task.tgid) else {
            return;
        };
        if self.told.len() > TOLD {
            self.told.clear();
        }
        let mut writer = Writer::new(names, event.time);
        let end = pin.address.saturating_add(pin.call_pages.saturating_mul(4096));
        for (start, end, name) in maps.overlapping(pin.address..end).take(OF_A_CALL) {
            let known = self.told.get(&(pin.mm, start));
            if known.is_none_or(|(known_end, known)| (*known_end, known.as_str()) != (end, name)) {
                writer.vma_name(pin.mm, start, end, name);
                self.told.insert((pin.mm, start), (end, name.to_owned()));
            }
        }
    }

    /// Reads a process's mappings, unless that was done just now or has taken too much time lately.
    fn read(&mut self, tgid: u32, opener: &Opener, now: Instant) {
        let is_fresh =
            |maps: &Maps| maps.tgid == tgid && now.saturating_duration_since(maps.at) < FRESH;
        if self.last.as_ref().is_some_and(is_fresh) {
            return;
        }
        self.last = None;
        if !self.budget.allows(now) {
            return;
        }
        // Of a process that is gone there is none, or an empty one.
        let mut text = Vec::new();
        let found = opener.maps(tgid);
        if found.and_then(|mut maps| maps.read_to_end(&mut text)).is_ok() {
            self.last = Some(Maps::parse(tgid, now, &String::from_utf8_lossy(&text)));
        }
        self.budget.spend(now.elapsed());
    }
}

/// The mappings of a process at a time, by address.
struct Maps {
    tgid: u32,
    at: Instant,
    vmas: Vec<(Range<u64>, String)>,
}

impl Maps {
    fn parse(tgid: u32, at: Instant, text: &str) -> Self {
        Self { tgid, at, vmas: text.lines().filter_map(maps::mapping).map(vma).collect() }
    }

    fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (u64, u64, &str)> {
        let first = self.vmas.partition_point(|(vma, _)| vma.end <= range.start);
        let overlaps = move |(vma, _): &&(Range<u64>, String)| vma.start < range.end;
        let vmas = self.vmas[first..].iter().take_while(overlaps);
        vmas.map(|(vma, name)| (vma.start, vma.end, name.as_str()))
    }
}

fn vma(mapping: maps::Mapping) -> (Range<u64>, String) {
    (mapping.range, mapping.name.to_owned())
}

/// How much time may be spent on looking things up: a twentieth of what passes, and saved up for a burst.
pub(super) struct Budget {
    left: Duration,
    since: Instant,
}

impl Budget {
    const SHARE: u32 = 20;
    const MOST: Duration = Duration::from_millis(250);

    pub(super) fn new(now: Instant) -> Self {
        Self { left: Self::MOST, since: now }
    }

    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        self.left = (self.left + passed / Self::SHARE).min(Self::MOST);
        self.since = now;
        !self.left.is_zero()
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0001000 r--p 00000000 08:01 1234                       /usr/bin/a name
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000002000 rw-p 00000000 00:00 0 
7f0000002000-7f0000004000 rw-s 00000000 00:01 2050                       /memfd:ring (deleted)
nonsense
";

    fn names(range: Range<u64>) -> Vec<String> {
        let maps = Maps::parse(1, Instant::now(), MAPS);
        maps.overlapping(range).map(|(_, _, name)| name.to_owned()).collect()
    }

    #[test]
    fn a_range_has_the_names_of_all_that_is_mapped_in_it() {
        assert_eq!(names(0x55d0_c000_0000..0x55d0_c000_0001), ["/usr/bin/a name"]);
        assert_eq!(names(0x7f00_0000_1000..0x7f00_0000_3000), ["", "/memfd:ring (deleted)"]);
        assert_eq!(names(0x55d0_c000_1000..0x55d0_c100_0000), [""; 0], "between two");
        assert_eq!(names(0x7f00_0000_4000..u64::MAX), [""; 0]);
    }

    #[test]
    fn our_own_mappings_are_told_once() {
        let opener = Opener::start().expect("started");
        let mut vmas = Vmas::new(Facts::default());
        let here = names as *const () as usize as u64;
        let task = crate::event::Task { tgid: std::process::id(), ..Default::default() };
        let pin = Pin {
            mm: 0x1000,
            address: here & !0xfff,
            pages: 1,
            call_pages: 1,
            unlisted: 0,
            gup_flags: 0x100,
            part: 0,
            extents: crate::event::Extents::default(),
        };
        let stack = crate::event::Stack::default();
        let event = Event { time: 1, task, cpu: 0, program: None, stack, what: What::Pin(pin) };
        let mut batch = Batch::new();
        vmas.tell(&event, &opener, &mut batch);
        let told = batch.len();
        vmas.tell(&event, &opener, &mut batch);
        let name = String::from_utf8_lossy(&batch);
        assert!(told > 0 && batch.len() == told && name.contains("cowtrace"), "{name}");
    }

    #[test]
    fn a_twentieth_of_the_time_is_spent_and_a_burst_is_saved_up_for() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.spend(Duration::from_millis(249));
        assert!(budget.allows(start));
        budget.spend(Duration::from_secs(1));
        assert!(!budget.allows(start));
        assert!(budget.allows(start + Duration::from_millis(20)));
        budget.spend(Duration::from_millis(1));
        assert!(!budget.allows(start + Duration::from_millis(20)));
    }
}
