//! Which devices reach pinned memory, and where they find it: what the IOMMU API maps (vfio, iommufd) and what the DMA
//! API maps (drivers). Attached only where the command line asks for it.
//!
//! Promise: an end is told before anybody else can have the address that it frees. Surprise: a million mappings a second
//! are none of ours. Each costs a look at its page, and its end a look at a byte; what the DMA API itself maps through
//! the IOMMU API is passed over there by the sort of its domain.

use core::arch::asm;

use aya_ebpf::{
    macros::{fentry, fexit, map},
    maps::{Array, HashMap, PerCpuArray},
    programs::{FEntryContext, FExitContext},
};
use cowtrace_common::{
    program::Program,
    setting::{Field, Setting},
    wire::{DmaDevice, DmaMap, DmaUnmap, dma_by, kind},
};

use super::fault::NO_EXIST;
use crate::{
    emit::{self, Record},
    kernel::{self, Pointer, Typed, Untyped, argument, setting},
};

/// IOMMU domains in which pinned memory was mapped: unmaps are told of these.
#[map]
static DOMAINS: HashMap<u64, u8> = HashMap::with_max_entries(4_096, 0);

/// Mappings of the DMA API that were told, by device and address, and how many there are of each: without an IOMMU the
/// address is the page's own, and a page that is mapped twice has it twice.
#[map]
static REACHED: HashMap<[u64; 2], u64> = HashMap::with_max_entries(65_536, 0);

/// Addresses at which mappings of the DMA API were told, for whatever device: a byte for each hash, set and never cleared.
/// Every unmap asks this first, since it costs a tenth of [`REACHED`].
#[map]
static AT: Array<u8> = Array::with_max_entries(CELLS, 0);

/// A power of two.
const CELLS: u32 = 1 << 16;

/// Where programs are in scatter-gather lists, by [`Way`].
#[map]
static WALKS: PerCpuArray<Walk> = PerCpuArray::with_max_entries(2, 0);

/// Where a program is in a list. Entries may have been joined: what the device finds in one piece, they have in several.
#[derive(Clone, Copy)]
struct Walk {
    entry: u64,
    /// The entry that tells where the device finds this one, `used` bytes behind it.
    there: u64,
    used: u64,
}

/// What a list is gone through for.
#[derive(Clone, Copy)]
enum Way {
    /// It was mapped.
    To = 0,
    /// It is about to be unmapped.
    From = 1,
}

/// What DMA_MAPPING_ERROR is.
const NO_ADDRESS: u64 = u64::MAX;
/// Set in the type of a domain that the DMA API keeps for itself (`__IOMMU_DOMAIN_DMA_API` of include/linux/iommu.h).
const OF_DMA_API: u32 = 1 << 1;
/// Entries of a scatter-gather list that are told; more are counted as lost.
const ENTRIES: u32 = 1_024;

/// `int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t size, int prot)`
#[fexit(function = "iommu_map")]
pub fn iommu_map_exit(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(5) == 0 {
        mapped(&ctx, Program::IommuMapExit);
    }
    0
}

/// The same with `gfp_t gfp` behind.
#[fexit(function = "iommu_map")]
pub fn iommu_map_gfp_exit(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(6) == 0 {
        mapped(&ctx, Program::IommuMapGfpExit);
    }
    0
}

#[inline(always)]
fn mapped(ctx: &FExitContext, program: Program) {
    let domain = Typed(ctx.arg(0));
    if domain.read::<u32>(Field::DomainType) & OF_DMA_API != 0 {
        return;
    }
    emit::hit(program);
    let (space, physical) = (domain.address(), ctx.arg::<u64>(2));
    if !is_pinned(physical) {
        return;
    }
    // Without it the end would not be told.
    if DOMAINS.insert(space, 0, 0).is_err() {
        return emit::lose(program);
    }
    let Some(mut record) = Record::<DmaMap>::new(program, kind::DMA_MAP) else {
        return;
    };
    let (iova, bytes) = (ctx.arg(1), ctx.arg(3));
    record.body(DmaMap { space, iova, physical, bytes, ..DmaMap::default() });
    record.submit();
}

/// `size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size)`
#[fexit(function = "iommu_unmap")]
pub fn iommu_unmap_exit(ctx: FExitContext) -> i32 {
    unmapped(&ctx, Program::IommuUnmapExit, ctx.arg(3));
    0
}

/// `size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
/// struct iommu_iotlb_gather *iotlb_gather)`
#[fexit(function = "iommu_unmap_fast")]
pub fn iommu_unmap_fast_exit(ctx: FExitContext) -> i32 {
    unmapped(&ctx, Program::IommuUnmapFastExit, ctx.arg(4));
    0
}

/// Whoever unmaps through the IOMMU API keeps the addresses to himself until this returns.
#[inline(always)]
fn unmapped(ctx: &FExitContext, program: Program, bytes: u64) {
    let domain = Typed(ctx.arg(0));
    if domain.read::<u32>(Field::DomainType) & OF_DMA_API != 0 || !is_told_of(domain.address()) {
        return;
    }
    emit::hit(program);
    ended(
        program,
        DmaUnmap {
            space: domain.address(),
            iova: ctx.arg(1),
            bytes,
            by: dma_by::IOMMU,
            reserved: 0,
        },
    );
}

/// `void iommu_domain_free(struct iommu_domain *domain)`
#[fentry(function = "iommu_domain_free")]
pub fn iommu_domain_gone(ctx: FEntryContext) -> i32 {
    let space = Typed(ctx.arg(0)).address();
    if is_told_of(space) {
        emit::hit(Program::IommuDomainFree);
        let _ = DOMAINS.remove(space);
        let all = DmaUnmap { space, iova: 0, bytes: u64::MAX, by: dma_by::IOMMU, reserved: 0 };
        ended(Program::IommuDomainFree, all);
    }
    0
}

#[inline(always)]
fn is_told_of(domain: u64) -> bool {
    // SAFETY: only the entry's existence is looked at.
    unsafe { DOMAINS.get(domain) }.is_some()
}

/// `int __iommu_attach_device(struct iommu_domain *domain, struct device *dev)`
#[fexit(function = "__iommu_attach_device")]
pub fn iommu_attach_exit(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(2) == 0 {
        attached(&ctx, Program::IommuAttachExit);
    }
    0
}

/// The same with `struct iommu_domain *old` behind.
#[fexit(function = "__iommu_attach_device")]
pub fn iommu_replace_exit(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) == 0 {
        attached(&ctx, Program::IommuReplaceExit);
    }
    0
}

#[inline(always)]
fn attached(ctx: &FExitContext, program: Program) {
    emit::hit(program);
    let device = Typed(ctx.arg(1));
    if let Some(mut record) = Record::new(program, kind::DMA_DEVICE) {
        record.body(DmaDevice {
            device: device.address(),
            space: Typed(ctx.arg(0)).address(),
            name: kernel::device_name(device),
        });
        record.submit();
    }
}

/// `dma_addr_t dma_map_page_attrs(struct device *dev, struct page *page, size_t offset, size_t size,
/// enum dma_data_direction dir, unsigned long attrs)`
#[fexit(function = "dma_map_page_attrs")]
pub fn dma_map_page_exit(ctx: FExitContext) -> i32 {
    if kernel::is_maybe_pinned(Typed(ctx.arg(1)), || argument(&ctx, 1)) {
        let page = kernel::pfn_of(argument(&ctx, 1)) << setting(Setting::PageShift);
        let (physical, bytes) = (page + ctx.arg::<u64>(2), ctx.arg(3));
        reached(Program::DmaMapPageExit, argument(&ctx, 0), ctx.arg(6), physical, bytes);
    }
    0
}

/// `dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys, size_t size, enum dma_data_direction dir,
/// unsigned long attrs)`
#[fexit(function = "dma_map_phys")]
pub fn dma_map_phys_exit(ctx: FExitContext) -> i32 {
    let physical = ctx.arg(1);
    if is_pinned(physical) {
        let bytes = ctx.arg(2);
        reached(Program::DmaMapPhysExit, argument(&ctx, 0), ctx.arg(5), physical, bytes);
    }
    0
}

/// `void dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir,
/// unsigned long attrs)`; from 6.18 on `dma_unmap_phys`, with the same arguments
#[fentry(function = "dma_unmap_page_attrs")]
pub fn dma_unmap(ctx: FEntryContext) -> i32 {
    let iova = ctx.arg(1);
    if may_be_reached(iova) {
        left(Program::DmaUnmap, argument(&ctx, 0), iova, ctx.arg(2));
    }
    0
}

/// `int __dma_map_sg_attrs(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir,
/// unsigned long attrs)`; before 5.15 `dma_map_sg_attrs` itself
#[fexit(function = "__dma_map_sg_attrs")]
pub fn dma_map_sg_exit(ctx: FExitContext) -> i32 {
    let (device, first) = (argument(&ctx, 0), argument(&ctx, 1));
    let page = page_in(first);
    // What is in one list is of one buffer: its first page tells.
    if ctx.arg::<i32>(5) > 0
        && kernel::is_maybe_pinned(Untyped(page), || page)
        && !each(Way::To, device, first, ctx.arg(2))
    {
        emit::lose(Program::DmaMapSgExit);
    }
    0
}

/// `void dma_unmap_sg_attrs(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir,
/// unsigned long attrs)`
#[fentry(function = "dma_unmap_sg_attrs")]
pub fn dma_unmap_sg(ctx: FEntryContext) -> i32 {
    let iova = Typed(ctx.arg(1)).number(Field::SgAddress);
    if !may_be_reached(iova) {
        return 0;
    }
    let (device, first) = (argument(&ctx, 0), argument(&ctx, 1));
    if is_reached(device, iova) && !each(Way::From, device, first, ctx.arg(2)) {
        emit::lose(Program::DmaUnmapSg);
    }
    0
}

/// Looks at each entry of a list; false if there are more than are looked at.
#[inline(always)]
fn each(way: Way, device: u64, first: u64, count: u32) -> bool {
    let Some(walk) = WALKS.get_ptr_mut(way as u32) else {
        return false;
    };
    // SAFETY: this CPU's own slot.
    unsafe { walk.write(Walk { entry: first, there: first, used: 0 }) };
    let mut n = 0;
    while n < ENTRIES {
        if n >= count {
            return true;
        }
        step(way as u64, device);
        n += 1;
    }
    n >= count
}

/// Looks at an entry, and goes on to the next. A function by itself: in the loop the verifier of 5.10 would look at it a
/// thousand times.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn step(way: u64, device: u64) -> u64 {
    let Some(walk) = WALKS.get_ptr_mut(way as u32) else {
        return 0;
    };
    // SAFETY: this CPU's own slot.
    let Walk { entry, there, used } = unsafe { walk.read() };
    let bytes = u64::from(Untyped(entry).read::<u32>(Field::SgLength));
    let iova = Untyped(there).read::<u64>(Field::SgAddress) + used;
    if way == Way::To as u64 {
        let page = kernel::pfn_of(page_in(entry)) << setting(Setting::PageShift);
        let physical = page + u64::from(Untyped(entry).read::<u32>(Field::SgOffset));
        if is_pinned(physical) {
            reached(Program::DmaMapSgExit, device, iova, physical, bytes);
        }
    } else {
        left(Program::DmaUnmapSg, device, iova, bytes);
    }
    let mut next = Walk { entry: behind(entry), there, used: used + bytes };
    if next.used >= u64::from(Untyped(there).read::<u32>(Field::SgDeviceLength)) {
        next = Walk { there: behind(there), used: 0, ..next };
    }
    // SAFETY: as above.
    unsafe { walk.write(next) };
    0
}

/// The entry behind one.
#[inline(always)]
fn behind(entry: u64) -> u64 {
    let behind = entry + setting(Setting::SgBytes);
    let link = Untyped(behind).number(Field::SgPage);
    if link & 1 != 0 { link & !3 } else { behind }
}

/// The page of an entry: the low bits say whether it is the last one, or leads to another list.
#[inline(always)]
fn page_in(entry: u64) -> u64 {
    Untyped(entry).number(Field::SgPage) & !3
}

/// Tells what the DMA API has mapped.
#[inline(always)]
fn reached(program: Program, space: u64, iova: u64, physical: u64, bytes: u64) {
    if iova == NO_ADDRESS {
        return;
    }
    emit::hit(program);
    if let Some(cell) = AT.get_ptr_mut(cell(iova)) {
        // SAFETY: a byte of the map; all writers write the same.
        unsafe { *cell = 1 };
    }
    if let Some(count) = REACHED.get_ptr_mut([space, iova]) {
        add(count, 1);
    } else if REACHED.insert([space, iova], 1, NO_EXIST).is_err() {
        return emit::lose(program);
    }
    let Some(mut record) = Record::new(program, kind::DMA_MAP) else {
        return;
    };
    let (by, device) = (dma_by::DMA, kernel::device_name(Untyped(space)));
    record.body(DmaMap { space, iova, physical, bytes, by, doubtful: 0, device });
    record.submit();
}

/// Tells what the DMA API is about to unmap, if its mapping was told.
#[inline(always)]
fn left(program: Program, space: u64, iova: u64, bytes: u64) {
    let Some(count) = REACHED.get_ptr_mut([space, iova]) else {
        return;
    };
    emit::hit(program);
    add(count, u64::MAX);
    // SAFETY: a number of the map. Whoever maps the same page for the same device just now, without an IOMMU, may miss
    // the entry that goes here: it then seems to be mapped for longer than it is.
    if unsafe { count.read() } == 0 {
        let _ = REACHED.remove([space, iova]);
    }
    ended(program, DmaUnmap { space, iova, bytes, by: dma_by::DMA, reserved: 0 });
}

#[inline(always)]
fn cell(iova: u64) -> u32 {
    emit::spread::<16>(iova >> 12) & (CELLS - 1)
}

/// Whether a mapping at an address may have been told.
#[inline(always)]
fn may_be_reached(iova: u64) -> bool {
    AT.get(cell(iova)).is_some_and(|cell| *cell != 0)
}

#[inline(always)]
fn is_reached(space: u64, iova: u64) -> bool {
    REACHED.get_ptr([space, iova]).is_some()
}

/// Adds to a number of a map that other CPUs add to.
#[inline(always)]
fn add(number: *mut u64, n: u64) {
    // SAFETY: one atomic addition to a number of the map. This target has no core atomics.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) number, in(reg) n) };
}

#[inline(always)]
fn ended(program: Program, unmap: DmaUnmap) {
    if let Some(mut record) = Record::new(program, kind::DMA_UNMAP) {
        record.body(unmap);
        record.submit();
    }
}

/// Whether the kernel's own test calls the page at a physical address maybe-pinned.
#[inline(always)]
fn is_pinned(physical: u64) -> bool {
    let page = kernel::page_of(physical >> setting(Setting::PageShift));
    kernel::is_maybe_pinned(Untyped(page), || page)
}
