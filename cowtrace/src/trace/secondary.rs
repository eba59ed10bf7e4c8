//! Which secondary MMUs an address space has: who is told of changes at which of its addresses.
//!
//! Promise: that nobody is told is said only where all notifiers are known. A notifier keeps coherent who
//! registered it, nobody else: what pinned the same page is told nothing.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::{Trace, keyframe};
use crate::{
    event::{Event, Mm, Notifier, Secondary, Task, What, is_file},
    secondary::{self, Coherence},
};

/// Notifiers kept for one address space.
const REGISTERED: usize = 1024;
/// Address spaces kept that have ended, the first ones.
const ENDED: usize = 64;

/// An address space with pins: what in it is coherent by notifier, and what relies on the pin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSpace {
    /// Its number.
    pub mm: Mm,
    /// Who pinned there first.
    pub task: Task,
    /// Page references pinned so far, for long.
    pub pinned: u64,
    /// Those that are held.
    pub held: u64,
    /// Of these, pages in ranges of which a secondary MMU is told.
    pub held_and_told: u64,
    /// Operations of its secondary MMUs, and how many bytes each is told of; 0 for all addresses.
    pub mmus: Vec<(u64, u64)>,
    /// There are no others.
    pub complete: bool,
    /// Invalidations of ranges with pinned pages.
    pub invalidated_pinned: u64,
    /// Invalidations of others.
    pub invalidated_elsewhere: u64,
    /// It has ended.
    pub ended: bool,
}

/// What is known of one address space.
#[derive(Clone, Debug, Default)]
struct Registered {
    /// The process that was seen to register last.
    tgid: u32,
    notifiers: Vec<Notifier>,
    /// Those that there were when there were most: an orderly process takes them away before it ends.
    most: Vec<Notifier>,
    /// The list was told: what comes and goes since then is seen.
    listed: bool,
    /// There are some that are not in `notifiers`.
    unlisted: bool,
    task: Option<Task>,
    pinned: u64,
    invalidated: [u64; 2],
}

impl Registered {
    /// Some are about to go.
    fn keep_most(&mut self) {
        if self.notifiers.len() > self.most.len() {
            self.most.clone_from(&self.notifiers);
        }
    }

    fn covering(&self, start: u64, end: u64) -> impl Iterator<Item = &Notifier> {
        self.notifiers.iter().filter(move |notifier| match notifier.range {
            (0, 0) => true,
            (from, to) => from < end && start < to,
        })
    }
}

/// What is known of all, and of some that have ended.
#[derive(Clone, Debug, Default)]
pub struct Secondaries {
    by_mm: HashMap<Mm, Registered>,
    ended: Vec<AddressSpace>,
}

impl Secondaries {
    /// As a keyframe tells them.
    pub fn events(&self) -> Vec<Event> {
        let mut all: Vec<_> = self.by_mm.iter().collect();
        all.sort_unstable_by_key(|(mm, registered)| (registered.tgid, **mm));
        all.into_iter().flat_map(|(mm, registered)| again(*mm, registered)).collect()
    }

    /// Operations of those that are told of changes in a range, each once.
    pub fn told_of(&self, mm: Mm, start: u64, end: u64) -> Vec<u64> {
        let registered = self.by_mm.get(&mm).into_iter();
        let told = registered.flat_map(|registered| registered.covering(start, end));
        let mut mmus: Vec<u64> = told.map(|notifier| notifier.ops).collect();
        mmus.sort_unstable();
        mmus.dedup();
        mmus
    }

    /// Counts an invalidation.
    pub fn invalidated(&mut self, mm: Mm, pinned: bool) {
        self.by_mm.entry(mm).or_default().invalidated[usize::from(!pinned)] += 1;
    }

    /// Pages were pinned.
    pub fn pinned(&mut self, mm: Mm, task: Task, pages: u64) {
        if mm == 0 || is_file(mm) {
            return;
        }
        let registered = self.by_mm.entry(mm).or_default();
        registered.pinned = registered.pinned.saturating_add(pages);
        registered.task.get_or_insert(task);
    }

    fn add(&mut self, tgid: u32, notifier: &Notifier) {
        let registered = self.by_mm.entry(notifier.mm).or_default();
        // Without pins an address space ends unseen, and its number comes again.
        if registered.tgid != tgid && !registered.listed {
            registered.notifiers.clear();
        }
        registered.tgid = tgid;
        if registered.notifiers.len() < REGISTERED {
            registered.notifiers.push(*notifier);
        } else {
            registered.unlisted = true;
        }
    }

    /// Those of the whole address space are these now. Of ranges nothing is told but whether there are any.
    fn list(&mut self, tgid: u32, list: &Secondary) {
        let registered = self.by_mm.entry(list.mm).or_default();
        if !registered.listed && registered.tgid != tgid {
            registered.notifiers.clear();
        }
        registered.keep_most();
        let is_kept = |notifier: &Notifier| notifier.range != (0, 0) && list.intervals;
        registered.notifiers.retain(is_kept);
        let first = !registered.listed;
        registered.unlisted = list.more || list.intervals && (first || registered.unlisted);
        registered.listed = true;
        registered.tgid = if registered.tgid == 0 { tgid } else { registered.tgid };
        let whole = |ops: &u64| Notifier { mm: list.mm, ops: *ops, range: (0, 0) };
        registered.notifiers.extend(list.ops.iter().map(whole));
    }

    fn gone(&mut self, gone: &Notifier) {
        let Some(registered) = self.by_mm.get_mut(&gone.mm) else { return };
        let found = registered.notifiers.iter().position(|notifier| notifier == gone);
        if let Some(at) = found {
            registered.keep_most();
            registered.notifiers.remove(at);
        }
    }
}

/// The list first: it makes those in front of it forgotten.
fn again(mm: Mm, registered: &Registered) -> Vec<Event> {
    let of = |what| {
        let mut event = keyframe::of(0, what);
        event.task.tgid = registered.tgid;
        event
    };
    let list = Secondary { mm, more: registered.unlisted, ..Secondary::default() };
    let list = registered.listed.then(|| of(What::Secondary(list)));
    let each = registered.notifiers.iter().map(|notifier| of(What::Notifier(*notifier)));
    list.into_iter().chain(each).collect()
}

impl Trace {
    /// Secondary MMUs that are registered: process, operations, how many of these.
    pub fn secondary_mmus(&self) -> impl Iterator<Item = (u32, u64, usize)> {
        let mut counts: BTreeMap<(u32, u64), usize> = BTreeMap::new();
        for registered in self.secondaries.by_mm.values() {
            for notifier in &registered.notifiers {
                *counts.entry((registered.tgid, notifier.ops)).or_default() += 1;
            }
        }
        counts.into_iter().map(|((tgid, ops), count)| (tgid, ops, count))
    }

    /// What users call the secondary MMU with these operations.
    pub fn mmu_name(&self, ops: u64) -> String {
        secondary::name(self.symbol(0, ops), ops)
    }

    /// Who is told of changes in a range.
    pub fn coherence(&self, mm: Mm, start: u64, end: u64) -> Coherence {
        let mut mmus = self.secondaries.told_of(mm, start, end);
        mmus.retain(|ops| self.follows(*ops));
        let known = self.secondaries.by_mm.get(&mm);
        let complete = known.is_some_and(|registered| self.knows_all(registered));
        Coherence { mmus, complete }
    }

    fn knows_all(&self, registered: &Registered) -> bool {
        registered.listed && !registered.unlisted && !self.may_have_missed_notifiers()
    }

    fn follows(&self, ops: u64) -> bool {
        secondary::follows_changes(self.symbol(0, ops))
    }

    /// Address spaces with pins, and some that had both pins and secondary MMUs as they ended.
    pub fn address_spaces(&self) -> Vec<AddressSpace> {
        let mms: BTreeSet<Mm> = self.ledger.all_places().map(|(mm, _)| mm).collect();
        let own = mms.into_iter().filter(|mm| !is_file(*mm));
        let mut all: Vec<_> = own.map(|mm| self.address_space(mm)).collect();
        all.sort_unstable_by_key(|space| (space.task.tgid, space.mm));
        all.extend(self.secondaries.ended.iter().cloned());
        all
    }

    fn address_space(&self, mm: Mm) -> AddressSpace {
        let registered = self.secondaries.by_mm.get(&mm).cloned().unwrap_or_default();
        let places = self.ledger.places(mm, 0, u64::MAX);
        let is_told = |start, end| {
            let mut covering = registered.covering(start, end);
            covering.any(|notifier| self.follows(notifier.ops))
        };
        let told = places.iter().filter(|place| is_told(place.start, place.end()));
        let first = places.iter().min_by_key(|place| place.pin.id);
        let task = registered.task.or_else(|| first.map(|place| place.pin.holder));
        AddressSpace {
            mm,
            task: task.unwrap_or_default(),
            pinned: registered.pinned,
            held: places.iter().map(|place| place.pages).sum(),
            held_and_told: told.map(|place| place.pages).sum(),
            mmus: self.mmus_of(&registered.notifiers),
            complete: self.knows_all(&registered),
            invalidated_pinned: registered.invalidated[0],
            invalidated_elsewhere: registered.invalidated[1],
            ended: false,
        }
    }

    /// Operations, and bytes that each is told of; 0 for all.
    fn mmus_of(&self, notifiers: &[Notifier]) -> Vec<(u64, u64)> {
        let mut mmus: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        for Notifier { ops, range: (start, end), .. } in notifiers {
            let bytes = (*end > 0).then(|| end.saturating_sub(*start));
            let known = mmus.entry(*ops).or_insert(Some(0));
            *known = known.zip(bytes).map(|(known, more)| known.saturating_add(more));
        }
        let told = mmus.into_iter().filter(|(ops, _)| self.follows(*ops));
        told.map(|(ops, bytes)| (ops, bytes.unwrap_or(0))).collect()
    }

    /// A notifier was registered.
    pub(super) fn notifier(&mut self, event: &Event, notifier: &Notifier) {
        self.counts.notifiers += 1;
        self.secondaries.add(event.task.tgid, notifier);
    }

    /// Which notifiers there are, or that one has gone.
    pub(super) fn secondary(&mut self, event: &Event) {
        match &event.what {
            What::Secondary(list) => self.secondaries.list(event.task.tgid, list),
            What::NotifierGone(gone) => self.secondaries.gone(gone),
            _ => {}
        }
    }

    /// An address space is about to be forgotten.
    pub(super) fn address_space_ended(&mut self, mm: Mm) {
        let Some(mut known) = self.secondaries.by_mm.remove(&mm) else { return };
        known.keep_most();
        if known.pinned == 0 || known.most.is_empty() || self.secondaries.ended.len() == ENDED {
            return;
        }
        self.secondaries.ended.push(AddressSpace {
            mm,
            task: known.task.unwrap_or_default(),
            pinned: known.pinned,
            mmus: self.mmus_of(&known.most),
            complete: self.knows_all(&known),
            invalidated_pinned: known.invalidated[0],
            invalidated_elsewhere: known.invalidated[1],
            ended: true,
            ..AddressSpace::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Extent, Invalidate, Pin, Stack},
        facts::key,
    };

    const MM: Mm = 0xaa0;
    const KVM: u64 = 0xf00;
    const ODP: u64 = 0xf10;
    const AT: u64 = 0x1_0000;

    fn tell(trace: &mut Trace, what: What) {
        let task = Task { tgid: 7, tid: 7, ..Task::default() };
        let stack = Stack::default();
        trace.take(Ok(Event { time: 1, task, cpu: 0, program: None, stack, what }));
    }

    fn list(ops: &[u64], intervals: bool) -> What {
        What::Secondary(Secondary { mm: MM, ops: ops.into(), more: false, intervals })
    }

    fn pin(address: u64) -> What {
        What::Pin(Pin {
            mm: MM,
            address,
            pages: 1,
            call_pages: 1,
            unlisted: 0,
            gup_flags: 0x101,
            part: 0,
            extents: [Extent::new(address >> 12, 1)].into(),
        })
    }

    fn invalidate(start: u64) -> What {
        let end = start + 0x1000;
        What::Invalidate(Invalidate { mm: MM, start, end, began: 1, event: 0, flags: 0 })
    }

    /// A trace that was told these.
    fn told(events: impl IntoIterator<Item = What>) -> Trace {
        let mut trace = Trace::default();
        let name = |at, name: &str| What::Symbol { address: at, tgid: 0, name: name.to_owned() };
        let first = [
            What::Fact { key: key::FOLL_WRITE.to_owned(), value: "1".to_owned() },
            name(KVM, "kvm_mmu_notifier_ops+0x0 [kvm]"),
            name(ODP, "mlx5_mn_ops+0x0 [mlx5_ib]"),
            name(SGX, "sgx_mmu_notifier_ops+0x0"),
        ];
        first.into_iter().chain(events).for_each(|what| tell(&mut trace, what));
        trace
    }

    const SGX: u64 = 0xf20;

    fn says(trace: &Trace, address: u64) -> String {
        let coherence = trace.coherence(MM, address, address + 0x1000);
        crate::sinks::coherence::short(trace, &coherence)
    }

    #[test]
    fn nothing_is_said_of_an_address_space_whose_notifiers_were_not_listed() {
        assert_eq!(says(&told([pin(AT)]), AT), "pin; rest not known");
    }

    #[test]
    fn one_without_notifiers_relies_on_the_pin_alone() {
        assert_eq!(says(&told([list(&[], false), pin(AT)]), AT), "pin alone");
    }

    #[test]
    fn one_from_before_the_trace_is_told_and_its_pins_rely_on_the_pin() {
        let trace = told([list(&[KVM], false), pin(AT), invalidate(AT), invalidate(0x9000)]);
        assert_eq!(says(&trace, AT), "pin; KVM by notifier");
        let [space] = &trace.address_spaces()[..] else { panic!("one has pins") };
        assert_eq!((space.held, space.held_and_told, space.complete), (1, 1, true));
        assert_eq!((space.invalidated_pinned, space.invalidated_elsewhere), (1, 1));
        assert_eq!(space.mmus, [(KVM, 0)]);
    }

    #[test]
    fn an_interval_notifier_is_told_of_its_range_alone_until_it_goes() {
        let range = Notifier { mm: MM, ops: ODP, range: (AT, AT + 0x1000) };
        let mut trace = told([list(&[], false), pin(AT), pin(0x9000), What::Notifier(range)]);
        assert_eq!(says(&trace, AT), "pin; RDMA on-demand paging (mlx5) by notifier");
        assert_eq!(says(&trace, 0x9000), "pin alone");
        assert_eq!(trace.address_spaces()[0].held_and_told, 1);
        tell(&mut trace, What::NotifierGone(range));
        assert_eq!(says(&trace, AT), "pin alone");
    }

    #[test]
    fn a_list_without_one_that_was_there_says_that_it_has_gone() {
        let registered = What::Notifier(Notifier { mm: MM, ops: KVM, range: (0, 0) });
        let trace = told([list(&[], false), pin(AT), registered, list(&[], false)]);
        assert_eq!(says(&trace, AT), "pin alone");
    }

    #[test]
    fn an_address_space_that_has_ended_is_told_with_the_notifiers_that_it_had() {
        let registered = What::Notifier(Notifier { mm: MM, ops: KVM, range: (0, 0) });
        let gone = list(&[], false);
        let trace = told([
            list(&[], false),
            pin(AT),
            registered,
            invalidate(AT),
            gone,
            What::MmExit { mm: MM },
        ]);
        let ended = trace.address_spaces().pop().expect("it had pins");
        assert_eq!((ended.ended, ended.pinned, ended.mmus), (true, 1, vec![(KVM, 0)]));
        assert_eq!(ended.invalidated_pinned, 1);
    }

    #[test]
    fn ranges_that_are_not_listed_leave_it_open_who_else_is_told() {
        assert_eq!(says(&told([list(&[], true), pin(AT)]), AT), "pin; rest not known");
    }

    #[test]
    fn one_that_is_told_of_the_end_alone_keeps_nothing_coherent() {
        assert_eq!(says(&told([list(&[SGX], false), pin(AT)]), AT), "pin alone");
    }

    #[test]
    fn a_keyframe_tells_them_again() {
        let range = Notifier { mm: MM, ops: ODP, range: (AT, AT + 0x1000) };
        let trace = told([list(&[KVM], false), pin(AT), What::Notifier(range)]);
        let mut again = Trace::default();
        for event in crate::decode::Records::new(&trace.keyframe()) {
            again.take(event);
        }
        assert_eq!(says(&again, AT), says(&trace, AT));
        assert_eq!(says(&again, 0x9000), "pin; KVM by notifier");
        assert!(again.coherence(MM, AT, AT + 1).complete);
    }
}
