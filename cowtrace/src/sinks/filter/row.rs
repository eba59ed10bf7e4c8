//! What each sort of row has of the fields.

use std::borrow::Cow;

use super::{Field, Value};
use crate::{
    event::{Event, Extent, Stack, Task, What},
    finding::Finding,
    ledger::PinRecord,
    owner::Owner,
    sinks::{owners, stack},
    trace::Trace,
};

/// Something that a filter can be asked about.
pub trait Row {
    /// What it can have.
    const FIELDS: &'static [Field];

    /// What it has of a field; of some several, of others none.
    fn values<'t>(&'t self, trace: &'t Trace, field: Field) -> Vec<Value<'t>>;

    /// [`Row::FIELDS`], where there is a row.
    fn fields(&self) -> &'static [Field] {
        Self::FIELDS
    }
}

impl Row for Finding {
    const FIELDS: &'static [Field] = &[
        Field::Verdict,
        Field::Comm,
        Field::Pid,
        Field::Tid,
        Field::Cgroup,
        Field::Address,
        Field::Pfn,
        Field::Pages,
        Field::Cause,
        Field::Site,
        Field::Owner,
        Field::Vma,
        Field::Flags,
        Field::Stack,
        Field::Id,
    ];

    fn values<'t>(&'t self, trace: &'t Trace, field: Field) -> Vec<Value<'t>> {
        let pin = self.pin.as_ref();
        let tasks = || pin.map(|pin| &pin.holder).into_iter().chain([&self.writer]);
        match field {
            Field::Verdict => vec![Value::Verdict(self.verdict)],
            Field::Address => vec![Value::Range(self.address, self.end())],
            Field::Pfn => vec![Value::Address(self.old_pfn), Value::Address(self.new_pfn)],
            Field::Pages => vec![Value::Number(self.pages)],
            Field::Cause => {
                text(Some(self.cause.as_ref().map_or("not seen", |cause| cause.kind.name())))
            }
            Field::Site => text(stack::site_of(trace, self)),
            Field::Owner => owner(trace, self.owner.as_deref(), pin.map(|pin| &pin.stack)),
            Field::Vma => text(self.vma_name.as_deref()),
            Field::Flags => text(pin.map(|pin| trace.facts.flag_names(pin.gup_flags))),
            Field::Stack => {
                let pinned = pin.map(|pin| (pin.holder.tgid, &pin.stack));
                let cause = self.cause.as_ref().map(|cause| (cause.task.tgid, &cause.stack));
                let written = Some((self.writer.tgid, &self.writer_stack));
                let stacks = [pinned, cause, written].into_iter().flatten();
                stacks.flat_map(|(tgid, stack)| frames(trace, tgid, stack)).collect()
            }
            Field::Id => vec![Value::Number(self.id as u64)],
            field => tasks().flat_map(|task| of_task(trace, task, field)).collect(),
        }
    }
}

impl Row for PinRecord {
    const FIELDS: &'static [Field] = &[
        Field::Comm,
        Field::Pid,
        Field::Tid,
        Field::Cgroup,
        Field::Address,
        Field::Pages,
        Field::Site,
        Field::Owner,
        Field::Vma,
        Field::Flags,
        Field::Stack,
    ];

    fn values<'t>(&'t self, trace: &'t Trace, field: Field) -> Vec<Value<'t>> {
        match field {
            Field::Address => {
                let bytes = self.pages.saturating_mul(4096);
                vec![Value::Range(self.address, self.address.saturating_add(bytes))]
            }
            Field::Pages => vec![Value::Number(self.pages)],
            Field::Site => text(stack::site(trace, &self.stack)),
            Field::Owner => {
                owner(trace, trace.owner(self).map(|owner| &**owner), Some(&self.stack))
            }
            Field::Vma => text(trace.vma_name(self).map(|name| &**name)),
            Field::Flags => text(Some(trace.facts.flag_names(self.gup_flags))),
            Field::Stack => frames(trace, self.holder.tgid, &self.stack),
            field => of_task(trace, &self.holder, field),
        }
    }
}

impl Row for Event {
    const FIELDS: &'static [Field] = &[
        Field::Kind,
        Field::Comm,
        Field::Pid,
        Field::Tid,
        Field::Cgroup,
        Field::Address,
        Field::Pfn,
        Field::Pages,
        Field::Flags,
        Field::Stack,
    ];

    fn values<'t>(&'t self, trace: &'t Trace, field: Field) -> Vec<Value<'t>> {
        match field {
            Field::Kind => text(self.what.name()),
            Field::Address => {
                addresses(&self.what).map(|(a, b)| Value::Range(a, b)).into_iter().collect()
            }
            Field::Pfn => frames_of(&self.what),
            Field::Pages => pages(&self.what).map(Value::Number).into_iter().collect(),
            Field::Flags => match &self.what {
                What::Pin(pin) => text(Some(trace.facts.flag_names(pin.gup_flags))),
                _ => Vec::new(),
            },
            Field::Stack => frames(trace, self.task.tgid, &self.stack),
            field => of_task(trace, &self.task, field),
        }
    }
}

fn owner<'t>(trace: &Trace, owner: Option<&Owner>, stack: Option<&Stack>) -> Vec<Value<'t>> {
    let names = owners::found_by(trace, owner, stack).into_iter();
    names.map(|name| Value::Text(name.into())).collect()
}

fn text<'t>(text: Option<impl Into<Cow<'t, str>>>) -> Vec<Value<'t>> {
    text.map(|text| Value::Text(text.into())).into_iter().collect()
}

fn of_task<'t>(trace: &'t Trace, task: &Task, field: Field) -> Vec<Value<'t>> {
    match field {
        Field::Comm => text(Some(task.comm.to_string())),
        Field::Pid => vec![Value::Number(task.tgid.into())],
        Field::Tid => vec![Value::Number(task.tid.into())],
        Field::Cgroup => {
            let path = text(trace.cgroup(task.cgroup));
            path.into_iter().chain(text(Some(task.cgroup.to_string()))).collect()
        }
        _ => Vec::new(),
    }
}

fn frames<'t>(trace: &Trace, tgid: u32, stack: &Stack) -> Vec<Value<'t>> {
    stack::lines(trace, tgid, stack).into_iter().map(|frame| Value::Text(frame.into())).collect()
}

/// First address, and first behind.
fn addresses(what: &What) -> Option<(u64, u64)> {
    let pages = |start: u64, pages: u64| (start, start.saturating_add(pages.saturating_mul(4096)));
    Some(match what {
        What::Fault(fault) => (fault.address, fault.address.saturating_add(1)),
        What::Pin(pin) | What::PinRest(pin) => pages(pin.address, pin.pages),
        What::Invalidate(range) => (range.start, range.end),
        What::Protect(range) => (range.start, range.end),
        What::Zap(zap) => (zap.start, zap.end),
        What::Move { from, len, .. } => (*from, from.saturating_add(*len)),
        What::Refault { address, .. } => pages(*address, 1),
        What::Holder(holder) => pages(holder.address, 1),
        What::Io { start, end, .. } => (*start, *end),
        What::DeviceMap(map) => (map.iova, map.end()),
        What::DeviceUnmap(unmap) => (unmap.iova, unmap.iova.saturating_add(unmap.bytes)),
        What::ForkCopy(copy) => (copy.start, copy.end),
        What::FileRange(range) => (range.start, range.end),
        _ => return None,
    })
}

fn pages(what: &What) -> Option<u64> {
    match what {
        What::Pin(pin) | What::PinRest(pin) => Some(pin.pages),
        What::Unpin(unpin) => Some(unpin.pages),
        what => addresses(what).map(|(start, end)| end.saturating_sub(start).div_ceil(4096)),
    }
}

fn frames_of<'t>(what: &What) -> Vec<Value<'t>> {
    let all = |extents: &[Extent]| {
        extents
            .iter()
            .map(|extent| Value::Range(extent.pfn, extent.pfn.saturating_add(extent.pages)))
            .collect()
    };
    match what {
        What::Fault(fault) => vec![Value::Address(fault.old_pfn), Value::Address(fault.new_pfn)],
        What::Pin(pin) | What::PinRest(pin) => all(&pin.extents),
        What::Unpin(unpin) => all(&unpin.extents),
        What::Refault { pfn, .. } | What::Content { pfn, .. } => vec![Value::Address(*pfn)],
        What::Holder(holder) => vec![Value::Address(holder.pfn)],
        What::DeviceMap(map) => vec![Value::Range(map.pfns().0, map.pfns().1)],
        _ => Vec::new(),
    }
}
