//! One JSON object per line, `type` first; addresses, PFNs and times are integers. The fields are
//! documented in docs/json.md.

mod event;

use std::io::{self, Write};

use cowtrace_common::setting::Stage;
use serde::Serialize;

pub use self::event::event;
use super::{
    coherence, container,
    owners::{self, Owned},
    stack,
};
use crate::{
    budget::{self, Kept, Shed},
    container::Container,
    event::{Stack, Task, Time},
    finding::{Cause, Finding, Proof},
    ledger::PinRecord,
    owner::{Found, Owner},
    reach::{Reach, ReachState},
    trace::{AddressSpace, Change, Durations, Sort, Trace},
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

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct AddressSpaceLine {
    mm: u64,
    tgid: u32,
    comm: String,
    pages_pinned: u64,
    pages_held: u64,
    pages_held_and_told: u64,
    secondary_mmus: Vec<SecondaryMmuLine>,
    complete: bool,
    invalidated_pinned: u64,
    invalidated_elsewhere: u64,
    ended: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct SecondaryMmuLine {
    name: String,
    ops: u64,
    bytes: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct DurationsLine<'a> {
    event: &'static str,
    initiator: &'a str,
    count: u64,
    total_ns: u64,
    longest_ns: u64,
    under_ns: Vec<[u64; 2]>,
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
        Summary(Summary<'static>),
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

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Summary<'a> {
    r#type: &'static str,
    clean: bool,
    findings: usize,
    findings_unlisted: u64,
    verdicts: std::collections::BTreeMap<&'static str, usize>,
    benign: std::collections::BTreeMap<&'static str, u64>,
    faults: std::collections::BTreeMap<String, u64>,
    pins: u64,
    unpins: u64,
    pages_pinned: u64,
    pages_unpinned: u64,
    pages_live: u64,
    pages_unmatched: u64,
    invalidations: u64,
    forks: u64,
    zaps: u64,
    fork_copies: u64,
    fork_ns: u64,
    fork_kept: u64,
    suspects_unlisted: u64,
    short_term_pinned: u64,
    short_term_unpinned: u64,
    invalidated: Vec<DurationsLine<'a>>,
    address_spaces: Vec<AddressSpaceLine>,
    audited_same: u64,
    audited_unmapped: u64,
    audited_others: u64,
    owned: Vec<OwnedLine>,
    copies_witnessed: Option<u64>,
    kernel_live_before: Option<i64>,
    kernel_live_after: Option<i64>,
    records: u64,
    lost: u64,
    unseen: Vec<String>,
    budget: Option<BudgetLine>,
    probes: Vec<ProbeLine<'a>>,
    programs: Vec<ProgramLine>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct OwnedLine {
    tgid: u32,
    comm: String,
    pages: u64,
    owner: OwnerLine,
}

/// Owners that are listed.
const OWNERS: usize = 1024;

fn owned_line(owned: &Owned) -> OwnedLine {
    OwnedLine {
        tgid: owned.task.tgid,
        comm: owned.task.comm.to_string(),
        pages: owned.pages,
        owner: owner_line(owned.owner),
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ProgramLine {
    name: &'static str,
    hits: u64,
    lost: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ProbeLine<'a> {
    sees: &'a str,
    attached: Option<&'a str>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct BudgetLine {
    limit_ppm: u64,
    programs_ns: u64,
    user_ns: u64,
    window_ns: u64,
    beyond_ns: u64,
    beyond_spent_ns: u64,
    spent_ns: u64,
    measured_ns: u64,
    shed: Vec<ShedLine>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct ShedLine {
    stage: &'static str,
    times: u64,
    ns: u64,
    from: Time,
    until: Option<Time>,
    unseen: &'static str,
}

fn budget_line(kept: &Kept) -> BudgetLine {
    let shed = |(stage, shed): (Stage, &Shed)| ShedLine {
        stage: budget::name(stage),
        times: shed.times,
        ns: shed.nanos,
        from: shed.from,
        until: (!shed.is_now()).then_some(shed.until),
        unseen: budget::unseen(stage),
    };
    BudgetLine {
        limit_ppm: kept.limit.ppm,
        programs_ns: kept.programs,
        user_ns: kept.user,
        window_ns: kept.window,
        beyond_ns: kept.beyond,
        beyond_spent_ns: kept.beyond_spent,
        spent_ns: kept.spent,
        measured_ns: kept.measured,
        shed: kept.shed_ever().map(shed).collect(),
    }
}

/// A last line of type `summary`.
pub fn summary(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    use crate::{facts::key, finding::Verdict};
    let unseen = trace.unseen();
    let of_verdict = |verdict: Verdict| {
        trace.findings.iter().filter(|finding| finding.verdict == verdict).count()
    };
    line(
        out,
        &Summary {
            r#type: "summary",
            clean: trace.findings.is_empty() && unseen.is_empty(),
            findings: trace.findings.len(),
            findings_unlisted: trace.unlisted(),
            verdicts: Verdict::ALL
                .iter()
                .map(|verdict| (verdict.name(), of_verdict(*verdict)))
                .collect(),
            benign: trace.benign.iter().map(|(why, count)| (why.name(), *count)).collect(),
            faults: trace.faults_by_outcome().collect(),
            pins: trace.counts.pins,
            unpins: trace.counts.unpins,
            pages_pinned: trace.ledger.pinned(),
            pages_unpinned: trace.ledger.unpinned(),
            pages_live: trace.ledger.live_pages() + trace.short_term.live(),
            pages_unmatched: trace.ledger.unmatched(),
            invalidations: trace.counts.invalidations,
            forks: trace.counts.forks,
            zaps: trace.counts.zaps,
            fork_copies: trace.counts.fork_copies,
            fork_ns: trace.counts.fork_ns,
            fork_kept: trace.counts.fork_kept,
            suspects_unlisted: trace.counts.suspects_unlisted,
            short_term_pinned: trace.short_term.pinned,
            short_term_unpinned: trace.short_term.unpinned,
            invalidated: trace.invalidated.iter().map(durations_line).collect(),
            address_spaces: trace
                .address_spaces()
                .iter()
                .map(|space| address_space(trace, space))
                .collect(),
            audited_same: trace.audited.same,
            audited_unmapped: trace.audited.unmapped,
            audited_others: trace.audited.others,
            owned: owners::owned(trace).iter().take(OWNERS).map(owned_line).collect(),
            copies_witnessed: trace.copies_witnessed(),
            kernel_live_before: trace.facts.number(key::VMSTAT_START),
            kernel_live_after: trace.facts.number(key::VMSTAT_END),
            records: trace.counts.records,
            lost: trace.lost(),
            unseen,
            budget: trace.budget.as_deref().map(budget_line),
            probes: trace
                .probes
                .values()
                .map(|probe| ProbeLine {
                    sees: &probe.sees,
                    attached: (!probe.attached.is_empty()).then_some(&*probe.attached),
                })
                .collect(),
            programs: trace
                .losses()
                .map(|(program, tally)| ProgramLine {
                    name: program.name(),
                    hits: tally.hits,
                    lost: tally.lost(),
                })
                .collect(),
        },
    )
}

fn address_space(trace: &Trace, space: &AddressSpace) -> AddressSpaceLine {
    let mmu = |(ops, bytes): &(u64, u64)| SecondaryMmuLine {
        name: trace.mmu_name(*ops),
        ops: *ops,
        bytes: (*bytes > 0).then_some(*bytes),
    };
    AddressSpaceLine {
        mm: space.mm,
        tgid: space.task.tgid,
        comm: space.task.comm.to_string(),
        pages_pinned: space.pinned,
        pages_held: space.held,
        pages_held_and_told: space.held_and_told,
        secondary_mmus: space.mmus.iter().map(mmu).collect(),
        complete: space.complete,
        invalidated_pinned: space.invalidated_pinned,
        invalidated_elsewhere: space.invalidated_elsewhere,
        ended: space.ended,
    }
}

fn durations_line<'a>(
    ((event, initiator), durations): (&'a Sort, &'a Durations),
) -> DurationsLine<'a> {
    DurationsLine {
        event,
        initiator,
        count: durations.count,
        total_ns: durations.total,
        longest_ns: durations.longest,
        under_ns: durations.histogram().map(|(under, count)| [under, count]).collect(),
    }
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
