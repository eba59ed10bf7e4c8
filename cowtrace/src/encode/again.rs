//! Bodies of events that a keyframe tells once more: the inverse of what `decode` makes of them.

use cowtrace_common::wire::{
    DEVICE_NAME, PROTECT_BY_BITS, SECONDARIES, dma_by, kind, protect_by, secondary_bit, zap_first,
};

use crate::event::{Api, DeviceMap, Fault, Held, Protect, Protector, Secondary, What, Zap};

/// Kind and body; `None` for what no keyframe tells.
pub fn body(what: &What) -> Option<(u16, Vec<u8>)> {
    let longs = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Some(match what {
        What::Fault(fault) => (kind::FAULT, self::fault(fault)),
        What::Protect(protect) => (kind::PROTECT, self::protect(protect)?),
        What::Zap(zap) => (kind::ZAP, self::zap(zap)),
        What::Refault { mm, address, pfn } => (kind::REFAULT, longs(&[*mm, *address, *pfn, 0])),
        What::Content { pfn, hash, at_unpin } => {
            (kind::CONTENT, longs(&[*pfn, *hash, u64::from(*at_unpin)]))
        }
        What::Invalidate(range) => {
            let words = u64::from(range.event) | u64::from(range.flags) << 32;
            (kind::INVALIDATE, longs(&[range.mm, range.start, range.end, range.began, words]))
        }
        What::Notifier(notifier) => {
            let (start, end) = notifier.range;
            (kind::NOTIFIER, longs(&[notifier.mm, notifier.ops, start, end]))
        }
        What::Secondary(all) => (kind::SECONDARY, secondary(all)),
        What::Fork { parent_mm, child_mm, child_tgid } => {
            (kind::FORK, longs(&[*parent_mm, *child_mm, (*child_tgid).into()]))
        }
        What::ForkCopy(copy) => {
            let numbers =
                [copy.parent_mm, copy.child_mm, copy.start, copy.end, copy.vma_flags, copy.began];
            (kind::FORK_COPY, longs(&numbers))
        }
        What::MmExit { mm } => (kind::MM_EXIT, longs(&[*mm])),
        What::Holder(holder) => {
            let words = u64::from(holder.gup_flags) | u64::from(!holder.is_pin) << 32;
            (kind::HOLDER, longs(&[holder.mm, holder.address, holder.pfn, words]))
        }
        What::DeviceMap(map) => (kind::DMA_MAP, device_map(map)),
        What::DeviceUnmap(unmap) => {
            let numbers = [unmap.space, unmap.iova, unmap.bytes, by(unmap.api).into()];
            (kind::DMA_UNMAP, longs(&numbers))
        }
        What::Attached(attached) => {
            let mut body: Vec<u8> = longs(&[attached.device, attached.space]);
            body.extend_from_slice(&name(&attached.name));
            (kind::DMA_DEVICE, body)
        }
        What::FileRange(range) => {
            let numbers = [range.file, range.offset, range.mm, range.start, range.end];
            (kind::FILE_RANGE, longs(&numbers))
        }
        _ => return None,
    })
}

fn secondary(all: &Secondary) -> Vec<u8> {
    let mut numbers = vec![all.mm, 0, 0];
    numbers.extend(all.ops.iter().take(SECONDARIES));
    numbers.resize(3 + SECONDARIES, 0);
    let more = u64::from(secondary_bit::MORE) * u64::from(all.more);
    let intervals = u64::from(secondary_bit::INTERVALS) * u64::from(all.intervals);
    numbers.push(all.ops.len().min(SECONDARIES) as u64 | (more | intervals) << 32);
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn fault(fault: &Fault) -> Vec<u8> {
    let longs = [
        fault.mm,
        fault.address,
        fault.vma.0,
        fault.vma.1,
        fault.vma_flags,
        fault.old_pfn,
        fault.new_pfn,
    ];
    let words = [
        fault.references.cast_unsigned(),
        fault.mappings.cast_unsigned(),
        fault.pins.cast_unsigned(),
        fault.fault_flags,
        fault.page_bits,
        fault.outcome as u32,
    ];
    let longs = longs.iter().flat_map(|number| number.to_le_bytes());
    longs.chain(words.iter().flat_map(|number| number.to_le_bytes())).collect()
}

/// `None` where the right to write is given back: no keyframe tells that.
fn protect(protect: &Protect) -> Option<Vec<u8>> {
    const VM_WRITE: u64 = 1 << 1;
    const PROT_NUMA: u32 = 1 << 1;
    const UFFD_WP: u32 = 1 << 2;
    let (vma_flags, change_flags, by) = match protect.by? {
        Protector::Mprotect => (protect.vma_flags & !VM_WRITE, 0, protect_by::CHANGE_PROTECTION),
        Protector::UserfaultfdWp => (protect.vma_flags, UFFD_WP, protect_by::CHANGE_PROTECTION),
        Protector::NumaBalancing => (protect.vma_flags, PROT_NUMA, protect_by::CHANGE_PROTECTION),
        Protector::SoftDirty => (protect.vma_flags, 0, protect_by::CLEAR_REFS),
        Protector::PagemapScan => (protect.vma_flags, 0, protect_by::PAGEMAP_SCAN),
        Protector::Reclaim => (protect.vma_flags, 0, protect_by::RECLAIM),
        Protector::Split => (protect.vma_flags, 0, protect_by::SPLIT),
    };
    let longs = [protect.mm, protect.start, protect.end, vma_flags];
    let words = [change_flags, by | protect.mapped_shift << PROTECT_BY_BITS];
    let longs = longs.iter().flat_map(|number| number.to_le_bytes());
    Some(longs.chain(words.iter().flat_map(|number| number.to_le_bytes())).collect())
}

fn zap(zap: &Zap) -> Vec<u8> {
    let (first, pfn) = match zap.first {
        None => (zap_first::UNKNOWN, 0),
        Some((pfn, false)) => (zap_first::NOT_PINNED, pfn),
        Some((pfn, true)) => (zap_first::MAYBE_PINNED, pfn),
    };
    let longs = [zap.mm, zap.start, zap.end, zap.vma.0, zap.vma.1, zap.vma_flags];
    let words = [u32::from(zap.spares_cows), first];
    let longs = longs.iter().flat_map(|number| number.to_le_bytes());
    let words = words.iter().flat_map(|number| number.to_le_bytes());
    longs.chain(words).chain(pfn.to_le_bytes()).collect()
}

fn device_map(map: &DeviceMap) -> Vec<u8> {
    let longs = [map.space, map.iova, map.physical, map.bytes];
    let words = [by(map.api), map.doubtful.into()];
    let longs = longs.iter().flat_map(|number| number.to_le_bytes());
    let words = words.iter().flat_map(|number: &u32| number.to_le_bytes());
    longs.chain(words).chain(name(&map.device)).collect()
}

fn by(api: Api) -> u32 {
    match api {
        Api::Iommu => dma_by::IOMMU,
        Api::Dma => dma_by::DMA,
    }
}

/// As long as the programs keep it.
fn name(text: &str) -> [u8; DEVICE_NAME] {
    let mut name = [0; DEVICE_NAME];
    name.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
    name
}

/// A pin that is held; `wire::kind::HELD` has the order.
pub fn held(held: &Held) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [held.id, held.call, held.mm, held.address, held.pages, held.listed_from] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    let counts = [held.extents.len(), held.dropped.len(), held.places.len()];
    let [extents, dropped, places] = counts.map(|count| count as u32);
    for number in [held.gup_flags, held.gone.into(), extents, dropped, places, 0] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    let extents =
        held.extents.iter().flat_map(|(extent, held)| [extent.pfn, extent.pages, (*held).into()]);
    let dropped = held.dropped.iter().flat_map(|(pfn, references)| [*pfn, *references]);
    let places = held.places.iter().flat_map(|at| [at.mm, at.start, at.pages, at.index]);
    body.extend(extents.chain(dropped).chain(places).flat_map(u64::to_le_bytes));
    body
}
