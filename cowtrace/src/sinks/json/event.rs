//! Events as JSON lines, for those who ask for all of them.

use std::io::{self, Write};

use cowtrace_common::program::Program;
use serde::Serialize;

use super::line;
use crate::event::{Event, Extent, Protector, Time, What};

/// What the event is, then what all events have.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct EventLine<'a> {
    #[serde(flatten)]
    body: Body<'a>,
    at: Time,
    tgid: u32,
    tid: u32,
    comm: String,
    cpu: u32,
    program: Option<&'static str>,
}

/// The part that differs; its name is the line's `type`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Body<'a> {
    Fault {
        mm: u64,
        address: u64,
        outcome: String,
        old_pfn: u64,
        new_pfn: u64,
        references: i32,
        mappings: i32,
        pins: i32,
    },
    Pin {
        mm: u64,
        address: u64,
        pages: u64,
        flags: u32,
        extents: Vec<[u64; 2]>,
    },
    Unpin {
        pages: u64,
        dirty: bool,
        extents: Vec<[u64; 2]>,
    },
    Invalidate {
        mm: u64,
        start: u64,
        end: u64,
        event: &'a str,
        began: Time,
    },
    Protect {
        mm: u64,
        start: u64,
        end: u64,
        by: Option<&'a str>,
    },
    Zap {
        mm: u64,
        start: u64,
        end: u64,
        spares_cows: bool,
    },
    Move {
        mm: u64,
        from: u64,
        to: u64,
        len: u64,
    },
    Refault {
        mm: u64,
        address: u64,
        pfn: u64,
    },
    Content {
        pfn: u64,
        hash: String,
        at_unpin: bool,
    },
    Holder {
        mm: u64,
        address: u64,
        pfn: u64,
        flags: u32,
        by: &'static str,
    },
    Io {
        mm: u64,
        start: u64,
        end: u64,
        to_memory: bool,
    },
    DeviceMap {
        api: &'static str,
        device: Option<&'a str>,
        space: u64,
        iova: u64,
        physical: u64,
        bytes: u64,
    },
    DeviceUnmap {
        api: &'static str,
        space: u64,
        iova: u64,
        bytes: u64,
    },
    Attached {
        device: &'a str,
        space: u64,
    },
    FileRange {
        file: u64,
        offset: u64,
        mm: u64,
        start: u64,
        end: u64,
    },
    ForkCopy {
        mm: u64,
        child_mm: u64,
        start: u64,
        end: u64,
        began: Time,
    },
    Notifier {
        mm: u64,
        ops: u64,
        start: u64,
        end: u64,
    },
    Notifiers {
        mm: u64,
        ops: Vec<u64>,
        more: bool,
        intervals: bool,
    },
    NotifierGone {
        mm: u64,
        ops: u64,
        start: u64,
        end: u64,
    },
    Fork {
        mm: u64,
        child_mm: u64,
        child_tgid: u32,
    },
    MmExit {
        mm: u64,
    },
}

/// A line, unless the event is a record of the source's own.
pub fn event(out: &mut dyn Write, event: &Event) -> io::Result<()> {
    let Some(body) = body(&event.what) else { return Ok(()) };
    line(
        out,
        &EventLine {
            body,
            at: event.time,
            tgid: event.task.tgid,
            tid: event.task.tid,
            comm: event.task.comm.to_string(),
            cpu: event.cpu,
            program: event.program.map(Program::name),
        },
    )
}

fn body(what: &What) -> Option<Body<'_>> {
    Some(match what {
        What::Fault(fault) => Body::Fault {
            mm: fault.mm,
            address: fault.address,
            outcome: format!("{:?}", fault.outcome).to_lowercase(),
            old_pfn: fault.old_pfn,
            new_pfn: fault.new_pfn,
            references: fault.references,
            mappings: fault.mappings,
            pins: fault.pins,
        },
        What::Pin(pin) | What::PinRest(pin) => Body::Pin {
            mm: pin.mm,
            address: pin.address,
            pages: pin.pages,
            flags: pin.gup_flags,
            extents: extents(&pin.extents),
        },
        What::Unpin(unpin) => Body::Unpin {
            pages: unpin.pages,
            dirty: unpin.make_dirty,
            extents: extents(&unpin.extents),
        },
        What::Invalidate(range) => Body::Invalidate {
            mm: range.mm,
            start: range.start,
            end: range.end,
            event: range.event_name(),
            began: range.began,
        },
        What::Protect(range) => Body::Protect {
            mm: range.mm,
            start: range.start,
            end: range.end,
            by: range.by.map(Protector::name),
        },
        What::Zap(zap) => {
            let (mm, start, end) = (zap.mm, zap.start, zap.end);
            Body::Zap { mm, start, end, spares_cows: zap.spares_cows }
        }
        What::Move { mm, from, to, len } => Body::Move { mm: *mm, from: *from, to: *to, len: *len },
        What::Refault { mm, address, pfn } => {
            Body::Refault { mm: *mm, address: *address, pfn: *pfn }
        }
        What::Content { pfn, hash, at_unpin } => {
            // 64 bits do not survive a reader that takes numbers for floats.
            Body::Content { pfn: *pfn, hash: format!("{hash:016x}"), at_unpin: *at_unpin }
        }
        What::Holder(holder) => Body::Holder {
            mm: holder.mm,
            address: holder.address,
            pfn: holder.pfn,
            flags: holder.gup_flags,
            by: if holder.is_pin { "short-term-pin" } else { "reference" },
        },
        What::Io { mm, start, end, to_memory } => {
            Body::Io { mm: *mm, start: *start, end: *end, to_memory: *to_memory }
        }
        What::FileRange(range) => Body::FileRange {
            file: range.file,
            offset: range.offset,
            mm: range.mm,
            start: range.start,
            end: range.end,
        },
        What::ForkCopy(copy) => Body::ForkCopy {
            mm: copy.parent_mm,
            child_mm: copy.child_mm,
            start: copy.start,
            end: copy.end,
            began: copy.began,
        },
        What::Fork { parent_mm, child_mm, child_tgid } => {
            Body::Fork { mm: *parent_mm, child_mm: *child_mm, child_tgid: *child_tgid }
        }
        What::MmExit { mm } => Body::MmExit { mm: *mm },
        _ => return of_mmus(what),
    })
}

/// The same of what devices reach, and of secondary MMUs.
fn of_mmus(what: &What) -> Option<Body<'_>> {
    Some(match what {
        What::DeviceMap(map) => Body::DeviceMap {
            api: map.api.name(),
            device: Some(&*map.device).filter(|name| !name.is_empty()),
            space: map.space,
            iova: map.iova,
            physical: map.physical,
            bytes: map.bytes,
        },
        What::DeviceUnmap(unmap) => Body::DeviceUnmap {
            api: unmap.api.name(),
            space: unmap.space,
            iova: unmap.iova,
            bytes: unmap.bytes,
        },
        What::Attached(attached) => {
            Body::Attached { device: &attached.name, space: attached.space }
        }
        What::Notifier(notifier) => {
            let (start, end) = notifier.range;
            Body::Notifier { mm: notifier.mm, ops: notifier.ops, start, end }
        }
        What::NotifierGone(notifier) => {
            let (start, end) = notifier.range;
            Body::NotifierGone { mm: notifier.mm, ops: notifier.ops, start, end }
        }
        What::Secondary(list) => Body::Notifiers {
            mm: list.mm,
            ops: list.ops.to_vec(),
            more: list.more,
            intervals: list.intervals,
        },
        _ => return None,
    })
}

/// PFN and pages of each.
fn extents(extents: &[Extent]) -> Vec<[u64; 2]> {
    extents.iter().map(|extent| [extent.pfn, extent.pages]).collect()
}
