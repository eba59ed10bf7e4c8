//! The last line of a run.

use std::io::{self, Write};

use cowtrace_common::setting::Stage;
use serde::Serialize;

use super::{
    super::owners::{self, Owned},
    OwnerLine, line, owner_line,
};
use crate::{
    budget::{self, Kept, Shed},
    event::Time,
    trace::{AddressSpace, Durations, Sort, Trace},
};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct Summary<'a> {
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
