//! Who holds single pages for a moment: short-term pins and plain references. There may be a million a
//! second, so they are not told: they are remembered by page, and the holder is told when a process is
//! moved off that page.

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    macros::map,
    maps::{Array, PerCpuArray},
};
use cowtrace_common::{
    program::Program,
    setting::{Setting, Stage},
    wire::{self, ShortTerm, holder_by, kind},
};

use crate::{
    emit::{self, Record},
    kernel::{self, setting},
    scope::{self, Role},
    shed::is_shed,
};

/// Most pages of a call that are remembered; longer calls are told, which is cheaper for each page.
pub const FEW: u64 = 8;

/// Who took a page.
#[derive(Clone, Copy)]
#[repr(C)]
struct Holder {
    /// The `struct page`; 0: nobody's place.
    page: u64,
    mm: u64,
    address: u64,
    time_ns: u64,
    cgroup: u64,
    tgid: u32,
    tid: u32,
    gup_flags: u32,
    /// Further pins on the page while this one lasts. Not counted atomically: one too few makes an unpin
    /// told that nobody waits for.
    more: u32,
    comm: [u64; 2],
}

impl Holder {
    /// Who is not looked at. Its pages have to be remembered all the same, or their unpins would be told.
    const NOBODY: Self = Self {
        page: 0,
        mm: 0,
        address: 0,
        time_ns: 0,
        cgroup: 0,
        tgid: 0,
        tid: 0,
        gup_flags: 0,
        more: 0,
        comm: [0; 2],
    };

    #[inline(always)]
    fn of_current(mm: u64, address: u64, gup_flags: u32) -> Self {
        let task = bpf_get_current_pid_tgid();
        Self {
            page: 0,
            mm,
            address,
            time_ns: emit::now(),
            // SAFETY: takes nothing, returns a number.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            tgid: (task >> 32) as u32,
            tid: task as u32,
            gup_flags,
            more: 0,
            comm: kernel::comm(),
        }
    }
}

/// Places in each of the two maps; a power of two.
const PLACES: u32 = 1 << 14;

/// Short-term pins by `struct page`, small pages only. Each page has one place, which a look-up in a hash map would
/// cost ten times as much to find; who comes later to a place takes it, and the unpin of the first is then told, and
/// matches nothing. Two CPUs that take one place within the same few instructions may mix up who holds the page.
#[map]
static PINNED: Array<Holder> = Array::with_max_entries(PLACES, 0);

/// Who took a plain reference last, by `struct page`. Nobody tells when one is dropped.
#[map]
static REFERENCED: Array<Holder> = Array::with_max_entries(PLACES, 0);

/// The place of a page. Pages that lie side by side have places side by side.
#[inline(always)]
fn place(map: &Array<Holder>, page: u64) -> Option<&mut Holder> {
    let number = (page >> setting(Setting::PageStructShift)) as u32 & (PLACES - 1);
    // SAFETY: memory of the map, whose fields any number fits.
    map.get_ptr_mut(number).map(|holder| unsafe { &mut *holder })
}

/// Writes a holder into the place of a page, which is nobody's meanwhile.
#[inline(always)]
fn take(place: &mut Holder, holder: &Holder, page: u64) {
    // SAFETY: a field of a place. Volatile, so that it stays first.
    unsafe { (&raw mut place.page).write_volatile(0) };
    // Word by word: LLVM has what it sees as one moved by a loop over its bytes.
    place.mm = holder.mm;
    place.address = holder.address;
    place.time_ns = holder.time_ns;
    place.cgroup = holder.cgroup;
    place.tgid = holder.tgid;
    place.tid = holder.tid;
    place.gup_flags = holder.gup_flags;
    place.more = 0;
    let [first, rest] = holder.comm;
    place.comm = [first, rest];
    // SAFETY: the same, and stays last.
    unsafe { (&raw mut place.page).write_volatile(page) };
}

/// How many pages were pinned and unpinned without being told.
#[map]
static SHORT_TERM: PerCpuArray<ShortTerm> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn count(of: impl FnOnce(&mut ShortTerm) -> &mut u64) {
    if let Some(counts) = SHORT_TERM.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        *of(unsafe { &mut *counts }) += 1;
    }
}

/// Remembers the pages of a short-term call in place of telling it; false if it has to be told. `array`: where
/// the call put the pages.
#[inline(always)]
pub fn remember(
    program: Program,
    mm: u64,
    address: u64,
    gup_flags: u64,
    array: u64,
    pages: u64,
) -> bool {
    let long = gup_flags & setting(Setting::FollLongterm) != 0;
    if long || setting(Setting::TellShortTerm) != 0 || pages > FEW {
        return false;
    }
    let Some(call) = call(program as u32) else {
        return false;
    };
    if !kernel::copy_words(array, &mut call.pages, pages) {
        return false;
    }
    let mut n = 0;
    while n < FEW {
        if n >= pages {
            break;
        }
        // A folio that counts its pins as one is unpinned in ways that name no page.
        if is_large(program as u64, n) != 0 {
            return false;
        }
        n += 1;
    }
    let shed = is_shed(Stage::Holders);
    call.start = address & !0xfff;
    call.holder =
        if shed { Holder::NOBODY } else { Holder::of_current(mm, call.start, gup_flags as u32) };
    n = 0;
    while n < FEW {
        if n >= pages {
            break;
        }
        hold(program as u64, n);
        n += 1;
    }
    if !shed {
        scope::referenced(mm);
    }
    true
}

/// A call whose pages are remembered, in the scratch of the program that sees it.
#[repr(C)]
struct Call {
    /// Who takes the page that is looked at.
    holder: Holder,
    /// Address of the first page.
    start: u64,
    pages: [u64; FEW as usize],
}

const _: () = assert!(size_of::<Call>() <= size_of::<[u64; emit::SCRATCH]>());

#[inline(always)]
fn call(program: u32) -> Option<&'static mut Call> {
    // SAFETY: it is long enough, begins at a multiple of 8, and is this program's on this CPU; any bytes are a call.
    emit::scratch(program).map(|scratch| unsafe { &mut *(&raw mut *scratch).cast() })
}

impl Call {
    /// Its `n`th page.
    #[inline(always)]
    fn page(&self, n: u64) -> u64 {
        let n = emit::bounded::<{ FEW - 1 }>(n) as usize;
        // SAFETY: below FEW.
        unsafe { *self.pages.get_unchecked(n) }
    }
}

/// Whether the `n`th page of a call is of a large folio: not 0.
///
/// Like [`hold`] a function that the verifier looks at once: in a loop the ways through it would multiply.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn is_large(program: u64, n: u64) -> u64 {
    call(program as u32).map_or(0, |call| kernel::is_large(call.page(n)).into())
}

/// Gives the `n`th page of a call its holder.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn hold(program: u64, n: u64) -> u64 {
    if let Some(call) = call(program as u32) {
        let page = call.page(n);
        if let Some(place) = place(&PINNED, page) {
            if place.page == page {
                place.more += 1;
            } else {
                call.holder.address = call.start + (n << 12);
                take(place, &call.holder, page);
            }
        }
    }
    count(|counts| &mut counts.pinned);
    0
}

/// Forgets one pin on a page; whether there was one that had not been told.
#[inline(always)]
pub fn release(page: u64) -> bool {
    let Some(holder) = place(&PINNED, page).filter(|holder| holder.page == page) else {
        return false;
    };
    if holder.more > 0 {
        holder.more -= 1;
    } else {
        holder.page = 0;
    }
    count(|counts| &mut counts.unpinned);
    true
}

/// Remembers who takes plain references to pages: of a long call, the first ones.
#[inline(always)]
pub fn referenced(mm: u64, address: u64, gup_flags: u32, array: u64, pages: u64) {
    let mut holder = Holder::of_current(mm, address & !0xfff, gup_flags);
    let mut n = 0;
    while n < 2 * FEW {
        if n >= pages {
            break;
        }
        let page: u64 = kernel::read_at(array + 8 * n);
        if let Some(place) = place(&REFERENCED, page) {
            take(place, &holder, page);
        }
        holder.address += 4096;
        n += 1;
    }
    scope::referenced(mm);
}

/// Tells who holds a page that its process has been moved off, if it is remembered. From here on its unpin is
/// told too.
#[inline(always)]
pub fn tell(program: Program, pfn: u64, pinned: bool) {
    let page = kernel::page_of(pfn);
    let map = if pinned { &PINNED } else { &REFERENCED };
    let Some(place) = place(map, page).filter(|holder| holder.page == page) else {
        return;
    };
    let holder = *place;
    if holder.mm == 0 {
        return; // Nobody's name: the ledger is to know of the unpin as little as of the pin.
    }
    if pinned {
        place.page = 0;
        count(|counts| &mut counts.told);
        if !scope::remember(holder.mm, Role::Pinned) {
            emit::lose(program);
        }
        scope::set_pinned(holder.mm, holder.address, holder.address + 4096);
    }
    let Some(mut record) = Record::<wire::Holder>::new(program, kind::HOLDER) else {
        return;
    };
    record.by(holder.time_ns, holder.cgroup, holder.tgid, holder.tid, holder.comm);
    record.body(wire::Holder {
        mm: holder.mm,
        address: holder.address,
        pfn,
        gup_flags: holder.gup_flags,
        by: if pinned { holder_by::SHORT_TERM_PIN } else { holder_by::REFERENCE },
    });
    record.submit();
}
