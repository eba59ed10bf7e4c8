//! Who holds single pages for a moment: short-term pins and plain references. There may be a million a
//! second, so they are not told: they are remembered by page, and the holder is told when a process is
//! moved off that page.

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid},
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use cowtrace_common::{
    program::Program,
    setting::Setting,
    wire::{self, ShortTerm, holder_by, kind},
};

use crate::{
    emit::{self, Record},
    kernel::{self, setting},
    scope::{self, Mark, Role},
};

/// Most pages of a call that are remembered; longer calls are told, which is cheaper for each page.
pub const FEW: u64 = 8;

/// Who took a page.
#[derive(Clone, Copy)]
#[repr(C)]
struct Holder {
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
    comm: [u8; 16],
}

impl Holder {
    #[inline(always)]
    fn of_current(mm: u64, address: u64, gup_flags: u32) -> Self {
        let task = bpf_get_current_pid_tgid();
        Self {
            mm,
            address,
            time_ns: emit::now(),
            // SAFETY: takes nothing, returns a number.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            tgid: (task >> 32) as u32,
            tid: task as u32,
            gup_flags,
            more: 0,
            comm: bpf_get_current_comm().unwrap_or_default(),
        }
    }
}

/// Short-term pins by `struct page`, small pages only. The oldest go when it is full: their unpins are then
/// told, and match nothing.
#[map]
static PINNED: LruHashMap<u64, Holder> = LruHashMap::with_max_entries(16_384, 0);

/// Who took a plain reference last, by `struct page`. Nobody tells when one is dropped.
#[map]
static REFERENCED: LruHashMap<u64, Holder> = LruHashMap::with_max_entries(16_384, 0);

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
pub fn remember(mm: u64, address: u64, gup_flags: u64, array: u64, pages: u64) -> bool {
    let long = gup_flags & setting(Setting::FollLongterm) != 0;
    if long || setting(Setting::TellShortTerm) != 0 || pages > FEW {
        return false;
    }
    let mut n = 0;
    while n < FEW {
        if n >= pages {
            break;
        }
        // A folio that counts its pins as one is unpinned in ways that name no page.
        if kernel::folio_of(kernel::read_at(array + 8 * n)).1 != 0 {
            return false;
        }
        n += 1;
    }
    let mut holder = Holder::of_current(mm, address & !0xfff, gup_flags as u32);
    n = 0;
    while n < FEW {
        if n >= pages {
            break;
        }
        let page: u64 = kernel::read_at(array + 8 * n);
        if let Some(first) = PINNED.get_ptr_mut(page) {
            // SAFETY: an entry of the map, which stays memory of the map even if it is evicted.
            unsafe { (*first).more += 1 };
        } else {
            let _ = PINNED.insert(page, holder, 0);
        }
        count(|counts| &mut counts.pinned);
        holder.address += 4096;
        n += 1;
    }
    scope::referenced(mm);
    true
}

/// Forgets one pin on a page; whether there was one that had not been told.
#[inline(always)]
pub fn release(page: u64) -> bool {
    let Some(holder) = PINNED.get_ptr_mut(page) else {
        return false;
    };
    // SAFETY: as in `remember`.
    let more = unsafe { (*holder).more };
    if more > 0 {
        // SAFETY: as in `remember`.
        unsafe { (*holder).more = more - 1 };
    } else if PINNED.remove(page).is_err() {
        return false;
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
        let _ = REFERENCED.insert(page, holder, 0);
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
    // SAFETY: copied at once; an entry that is evicted meanwhile is another holder's, as whole as this one.
    let Some(holder) = unsafe { map.get(page) }.copied() else {
        return;
    };
    if pinned {
        let _ = PINNED.remove(page);
        count(|counts| &mut counts.told);
        if !scope::remember(holder.mm, Role::Pinned) {
            emit::lose(program);
        }
        Mark::Pinned.set(holder.mm, holder.address, holder.address + 4096);
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
