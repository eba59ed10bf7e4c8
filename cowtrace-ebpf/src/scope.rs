//! What is looked at: the address spaces with pins, and the filters.
//!
//! The first question of every program on a hot path is whether the address space has pins; the
//! answer comes from one map, before anything else is read.

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    macros::map,
    maps::{Array, HashMap},
};
use cowtrace_common::setting::Setting;

use crate::{
    emit::{bounded, spread},
    kernel::{self, setting},
    variable::Variable,
};

/// Why an address space is in [`MMS`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Pages of it were pinned since we started.
    Pinned = 1,
    /// It was forked from one that was: a snapshot.
    Child = 2,
    /// Plain references were taken to pages of it: what happens to it may be a cause.
    Referenced = 3,
}

/// An address space of interest, or a file of which folios were pinned.
#[derive(Clone, Copy)]
#[repr(C)]
struct Space {
    /// A [`Role`].
    role: u8,
    /// By question, whether the answer is yes for all of it: more was marked at once than has cells.
    everywhere: [u8; QUESTIONS as usize],
    reserved: [u8; 4],
}

/// By address. An entry stays until its address space dies: whether the last pin is gone is the ledger's knowledge,
/// not ours.
#[map]
static MMS: HashMap<u64, Space> = HashMap::with_max_entries(65_536, 0);

/// Which parts of which address spaces have pins, or were zapped or copied under them: a byte for each hash of
/// both, set and never cleared. So it may say yes where the answer is no, which costs a record, and
/// never the other way round; and two programs that set one byte at once are no race. On a host where processes come
/// and go most bytes are set one day: yes is said of address spaces in [`MMS`] alone.
#[map]
static MARKS: Array<u8> = Array::with_max_entries(QUESTIONS * (CELLS + 2), 0);

/// Which addresses have pins, whoever's: a COW break asks this first, since even to read whose address space it is
/// in costs more. Finer than [`MARKS`], so that what lies beside a registered buffer is not told.
///
/// A variable and no map that is asked: a load instead of a lookup, each time that anything is copied.
#[unsafe(no_mangle)]
static NEAR: Variable<[u8; NEAR_CELLS as usize + 1]> = Variable::new([0; NEAR_CELLS as usize + 1]);

/// Cells of [`NEAR`], and behind them one that stands for everything.
const NEAR_CELLS: u32 = 1 << 16;
/// log2 of the bytes that its cells stand for: those of short calls, and those of long ones.
const NEAR_PARTS: [u64; 2] = [16, PART];

/// Values of [`Mark`].
const QUESTIONS: u32 = 3;
/// Cells for each question, and behind them one each that says that all of some address space is marked.
const CELLS: u32 = 1 << 16;
/// log2 of the bytes that a cell stands for: of most ranges, and of those that are long.
const PARTS: [u64; 2] = [PART, 30];
const PART: u64 = 25;
/// Parts that one call marks, 32 MiB each (an io_uring buffer has at most 1 GiB) or 1 GiB; beyond, the whole address
/// space is marked.
const MOST_MARKED: u64 = 33;
/// Parts of 32 MiB that one question looks at; beyond, the answer is yes.
const MOST_ASKED: u64 = 8;

/// A question about a part of an address space.
#[derive(Clone, Copy)]
pub enum Mark {
    /// Were pages there pinned?
    Pinned = 0,
    /// Were mappings there zapped since?
    Zapped = 1,
    /// Was a process moved off a page there, one way or another?
    Lost = 2,
}

impl Mark {
    /// Whether it was ever set, for anything.
    #[inline(always)]
    pub fn is_used(self) -> bool {
        is_set(anything(self as u32))
    }

    /// Sets it for a range.
    #[inline(always)]
    pub fn set(self, mm: u64, start: u64, end: u64) {
        set_mark(self as u64, mm, start, end);
    }

    /// Sets it for one address.
    #[inline(always)]
    pub fn set_at(self, mm: u64, address: u64) {
        set(anything(self as u32));
        set(cell(self as u32, mm, address >> PART, 0));
    }

    /// Whether it may be set for a part of a range.
    #[inline(always)]
    pub fn may_hold(self, mm: u64, start: u64, end: u64) -> bool {
        has_mark(self as u64, mm, start, end) != 0
    }

    /// The same for one address. Each page fault asks: no lookup where no cell is set.
    #[inline(always)]
    pub fn may_hold_at(self, mm: u64, address: u64) -> bool {
        let question = self as u32;
        let is_marked = is_marked(question, mm, address);
        (is_marked || is_set(everywhere(question)))
            && space(mm).is_some_and(|space| is_marked || space.everywhere[self as usize] != 0)
    }
}

/// Parts of both sizes lie mixed.
#[inline(always)]
fn cell(question: u32, mm: u64, part: u64, scale: u64) -> u32 {
    question * CELLS + (spread::<16>(mm ^ (part << 1 | scale) << 12) & (CELLS - 1))
}

#[inline(always)]
fn everywhere(question: u32) -> u32 {
    QUESTIONS * CELLS + question
}

#[inline(always)]
fn anything(question: u32) -> u32 {
    QUESTIONS * (CELLS + 1) + question
}

#[inline(always)]
fn is_marked(question: u32, mm: u64, address: u64) -> bool {
    is_set(cell(question, mm, address >> PARTS[0], 0))
        || is_set(cell(question, mm, address >> PARTS[1], 1))
}

/// What is known of an address space.
#[inline(always)]
fn space(mm: u64) -> Option<Space> {
    // SAFETY: bytes, which no writer can tear.
    unsafe { MMS.get(mm) }.copied()
}

/// Sets a [`Mark`] for a range.
///
/// Like the other two with a loop a function that the verifier looks at once: the ways out of the loop do not multiply
/// with what follows.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn set_mark(question: u64, mm: u64, start: u64, end: u64) -> u64 {
    let question = question as u32;
    set(anything(question));
    let (first, count, scale) = parts(start, end, PARTS);
    if count > MOST_MARKED {
        set(everywhere(question));
        if let Some(space) = MMS.get_ptr_mut(mm) {
            let question = bounded::<3>(question.into()) as usize;
            // SAFETY: a byte of the map: there are three questions, and behind their bytes is another one.
            unsafe { (&raw mut (*space).everywhere).cast::<u8>().add(question).write(1) };
        }
        return 0;
    }
    let mut n = 0;
    while n < MOST_MARKED {
        if n >= count {
            break;
        }
        set(cell(question, mm, first + n, scale));
        n += 1;
    }
    0
}

/// The first part of a range, how many it has, and of which size they are: the small ones, if there are not too many.
#[inline(always)]
fn parts(start: u64, end: u64, sizes: [u64; 2]) -> (u64, u64, u64) {
    let last = end.wrapping_sub(1);
    let scale = ((last >> sizes[0]).wrapping_sub(start >> sizes[0]) >= MOST_MARKED) as u64;
    let size = sizes[0] + scale * (sizes[1] - sizes[0]);
    (start >> size, (last >> size).wrapping_sub(start >> size) + 1, scale)
}

/// Whether a [`Mark`] may be set for a part of a range: not 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn has_mark(question: u64, mm: u64, start: u64, end: u64) -> u64 {
    let Some(space) = space(mm) else {
        return 0;
    };
    let [pinned, zapped, lost] = space.everywhere;
    let everywhere = match question {
        0 => pinned,
        1 => zapped,
        _ => lost,
    };
    let question = question as u32;
    let first = start >> PART;
    let count = (end.wrapping_sub(1) >> PART).wrapping_sub(first) + 1;
    if everywhere != 0 || count > MOST_ASKED || is_marked(question, mm, end.wrapping_sub(1)) {
        return 1;
    }
    let mut n = 0;
    while n < MOST_ASKED {
        if n >= count {
            break;
        }
        if is_marked(question, mm, (first + n) << PART) {
            return 1;
        }
        n += 1;
    }
    0
}

#[inline(always)]
fn set(cell: u32) {
    if let Some(cell) = MARKS.get_ptr_mut(cell) {
        // SAFETY: a byte of the map; all writers write the same.
        unsafe { *cell = 1 };
    }
}

#[inline(always)]
fn is_set(cell: u32) -> bool {
    MARKS.get(cell).is_some_and(|cell| *cell != 0)
}

/// Remembers that a range of an address space holds pins.
#[inline(always)]
pub fn set_pinned(mm: u64, start: u64, end: u64) {
    Mark::Pinned.set(mm, start, end);
    set_near_in(start, end);
}

/// Sets [`NEAR`] for a range.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn set_near_in(start: u64, end: u64) -> u64 {
    let (first, count, scale) = parts(start, end, NEAR_PARTS);
    if count > MOST_MARKED {
        set_near(NEAR_CELLS);
        return 0;
    }
    let mut n = 0;
    while n < MOST_MARKED {
        if n >= count {
            break;
        }
        set_near(near_cell(first + n, scale));
        n += 1;
    }
    0
}

/// From now on everything may be near pins.
#[inline(always)]
pub fn set_all_near() {
    set_near(NEAR_CELLS);
}

/// Cells of parts of both sizes lie mixed.
#[inline(always)]
fn near_cell(part: u64, scale: u64) -> u32 {
    spread::<16>(part << 1 | scale) & (NEAR_CELLS - 1)
}

/// The byte of a cell, which is at most [`NEAR_CELLS`].
#[inline(always)]
fn near(cell: u32) -> *mut u8 {
    // SAFETY: within the bytes.
    unsafe { NEAR.get().cast::<u8>().add(cell as usize) }
}

#[inline(always)]
fn set_near(cell: u32) {
    // SAFETY: a byte of `NEAR`.
    unsafe { near(cell).write_volatile(1) };
}

/// Whether an address may hold pins, in whatever address space.
#[inline(always)]
pub fn is_near_pins(address: u64) -> bool {
    // SAFETY: a byte of `NEAR`.
    let is_set = |cell| unsafe { near(cell).read_volatile() != 0 };
    is_set(near_cell(address >> NEAR_PARTS[0], 0))
        || is_set(near_cell(address >> NEAR_PARTS[1], 1))
        || is_set(NEAR_CELLS)
}

/// Whether a range of an address space may hold pins.
#[inline(always)]
pub fn has_pins_in(mm: u64, start: u64, end: u64) -> bool {
    let one_page = end.wrapping_sub(start) <= 4096;
    (!one_page || is_near_pins(start)) && has_pins(mm) && Mark::Pinned.may_hold(mm, start, end)
}

/// Processes that a filter by process lets through; children join their parent.
#[map]
static TRACED: HashMap<u32, u8> = HashMap::with_max_entries(65_536, 0);

/// Ids of the cgroups that a filter by cgroup lets through.
#[map]
static CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(65_536, 0);

/// Remembers an address space; false if the map is full.
#[inline(always)]
pub fn remember(mm: u64, role: Role) -> bool {
    match insert(mm, role) {
        Ok(()) => true,
        // What was marked of it stays.
        Err(EXISTS) => MMS.get_ptr_mut(mm).is_some_and(|space| {
            // SAFETY: a byte of the map.
            unsafe { (*space).role = role as u8 };
            true
        }),
        Err(_) => false,
    }
}

/// Remembers an address space whose pages others hold, unless more is known of it; false if the map is full.
#[inline(always)]
pub fn remember_unless_known(mm: u64) -> bool {
    matches!(insert(mm, Role::Referenced), Ok(()) | Err(EXISTS))
}

/// -EEXIST
const EXISTS: i32 = -17;

#[inline(always)]
fn insert(mm: u64, role: Role) -> Result<(), i32> {
    const NO_EXIST: u64 = 1; // BPF_NOEXIST
    let space = Space { role: role as u8, everywhere: [0; QUESTIONS as usize], reserved: [0; 4] };
    MMS.insert(mm, space, NO_EXIST)
}

/// Remembers an address space whose pages somebody holds with plain references, unless more is known of it or
/// the map is full: nothing but a cause depends on it.
#[inline(always)]
pub fn referenced(mm: u64) {
    let lately = lately(mm);
    // SAFETY: a word of `LATELY`.
    if unsafe { lately.read_volatile() } != mm && remember_unless_known(mm) {
        // SAFETY: the same.
        unsafe { lately.write_volatile(mm) };
    }
}

/// Address spaces that were [`referenced`] and live, each in the place that its address gives it: whoever does direct I/O
/// comes again for each, and a load costs less than a lookup.
#[unsafe(no_mangle)]
static LATELY: Variable<[u64; LATELY_CELLS as usize]> = Variable::new([0; LATELY_CELLS as usize]);

/// A power of two.
const LATELY_CELLS: u64 = 1 << 8;

/// The place of an address space, of which the slab's objects have the lowest bits alike.
#[inline(always)]
fn lately(mm: u64) -> *mut u64 {
    let cell = u64::from(spread::<8>(mm >> 6));
    // SAFETY: within the words.
    unsafe { LATELY.get().cast::<u64>().add((cell & (LATELY_CELLS - 1)) as usize) }
}

/// Whether what happens to this address space can be the cause of a finding.
#[inline(always)]
pub fn is_watched(mm: u64) -> bool {
    space(mm).is_some_and(|space| space.role != Role::Child as u8)
}

/// Forgets an address space; whether it was known.
#[inline(always)]
pub fn forget(mm: u64) -> bool {
    let lately = lately(mm);
    // SAFETY: a word of `LATELY`. Nobody else asks for an address space that goes.
    if unsafe { lately.read_volatile() } == mm {
        unsafe { lately.write_volatile(0) };
    }
    MMS.remove(mm).is_ok()
}

/// Whether pages of this address space were pinned.
#[inline(always)]
pub fn has_pins(mm: u64) -> bool {
    space(mm).is_some_and(|space| space.role == Role::Pinned as u8)
}

/// The filters, applied to the current task.
#[inline(always)]
pub fn wanted() -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    u64::from(tgid) != setting(Setting::OwnTgid)
        && tgid_wanted(tgid)
        && cgroup_wanted()
        && comm_wanted()
}

#[inline(always)]
fn tgid_wanted(tgid: u32) -> bool {
    setting(Setting::FilterTgids) == 0 || is_traced(tgid)
}

#[inline(always)]
fn is_traced(tgid: u32) -> bool {
    // SAFETY: only the entry's existence is looked at.
    unsafe { TRACED.get(tgid) }.is_some()
}

#[inline(always)]
fn cgroup_wanted() -> bool {
    // A look at the ancestors would take bpf_get_current_ancestor_cgroup_id, which tracing programs on
    // 5.10 cannot call.
    // SAFETY: the helper takes nothing; of the entry only its existence is looked at.
    setting(Setting::FilterCgroups) == 0
        || unsafe { CGROUPS.get(bpf_get_current_cgroup_id()) }.is_some()
}

#[inline(always)]
fn comm_wanted() -> bool {
    if setting(Setting::FilterCommMask) == 0 {
        return true;
    }
    let [first, rest] = kernel::comm();
    (first ^ setting(Setting::FilterComm)) & setting(Setting::FilterCommMask) == 0
        && (rest ^ setting(Setting::FilterCommRest)) & setting(Setting::FilterCommRestMask) == 0
}

/// Lets the children of a traced process through; false if the map is full.
#[inline(always)]
pub fn inherit(parent: u32, child: u32) -> bool {
    if setting(Setting::FilterTgids) == 0 || parent == child {
        return true;
    }
    if is_traced(parent) {
        return TRACED.insert(child, 1, 0).is_ok();
    }
    // The number may have belonged to a traced process before.
    let _ = TRACED.remove(child);
    true
}
