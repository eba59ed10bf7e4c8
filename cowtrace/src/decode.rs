//! Bytes to events. Any bytes decode to an event or to a counted [`Malformed`]: no panic, no cast.

use std::fmt;

mod budget;
mod devices;
mod keyframe;
mod names;
mod pages;

use cowtrace_common::{
    program::Program,
    wire::{
        Header, Outcome, PROTECT_BY_BITS, SECONDARIES, content_at, holder_by, kind, protect_by,
        secondary_bit, zap_first,
    },
};

pub use self::pages::folio_of;
use crate::event::{
    Audit, Comm, Cost, Event, Extent, Extents, Fault, FileRange, ForkCopy, Holder, Invalidate,
    Notifier, Pfn, ProbeState, Protect, Protector, Secondary, ShortTerm, Stack, Tally, Task, Time,
    What, Zap, harmless,
};

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The record ends before a field does.
    Short {
        /// Bytes wanted.
        want: usize,
        /// Bytes there.
        got: usize,
    },
    /// The header tells a length that no record has.
    Length(u32),
    /// A number that stands for nothing.
    Number {
        /// The field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// Text that is no UTF-8.
    Text,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { want, got } => write!(f, "ends early: {want} bytes wanted, {got} there"),
            Self::Length(len) => write!(f, "impossible length {len}"),
            Self::Number { field, value } => write!(f, "{field} is {value}"),
            Self::Text => f.write_str("text is not UTF-8"),
        }
    }
}

/// Splits a batch into its records and decodes each.
///
/// A record that does not decode is passed over by its length. One whose length is impossible ends
/// the batch: nothing behind it can be trusted.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records in `batch`.
    pub fn new(batch: &'a [u8]) -> Self {
        Self { rest: batch }
    }

    /// Only those of a kind: the others are passed over by their length, which is all that is read of them.
    pub fn of_kind(self, kind: u16) -> impl Iterator<Item = Result<Event, Malformed>> + use<'a> {
        let mut rest = self.rest;
        let split_off = move || {
            let (record, behind) = split(rest).ok()?;
            rest = behind;
            Some(record)
        };
        std::iter::from_fn(split_off).filter(move |record| is_of_kind(record, kind)).map(event)
    }

    /// What has not been decoded yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Event, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (record, rest) = match split(self.rest) {
            Ok(parts) => parts,
            Err(malformed) => {
                self.rest = &[];
                return Some(Err(malformed));
            }
        };
        self.rest = rest;
        Some(event(record))
    }
}

/// The first record in `batch`, and what is behind it.
fn split(batch: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let len = u32_le(&mut &*batch)?;
    if (len as usize) < size_of::<Header>() {
        return Err(Malformed::Length(len));
    }
    batch
        .split_at_checked(len as usize)
        .ok_or(Malformed::Short { want: len as usize, got: batch.len() })
}

/// Whether a record is of a kind, which is all that is read of it.
pub fn is_of_kind(record: &[u8], kind: u16) -> bool {
    record.get(4..).and_then(|rest| rest.first_chunk()) == Some(&kind.to_le_bytes())
}

/// Decodes one whole record.
pub fn event(mut record: &[u8]) -> Result<Event, Malformed> {
    let body = &mut record;
    let Head { kind, program, time, task, cpu, frames: (kernel_frames, user_frames) } = head(body)?;
    let what = what(kind, body)?;
    let stack = if matches!(what, What::Unknown { .. }) {
        Stack::default()
    } else {
        stack(body, kernel_frames.into(), user_frames.into())?
    };
    let of_a_program = kind < kind::SOURCE || matches!(kind, kind::TALLY | kind::COST | kind::TOLD);
    let program = of_a_program.then(|| Program::from_number(program)).flatten();
    Ok(Event { time, task, cpu, program, stack, what })
}

/// What stands in front of every body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// Form of the body.
    pub kind: u16,
    /// Number of the program.
    pub program: u16,
    /// When.
    pub time: Time,
    /// The current task.
    pub task: Task,
    /// Where.
    pub cpu: u32,
    /// In the kernel and in the process; they stand behind the body.
    pub frames: (u16, u16),
}

/// Reads the header of a record, whose length is not looked at; leaves the rest.
#[inline]
pub fn head(record: &mut &[u8]) -> Result<Head, Malformed> {
    const WORDS: usize = size_of::<Header>() / 8;
    // Checked once, and loaded in words that are then taken apart: bytes copied one by one and loaded as a word stall.
    let header: &[u8; size_of::<Header>()] = take(record)?;
    let (chunks, _) = header.as_chunks();
    let words: [u64; WORDS] = std::array::from_fn(|n| u64::from_le_bytes(chunks[n]));
    let [form, time, cgroup, ids, place, name @ ..] = words;
    let task = Task { tgid: ids as u32, tid: (ids >> 32) as u32, comm: comm(name), cgroup };
    Ok(Head {
        kind: (form >> 32) as u16,
        program: (form >> 48) as u16,
        time,
        task,
        cpu: place as u32,
        frames: ((place >> 32) as u16, (place >> 48) as u16),
    })
}

/// A task's name up to its NUL: what stands behind may be left from an earlier name.
fn comm([first, rest]: [u64; 2]) -> Comm {
    const ONES: u128 = u128::MAX / 0xff;
    let name = u128::from(first) | u128::from(rest) << 64;
    // The highest bit of each byte that is 0. Above the first one there may be others, which nobody looks at.
    let nul = name.wrapping_sub(ONES) & !name & ONES << 7;
    let kept = if nul == 0 { u128::MAX } else { (1 << (nul.trailing_zeros() - 7)) - 1 };
    Comm((name & kept).to_le_bytes())
}

fn what(kind: u16, body: &mut &[u8]) -> Result<What, Malformed> {
    if kind < kind::SOURCE { of_the_kernel(kind, body) } else { of_the_source(kind, body) }
}

fn of_the_kernel(kind: u16, body: &mut &[u8]) -> Result<What, Malformed> {
    Ok(match kind {
        kind::FAULT => What::Fault(fault(body)?),
        kind::PIN => What::Pin(pages::pin(body)?),
        kind::UNPIN => What::Unpin(pages::unpin(body)?),
        kind::INVALIDATE => What::Invalidate(invalidate(body)?),
        kind::PROTECT => What::Protect(protect(body)?),
        kind::NOTIFIER => What::Notifier(notifier(body)?),
        kind::SECONDARY => secondary(body)?,
        kind::FORK => {
            let (parent_mm, child_mm) = (u64_le(body)?, u64_le(body)?);
            let (child_tgid, _reserved) = (u32_le(body)?, u32_le(body)?);
            What::Fork { parent_mm, child_mm, child_tgid }
        }
        kind::MM_EXIT => What::MmExit { mm: u64_le(body)? },
        kind::ZAP => What::Zap(zap(body)?),
        kind::MOVE => What::Move {
            mm: u64_le(body)?,
            from: u64_le(body)?,
            to: u64_le(body)?,
            len: u64_le(body)?,
        },
        kind::REFAULT => {
            let (mm, address, pfn) = (u64_le(body)?, u64_le(body)? & !0xfff, u64_le(body)?);
            let (_fault_flags, _writable) = (u32_le(body)?, u32_le(body)?);
            What::Refault { mm, address, pfn }
        }
        kind::CONTENT => {
            let (pfn, hash) = (u64_le(body)?, u64_le(body)?);
            let (at, _reserved) = (u32_le(body)?, u32_le(body)?);
            What::Content { pfn, hash, at_unpin: at == content_at::UNPIN }
        }
        kind::HOLDER => What::Holder(Holder {
            mm: u64_le(body)?,
            address: u64_le(body)? & !0xfff,
            pfn: u64_le(body)? & MOST_PFN,
            gup_flags: u32_le(body)?,
            is_pin: u32_le(body)? == holder_by::SHORT_TERM_PIN,
        }),
        kind::IO => {
            let (mm, start, len) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
            let (to_memory, _reserved) = (u32_le(body)? != 0, u32_le(body)?);
            What::Io { mm, start, end: start.saturating_add(len), to_memory }
        }
        kind::DMA_MAP => What::DeviceMap(devices::map(body)?),
        kind::DMA_UNMAP => What::DeviceUnmap(devices::unmap(body)?),
        kind::DMA_DEVICE => What::Attached(devices::attached(body)?),
        kind::FILE_RANGE => What::FileRange(FileRange {
            file: u64_le(body)?,
            offset: u64_le(body)?,
            mm: u64_le(body)?,
            start: u64_le(body)?,
            end: u64_le(body)?,
        }),
        kind::FORK_COPY => What::ForkCopy(ForkCopy {
            parent_mm: u64_le(body)?,
            child_mm: u64_le(body)?,
            start: u64_le(body)?,
            end: u64_le(body)?,
            vma_flags: u64_le(body)?,
            began: u64_le(body)?,
        }),
        kind => What::Unknown { kind },
    })
}

fn of_the_source(kind: u16, body: &mut &[u8]) -> Result<What, Malformed> {
    Ok(match kind {
        kind::PIN_REST => What::PinRest(pages::pin(body)?),
        kind::AUDIT => What::Audit(audit(body)?),
        kind::SHORT_TERM => What::ShortTerm(ShortTerm {
            pinned: u64_le(body)?,
            unpinned: u64_le(body)?,
            told: u64_le(body)?,
        }),
        kind::FACT => {
            let [key, value] = texts(body)?;
            What::Fact { key, value }
        }
        kind::PROBE => {
            let &[number] = take(body)?;
            let [sees, attached, unseen] = texts(body)?;
            What::Probe(ProbeState { row: number, sees, attached, unseen })
        }
        kind::SYMBOL => names::symbol(body)?,
        kind::KEYFRAME..=kind::KEYFRAME_END => What::Before(keyframe::before(kind, body)?),
        kind::CGROUP => names::cgroup(body)?,
        kind::VMA_NAME => names::vma(body)?,
        kind::OWNER => names::owner(body)?,
        kind::COST => What::Cost(Cost { runs: u64_le(body)?, nanos: u64_le(body)? }),
        kind::BUDGET => What::Budget(Box::new(budget::kept(body)?)),
        kind::TALLY => What::Tally(Tally {
            hits: u64_le(body)?,
            ring_full: u64_le(body)?,
            map_full: u64_le(body)?,
            recursion: u64_le(body)?,
        }),
        kind::OUTCOMES => {
            let mut counts = [0; Outcome::ALL.len()];
            counts.iter_mut().try_for_each(|count| u64_le(body).map(|told| *count = told))?;
            What::Outcomes(counts)
        }
        kind => What::Unknown { kind },
    })
}

/// No machine has a page beyond: sums with page counts cannot overflow.
const MOST_PFN: Pfn = (1 << 58) - 1;

fn fault(body: &mut &[u8]) -> Result<Fault, Malformed> {
    Ok(Fault {
        mm: u64_le(body)?,
        address: u64_le(body)? & !0xfff,
        vma: (u64_le(body)?, u64_le(body)?),
        vma_flags: u64_le(body)?,
        old_pfn: u64_le(body)?,
        new_pfn: u64_le(body)?,
        references: u32_le(body)?.cast_signed(),
        mappings: u32_le(body)?.cast_signed(),
        pins: u32_le(body)?.cast_signed(),
        fault_flags: u32_le(body)?,
        page_bits: u32_le(body)?,
        outcome: outcome(u32_le(body)?)?,
    })
}

fn outcome(number: u32) -> Result<Outcome, Malformed> {
    let known = Outcome::ALL.get(number as usize).copied();
    known.ok_or(Malformed::Number { field: "outcome", value: number.into() })
}

fn invalidate(body: &mut &[u8]) -> Result<Invalidate, Malformed> {
    Ok(Invalidate {
        mm: u64_le(body)?,
        start: u64_le(body)?,
        end: u64_le(body)?,
        began: u64_le(body)?,
        event: u32_le(body)?,
        flags: u32_le(body)?,
    })
}

fn protect(body: &mut &[u8]) -> Result<Protect, Malformed> {
    let (mm, start, end) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
    let vma_flags = u64_le(body)?;
    let (change_flags, by) = (u32_le(body)?, u32_le(body)?);
    let mapped_shift = by >> PROTECT_BY_BITS;
    let by = match by & ((1 << PROTECT_BY_BITS) - 1) {
        protect_by::CHANGE_PROTECTION => protector(vma_flags, change_flags),
        protect_by::CLEAR_REFS => Some(Protector::SoftDirty),
        protect_by::PAGEMAP_SCAN => Some(Protector::PagemapScan),
        protect_by::RECLAIM => Some(Protector::Reclaim),
        protect_by::SPLIT => Some(Protector::Split),
        by => {
            return Err(Malformed::Number { field: "protector", value: by.into() });
        }
    };
    Ok(Protect { mm, start, end, vma_flags, mapped_shift, by })
}

/// What a call of `change_protection` is, by its flags (MM_CP_*, the same bits since 5.7) and by what the
/// VMA then allows (VM_WRITE).
fn protector(vma_flags: u64, change_flags: u32) -> Option<Protector> {
    const PROT_NUMA: u32 = 1 << 1;
    const UFFD_WP: u32 = 1 << 2;
    const UFFD_WP_RESOLVE: u32 = 1 << 3;
    const VM_WRITE: u64 = 1 << 1;
    if change_flags & PROT_NUMA != 0 {
        Some(Protector::NumaBalancing)
    } else if change_flags & UFFD_WP != 0 {
        Some(Protector::UserfaultfdWp)
    } else if change_flags & UFFD_WP_RESOLVE != 0 || vma_flags & VM_WRITE != 0 {
        None
    } else {
        Some(Protector::Mprotect)
    }
}

fn zap(body: &mut &[u8]) -> Result<Zap, Malformed> {
    let (mm, start, end) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
    let vma = (u64_le(body)?, u64_le(body)?);
    let vma_flags = u64_le(body)?;
    let spares_cows = u32_le(body)? != 0;
    let (first, pfn) = (u32_le(body)?, u64_le(body)?);
    let first = match first {
        zap_first::NOT_PINNED => Some((pfn, false)),
        zap_first::MAYBE_PINNED => Some((pfn, true)),
        _ => None,
    };
    Ok(Zap { mm, start, end, vma, vma_flags, spares_cows, first })
}

fn audit(body: &mut &[u8]) -> Result<Audit, Malformed> {
    let (mm, start) = (u64_le(body)?, u64_le(body)? & !0xfff);
    let mut extents = Extents::new();
    while !body.is_empty() {
        let (pfn, pages) = (u64_le(body)? & MOST_PFN, u64_le(body)?.min(u32::MAX.into()));
        extents.push(Extent::new(pfn, pages));
    }
    Ok(Audit { mm, start, extents })
}

fn notifier(body: &mut &[u8]) -> Result<Notifier, Malformed> {
    Ok(Notifier { mm: u64_le(body)?, ops: u64_le(body)?, range: (u64_le(body)?, u64_le(body)?) })
}

fn secondary(body: &mut &[u8]) -> Result<What, Malformed> {
    let (mm, range) = (u64_le(body)?, (u64_le(body)?, u64_le(body)?));
    let all: Vec<u64> = longs(body, SECONDARIES)?.collect();
    let (listed, bits) = (u32_le(body)? as usize, u32_le(body)?);
    let Some(ops) = all.get(..listed) else {
        return Err(Malformed::Number { field: "listed notifiers", value: listed as u64 });
    };
    if bits & secondary_bit::GONE != 0 {
        let ops = ops.first().copied().unwrap_or(0);
        return Ok(What::NotifierGone(Notifier { mm, ops, range }));
    }
    let has = |bit| bits & bit != 0;
    let (more, intervals) = (has(secondary_bit::MORE), has(secondary_bit::INTERVALS));
    Ok(What::Secondary(Secondary { mm, ops: ops.into(), more, intervals }))
}

fn stack(body: &mut &[u8], kernel: usize, user: usize) -> Result<Stack, Malformed> {
    if kernel + user == 0 {
        return Ok(Stack::default());
    }
    Ok(Stack::of(longs(body, kernel + user)?.collect(), kernel))
}

/// So many 64-bit numbers. The count is from outside: what is there bounds the memory taken for it.
fn longs<'a>(
    body: &mut &'a [u8],
    count: usize,
) -> Result<impl ExactSizeIterator<Item = u64> + use<'a>, Malformed> {
    let want = count * size_of::<u64>();
    let Some((longs, rest)) = body.split_at_checked(want) else {
        return Err(Malformed::Short { want, got: body.len() });
    };
    *body = rest;
    let (longs, _) = longs.as_chunks();
    Ok(longs.iter().map(|bytes| u64::from_le_bytes(*bytes)))
}

/// The rest of the body as `N` texts with NULs between them. Control characters become `?`: a recording is a
/// file from anywhere, and its texts end on a terminal.
fn texts<const N: usize>(body: &mut &[u8]) -> Result<[String; N], Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::Text)?;
    *body = &[];
    let mut parts = text.splitn(N, '\0');
    let mut part = || parts.next().unwrap_or_default().chars().map(harmless).collect();
    Ok(std::array::from_fn(|_| part()))
}

fn u32_le(body: &mut &[u8]) -> Result<u32, Malformed> {
    take(body).map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_le(body: &mut &[u8]) -> Result<u64, Malformed> {
    take(body).map(|bytes| u64::from_le_bytes(*bytes))
}

fn take<'a, const N: usize>(body: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let Some((head, tail)) = body.split_first_chunk() else {
        return Err(Malformed::Short { want: N, got: body.len() });
    };
    *body = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encode::Writer,
        owner::{Found, Kind, Owner},
    };

    #[test]
    fn a_name_ends_at_its_nul_whatever_an_earlier_one_left_behind_it() {
        let name = |bytes: [u8; 16]| {
            let halves = bytes.as_chunks().0;
            comm([halves[0], halves[1]].map(u64::from_le_bytes))
        };
        assert_eq!(name(*b"sh\0temd-journal\0"), Comm(*b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert_eq!(name(*b"sixteen of bytes"), Comm(*b"sixteen of bytes"));
        assert_eq!(name([0; 16]), Comm([0; 16]));
        // Bytes that differ from a NUL by their highest or lowest bit alone.
        assert_eq!(
            name(*b"\x80\x01\x80\0\x01\x80 behind it"),
            Comm(*b"\x80\x01\x80\0\0\0\0\0\0\0\0\0\0\0\0\0")
        );
    }

    #[test]
    fn what_the_source_writes_of_programs_and_cgroups_comes_back() {
        let mut batch = Vec::new();
        let mut writer = Writer::new(&mut batch, 7);
        let (tally, cost) = (Tally { hits: 5, ..Tally::default() }, Cost { runs: 4, nanos: 900 });
        writer.tally(Program::Zap, &tally);
        writer.cost(Program::Zap, &cost);
        writer.cgroup(42, "/a\u{1b}[2J");
        let found = [Found::TooLate, Found::Sure, Found::OneOf(3), Found::Nowhere];
        let owners = found.map(|found| Owner::new(Kind::Rdma, found, "memory region 3"));
        for owner in &owners {
            writer.owner((5, 9), owner);
        }
        let events: Vec<_> = Records::new(&batch).flatten().collect();
        let of: Vec<_> = events.iter().map(|event| event.program).collect();
        assert_eq!(of[..3], [Some(Program::Zap), Some(Program::Zap), None]);
        assert!(events[3..].iter().all(|event| event.task.tid == 9), "whose pin it is");
        let what: Vec<_> = events.into_iter().map(|event| event.what).collect();
        let path = "/a?[2J".to_owned(); // Made harmless: it ends on a terminal.
        let owners = owners.map(|owner| What::Owner { pinned: 5, owner: owner.into() });
        let others = [What::Tally(tally), What::Cost(cost), What::Cgroup { id: 42, path }];
        assert_eq!(what, [&others[..], &owners[..]].concat());
    }
}
