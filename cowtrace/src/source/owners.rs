//! Who long-term pins belong to: looked up a moment after the pin, and told as records.
//!
//! Promise: an owner is named where exactly one fits, or where several fit in the order in which they were made. Otherwise
//! the record says how many fit, that none does, or that the process was gone.
//!
//! Surprise: a pin is made within the call that brings its owner about, so nothing shows the owner when the pin's record
//! comes. It is looked up a few times, further and further apart, and never for more than a twentieth of the time.

mod candidate;
mod files;
mod netlink;
mod range;
mod rdma;
mod settle;
mod uring;
mod vfio;
mod xdp;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use cowtrace_common::wire::kind;

use self::{
    candidate::{Process, candidates},
    range::Range,
    settle::{Answer, settle},
};
use super::{Batch, symbols::Symbols, vmas::Budget};
use crate::{
    decode::Records,
    encode::Writer,
    event::{Event, Stack, Time, What},
    facts::Facts,
    owner::{Found, Kind, Owner, Telling},
    privileges::opener::Opener,
    sys,
};

/// How long after the pin, and then after each other, it is looked up.
const AFTER: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(1),
];
/// So often is waited for what is not known of an owner yet.
const PATIENT: usize = 2;
/// Ranges that wait: a bound on memory. What comes beyond is not looked up.
const WAITING: usize = 1 << 15;
/// Functions and owners that are remembered. Beyond, all are forgotten.
const KNOWN: usize = 1 << 16;
/// Names that are listed where several fit.
const LISTED: usize = 4;

/// The pins whose owners are to be looked up.
pub struct Owners {
    facts: Facts,
    /// In the order in which they were pinned.
    waiting: Vec<Range>,
    /// What functions tell, by address.
    functions: HashMap<u64, Option<Telling>>,
    /// Owners that have their range, by the process whose name it is (0: everybody's) and name.
    taken: HashSet<(u32, String)>,
    budget: Budget,
}

impl Owners {
    /// Nothing waits, on a kernel of these facts. Memory regions that there are now belong to no pin that will be seen.
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            waiting: Vec::new(),
            functions: HashMap::new(),
            taken: rdma::candidates(&[]).into_iter().map(|known| (0, known.name)).collect(),
            budget: Budget::new(Instant::now()),
        }
    }

    /// When the next is to be looked up.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|range| range.due).min()
    }

    /// Notes pins that have an owner of a known sort.
    pub fn note(&mut self, batch: &[u8], symbols: &Symbols) {
        let now = (Instant::now(), sys::boottime_ns());
        for event in Records::new(batch).of_kind(kind::PIN).flatten() {
            self.note_one(&event, symbols, now);
        }
    }

    fn note_one(&mut self, event: &Event, symbols: &Symbols, (now, boottime): (Instant, Time)) {
        if let What::Pin(pin) = &event.what
            && pin.part == 0
            && self.facts.is_longterm(pin.gup_flags)
            && let Some(kind) = self.kind(&event.stack, symbols)
        {
            let age = Duration::from_nanos(boottime.saturating_sub(event.time));
            let due = now + AFTER[0].saturating_sub(age);
            let mut before = self.waiting.iter_mut().rev();
            let last = before.find(|range| range.tid == event.task.tid);
            let goes_on = last.is_some_and(|last| last.goes_on(event, pin, kind, due));
            if !goes_on && self.waiting.len() < WAITING {
                self.waiting.push(Range::new(event, pin, kind, due));
            }
        }
    }

    fn kind(&mut self, stack: &Stack, symbols: &Symbols) -> Option<Kind> {
        if self.functions.len() > KNOWN {
            self.functions.clear();
        }
        let tells = |address: &u64| {
            let look = || symbols.function(*address).and_then(Telling::of);
            *self.functions.entry(*address).or_insert_with(look)
        };
        stack.kernel().iter().filter_map(tells).min().map(Telling::kind)
    }

    /// Looks up what is due, and tells what has come of it. `last`: there will be no other time.
    pub fn look(&mut self, opener: &Opener, last: bool, told: &mut Batch) {
        let now = Instant::now();
        let is_due = |range: &Range| last || range.due <= now;
        if !self.waiting.iter().any(is_due) {
            return;
        }
        if !last && !self.budget.allows(now) {
            let later = now + AFTER[1];
            self.waiting.iter_mut().for_each(|range| range.due = range.due.max(later));
            return;
        }
        if self.taken.len() > KNOWN {
            self.taken.clear();
        }
        let mut groups: BTreeMap<(u32, Kind), Vec<Range>> = BTreeMap::new();
        for range in self.waiting.drain(..) {
            groups.entry((range.tgid, range.kind)).or_default().push(range);
        }
        let mut writer = Writer::new(told, sys::boottime_ns());
        for ranges in groups.into_values() {
            if ranges.iter().any(is_due) {
                self.look_for(ranges, opener, (now, last), &mut writer);
            } else {
                self.waiting.extend(ranges);
            }
        }
        self.waiting.sort_by_key(Range::since);
        self.budget.spend(now.elapsed());
    }

    /// Looks up the owners of ranges of one process and sort. All of them are rivals, due or not.
    fn look_for(
        &mut self,
        ranges: Vec<Range>,
        opener: &Opener,
        (now, last): (Instant, bool),
        writer: &mut Writer,
    ) {
        let process = ranges.first().and_then(|range| Process::open(range.tgid, opener));
        let is_gone = process.is_none();
        let candidates = process.map_or_else(Vec::new, |process| candidates(&process, &ranges));
        let answers = settle(&ranges, &candidates, &self.taken);
        for (mut range, answer) in ranges.into_iter().zip(answers) {
            let is_over = last || is_gone || range.tries + 1 >= AFTER.len();
            let is_due = last || range.due <= now;
            let none = if last || is_gone { Found::TooLate } else { Found::Nowhere };
            if is_due && (is_over || is_sure(&answer, range.tries)) {
                let owner = self.owner(range.kind, &answer, none);
                range.pins.iter().for_each(|time| writer.owner((*time, range.tid), &owner));
                continue;
            }
            if is_due {
                range.tries += 1;
                range.due = now + AFTER[range.tries];
            }
            self.waiting.push(range);
        }
    }

    fn owner(&mut self, kind: Kind, answer: &Answer, none: Found) -> Owner {
        match answer {
            Answer::None => Owner::new(kind, none, ""),
            Answer::One(one) => {
                self.taken.insert((one.scope, one.name.clone()));
                Owner::new(kind, Found::Sure, &one.name)
            }
            Answer::Several(several) => {
                let names: Vec<_> = several.iter().take(LISTED).map(|one| &*one.name).collect();
                let count = u32::try_from(several.len()).unwrap_or(u32::MAX - 1);
                Owner::new(kind, Found::OneOf(count), &names.join("; "))
            }
        }
    }
}

/// Whether no later look would tell more.
fn is_sure(answer: &Answer, tries: usize) -> bool {
    matches!(answer, Answer::One(one) if one.is_whole || tries >= PATIENT)
}
