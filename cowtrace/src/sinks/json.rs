//! One JSON object per line, `type` first; addresses, PFNs and times are integers. The fields are
//! documented in docs/json.md.

mod event;
mod summary;

use std::io::{self, Write};

use serde::Serialize;

pub use self::{event::event, summary::summary};
use super::{coherence, container, stack};
use crate::{
    container::Container,
    event::{Stack, Task, Time},
    finding::{Cause, Finding, Proof},
    ledger::PinRecord,
    owner::{Found, Owner},
    reach::{Reach, ReachState},
    trace::{Change, Trace},
};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct FindingLine<'a> {
    r#type: &'static str,
    id: usize,
    verdict: &'static str,
    certainty: &'static str,
    reason: &'a str,
    holder: Option<Holder>,
    writer: Writer,
    how: &'static str,
    address: u64,
    pages: u64,
    page_kind: Option<String>,
    old_pfn: u64,
    new_pfn: u64,
    references: Option<i32>,
    mappings: Option<i32>,
    extra_references: Option<i64>,
    vma_start: u64,
    vma_end: u64,
    vma_name: Option<&'a str>,
    pinned_at: Option<Time>,
    broken_at: Time,
    unpinned_at: Option<Time>,
    unpinned_dirty: Option<bool>,
    unpin_stack: Vec<String>,
    proof: Option<&'static str>,
    cause: Option<CauseLine>,
    reference: Option<ReferenceLine>,
    invalidation: Option<InvalidationLine>,
    /// Only where mappings for devices were watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceLine>>,
    /// Records of them that were lost: with any, what is not in the list is not known. Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices_lost: Option<u64>,
    coherence: CoherenceLine,
    advice: &'a str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Holder {
    tgid: u32,
    tid: u32,
    comm: String,
    cgroup: u64,
    container: Option<String>,
    pod_uid: Option<String>,
    flags: String,
    address: u64,
    pages: u64,
    owner: Option<OwnerLine>,
    stack: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct OwnerLine {
    kind: &'static str,
    found: &'static str,
    candidates: u32,
    name: String,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Writer {
    tgid: u32,
    tid: u32,
    comm: String,
    cgroup: u64,
    container: Option<String>,
    pod_uid: Option<String>,
    stack: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct CauseLine {
    kind: &'static str,
    detail: String,
    other_candidates: usize,
    at: Time,
    tgid: u32,
    comm: String,
    stack: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ReferenceLine {
    tgid: u32,
    tid: u32,
    comm: String,
    flags: String,
    address: u64,
    at: Time,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct InvalidationLine {
    event: &'static str,
    began: Time,
    ended: Time,
    secondary_mmus: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct DeviceLine {
    device: Option<String>,
    api: &'static str,
    iova: u64,
    mapped_at: Time,
    state: &'static str,
    unmapped_at: Option<Time>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct CoherenceLine {
    secondary_mmus: Vec<String>,
    complete: bool,
}

/// A line of type `finding` when it is opened, `update` when there is more to say of it.
pub fn change(out: &mut dyn Write, trace: &Trace, change: Change) -> io::Result<()> {
    let (r#type, index) = match change {
        Change::Opened(index) => ("finding", index),
        Change::Updated(index) => ("update", index),
    };
    match trace.findings.get(index) {
        Some(finding) => line(out, &finding_line(trace, r#type, finding)),
        None => Ok(()),
    }
}

/// Of every line that `stream` and `replay` print.
#[cfg(test)]
pub fn schema() -> schemars::Schema {
    #[derive(schemars::JsonSchema)]
    #[schemars(untagged, title = "A line of `stream --format json` or `replay --format json`")]
    #[expect(dead_code, clippy::large_enum_variant, reason = "a schema is made of it, no value")]
    enum Line {
        Finding(FindingLine<'static>),
        Event(event::EventLine<'static>),
        Summary(summary::Summary<'static>),
    }
    super::schemas::generator().into_root_schema_for::<Line>()
}

fn owner_line(owner: &Owner) -> OwnerLine {
    let (found, candidates) = match owner.found {
        Found::Sure => ("sure", 1),
        Found::OneOf(several) => ("several", several),
        Found::TooLate => ("too-late", 0),
        Found::Nowhere => ("none", 0),
    };
    OwnerLine { kind: owner.kind.name(), found, candidates, name: owner.name.to_string() }
}

fn holder(trace: &Trace, finding: &Finding, pin: &PinRecord) -> Holder {
    let Container { id: container, pod_uid, .. } =
        container(trace, &pin.holder).unwrap_or_default();
    Holder {
        tgid: pin.holder.tgid,
        tid: pin.holder.tid,
        comm: pin.holder.comm.to_string(),
        cgroup: pin.holder.cgroup,
        container,
        pod_uid,
        flags: trace.facts.flag_names(pin.gup_flags),
        address: pin.address,
        pages: pin.pages,
        owner: finding.owner.as_deref().map(owner_line),
        stack: frames(trace, &pin.holder, &pin.stack),
    }
}

fn writer(trace: &Trace, finding: &Finding) -> Writer {
    let task = &finding.writer;
    let Container { id: container, pod_uid, .. } = container(trace, task).unwrap_or_default();
    Writer {
        tgid: task.tgid,
        tid: task.tid,
        comm: task.comm.to_string(),
        cgroup: task.cgroup,
        container,
        pod_uid,
        stack: frames(trace, task, &finding.writer_stack),
    }
}

fn finding_line<'a>(trace: &Trace, r#type: &'static str, finding: &'a Finding) -> FindingLine<'a> {
    FindingLine {
        r#type,
        id: finding.id,
        verdict: finding.verdict.name(),
        certainty: finding.verdict.certainty(),
        reason: &finding.reason,
        holder: finding.pin.as_ref().map(|pin| holder(trace, finding, pin)),
        writer: writer(trace, finding),
        how: finding.how.name(),
        address: finding.address,
        pages: finding.pages,
        page_kind: finding.fault.map(|fault| fault.page_kind()),
        old_pfn: finding.old_pfn,
        new_pfn: finding.new_pfn,
        references: finding.fault.map(|fault| fault.references),
        mappings: finding.fault.map(|fault| fault.mappings),
        extra_references: finding.fault.map(|fault| fault.extra_references()),
        vma_start: finding.vma.0,
        vma_end: finding.vma.1,
        vma_name: finding.vma_name.as_deref(),
        pinned_at: finding.pin.as_ref().map(|pin| pin.time),
        broken_at: finding.broken_at,
        unpinned_at: finding.unpinned.map(|end| end.time),
        unpinned_dirty: finding.unpinned.map(|end| end.dirty),
        unpin_stack: finding
            .unpinned
            .map_or_else(Vec::new, |end| stack::lines(trace, end.task.tgid, &finding.unpin_stack)),
        proof: finding.proof.map(Proof::name),
        cause: finding.cause.as_ref().map(|cause| cause_line(trace, cause)),
        reference: finding.reference.as_ref().map(|reference| ReferenceLine {
            tgid: reference.task.tgid,
            tid: reference.task.tid,
            comm: reference.task.comm.to_string(),
            flags: trace.facts.flag_names(reference.gup_flags),
            address: reference.address,
            at: reference.time,
        }),
        invalidation: finding.told.as_ref().map(|told| InvalidationLine {
            event: told.event,
            began: told.began,
            ended: told.ended,
            secondary_mmus: stack::mmu_names(trace, told),
        }),
        devices: trace.watches_devices().then(|| devices(finding)),
        devices_lost: trace.watches_devices().then(|| trace.lost_of_devices()),
        coherence: CoherenceLine {
            secondary_mmus: coherence::names(trace, &finding.coherence),
            complete: finding.coherence.complete,
        },
        advice: finding.advice,
    }
}

/// Who reaches the old page.
fn devices(finding: &Finding) -> Vec<DeviceLine> {
    let line = |reach: &Reach| DeviceLine {
        device: Some(reach.device.to_string()).filter(|name| !name.is_empty()),
        api: reach.api.name(),
        iova: reach.iova,
        mapped_at: reach.since,
        state: reach.state.name(),
        unmapped_at: match reach.state {
            ReachState::Ended(time) => Some(time),
            _ => None,
        },
    };
    finding.reach.iter().map(line).collect()
}

fn cause_line(trace: &Trace, cause: &Cause) -> CauseLine {
    CauseLine {
        kind: cause.kind.name(),
        detail: cause.kind.to_string(),
        other_candidates: cause.others,
        at: cause.time,
        tgid: cause.task.tgid,
        comm: cause.task.comm.to_string(),
        stack: frames(trace, &cause.task, &cause.stack),
    }
}

fn frames(trace: &Trace, task: &Task, stack: &Stack) -> Vec<String> {
    stack::lines(trace, task.tgid, stack)
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
