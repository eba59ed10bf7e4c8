//! Events for other tools: a flat table of them, or their stacks as flame graphs want them.
//!
//! Promise: one row for each event of the kernel, the same columns for every kind, and the host in each: so the
//! tables of many hosts are one table. Findings are in the report.

#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(feature = "perfetto")]
mod perfetto;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{coherence, stack};
use crate::{
    event::{Event, Protector, Time, What},
    facts::key,
    finding::Proof,
    trace::{Change, Trace},
};

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum To {
    /// An object per event, a line each
    Jsonl,
    /// Comma-separated values, with a line of names
    Csv,
    /// Stacks and how often, for flame graphs: kind;process;outermost frame;…;innermost frame COUNT
    Folded,
    /// A folder of Parquet files, events and findings by host and date, that reads as one table each
    Parquet,
    /// A trace for Perfetto's viewer: processes as tracks, pins as slices, findings as instants
    Perfetto,
}

impl To {
    /// Whether this cowtrace was built with it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Jsonl | Self::Csv | Self::Folded => true,
            Self::Parquet => cfg!(feature = "parquet"),
            Self::Perfetto => cfg!(feature = "perfetto"),
        }
    }
}

/// An event. A column that a kind has no use for is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Row {
    /// Name of the host.
    pub host: String,
    /// Nanoseconds since 1970, or since boot where the recording does not tell when that was.
    pub time_ns: i64,
    /// Which kind, as in `stream --events --format json`.
    pub kind: &'static str,
    /// The current task's process.
    pub tgid: u32,
    /// Its thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Cgroup v2 id.
    pub cgroup: u64,
    /// CPU.
    pub cpu: u32,
    /// Address of the `struct mm_struct` that it is about.
    pub mm: Option<u64>,
    /// First address.
    pub address: Option<u64>,
    /// First address behind.
    pub end: Option<u64>,
    /// Pages.
    pub pages: Option<u64>,
    /// Page frame number: the old one, or the first.
    pub pfn: Option<u64>,
    /// The page frame number that took its place.
    pub new_pfn: Option<u64>,
    /// FOLL_* of a pin, by name.
    pub flags: Option<String>,
    /// How a fault was answered, what write-protected, what a notifier or its event is called, whether an unpin is
    /// dirty, what a page held as a hash.
    pub detail: Option<String>,
}

/// A finding as a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Found {
    /// When the page was lost, nanoseconds as in [`Row`].
    pub time_ns: i64,
    /// Its number in the trace.
    pub id: u64,
    /// Its grade as the trace ended.
    pub verdict: &'static str,
    /// How sure that is.
    pub certainty: &'static str,
    /// How the page was lost.
    pub how: &'static str,
    /// What write-protected or discarded it.
    pub cause: &'static str,
    /// What proves that it matters.
    pub proof: Option<&'static str>,
    /// The function that asked for the pin.
    pub site: Option<String>,
    /// Process that pinned.
    pub holder_tgid: Option<u32>,
    /// Its name.
    pub holder_comm: Option<String>,
    /// Process that wrote, discarded or protected.
    pub writer_tgid: u32,
    /// Its name.
    pub writer_comm: String,
    /// The holder's cgroup, or the writer's, by path.
    pub cgroup: Option<String>,
    /// First address.
    pub address: u64,
    /// Pages from there on.
    pub pages: u64,
    /// The page that the device has.
    pub old_pfn: u64,
    /// The page that the process has; 0: none that is known.
    pub new_pfn: u64,
    /// When it was pinned.
    pub pinned_ns: Option<i64>,
    /// When that ended.
    pub unpinned_ns: Option<i64>,
    /// Why this verdict.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

/// Findings of a trace, as rows.
pub fn found(trace: &Trace) -> impl Iterator<Item = Found> {
    let boot = trace.facts.boot().unwrap_or(0);
    let wall = move |time: Time| boot.saturating_add_unsigned(time);
    trace.findings.iter().map(move |finding| {
        let pin = finding.pin.as_ref();
        let cgroup = pin.map_or(&finding.writer, |pin| &pin.holder).cgroup;
        Found {
            time_ns: wall(finding.broken_at),
            id: finding.id as u64,
            verdict: finding.verdict.name(),
            certainty: finding.verdict.certainty(),
            how: finding.how.name(),
            cause: finding.cause.as_ref().map_or("not seen", |cause| cause.kind.name()),
            proof: finding.proof.map(Proof::name),
            site: stack::site_of(trace, finding),
            holder_tgid: pin.map(|pin| pin.holder.tgid),
            holder_comm: pin.map(|pin| pin.holder.comm.to_string()),
            writer_tgid: finding.writer.tgid,
            writer_comm: finding.writer.comm.to_string(),
            cgroup: trace.cgroup(cgroup).map(str::to_owned),
            address: finding.address,
            pages: finding.pages,
            old_pfn: finding.old_pfn,
            new_pfn: finding.new_pfn,
            pinned_ns: pin.map(|pin| wall(pin.time)),
            unpinned_ns: finding.unpinned.map(|end| wall(end.time)),
            reason: finding.reason.to_string(),
            advice: finding.advice.to_owned(),
        }
    })
}

/// An export under way, of a form that is one file.
pub enum Export<W: Write> {
    /// Rows as JSON.
    Jsonl(W),
    /// Rows as CSV.
    Csv(Box<csv::Writer<W>>),
    /// Counts of stacks.
    Folded(W, BTreeMap<String, u64>),
    /// Tracks.
    #[cfg(feature = "perfetto")]
    Perfetto(perfetto::Perfetto<W>),
}

impl<W: Write> Export<W> {
    /// Into `out`; `None` for what is no single file, or was not built in.
    pub fn new(to: To, out: W) -> Option<Self> {
        Some(match to {
            To::Jsonl => Self::Jsonl(out),
            To::Csv => Self::Csv(Box::new(csv::Writer::from_writer(out))),
            To::Folded => Self::Folded(out, BTreeMap::new()),
            #[cfg(feature = "perfetto")]
            To::Perfetto => Self::Perfetto(perfetto::Perfetto::new(out)),
            _ => return None,
        })
    }

    /// Takes an event in. `trace` has the facts and names that came before it.
    pub fn event(&mut self, trace: &Trace, event: &Event) -> io::Result<()> {
        let Some(row) = row(trace, event) else { return Ok(()) };
        match self {
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, &row)?;
                writeln!(out)
            }
            Self::Csv(writer) => writer.serialize(row).map_err(io::Error::other),
            Self::Folded(_, counts) => {
                if let Some(folded) = folded(trace, event, row.kind) {
                    *counts.entry(folded).or_default() += 1;
                }
                Ok(())
            }
            #[cfg(feature = "perfetto")]
            Self::Perfetto(perfetto) => perfetto.event(trace, event, &row),
        }
    }

    /// What the last event has come to.
    #[cfg_attr(not(feature = "perfetto"), expect(unused_variables, reason = "rows need no more"))]
    pub fn folded(&mut self, trace: &Trace, changes: &[Change]) -> io::Result<()> {
        match self {
            #[cfg(feature = "perfetto")]
            Self::Perfetto(perfetto) => perfetto.folded(trace, changes),
            _ => Ok(()),
        }
    }

    /// A recording has been read to its end.
    #[cfg_attr(not(feature = "perfetto"), expect(unused_variables, reason = "rows need no more"))]
    pub fn ended(&mut self, trace: &Trace) -> io::Result<()> {
        match self {
            #[cfg(feature = "perfetto")]
            Self::Perfetto(perfetto) => perfetto.finish(trace),
            _ => Ok(()),
        }
    }

    /// Writes what is left.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut out) => out.flush(),
            Self::Csv(mut writer) => writer.flush(),
            Self::Folded(mut out, counts) => {
                for (stack, count) in counts {
                    writeln!(out, "{stack} {count}")?;
                }
                out.flush()
            }
            // It was written as each recording ended.
            #[cfg(feature = "perfetto")]
            Self::Perfetto(_) => Ok(()),
        }
    }
}

/// `None` for records of the source's own.
pub fn row(trace: &Trace, event: &Event) -> Option<Row> {
    let about = about(trace, &event.what)?;
    let boot = trace.facts.boot().unwrap_or(0);
    Some(Row {
        host: trace.facts.text(key::HOST).unwrap_or("unknown").to_owned(),
        time_ns: boot.saturating_add_unsigned(event.time),
        tgid: event.task.tgid,
        tid: event.task.tid,
        comm: event.task.comm.to_string(),
        cgroup: event.task.cgroup,
        cpu: event.cpu,
        ..about
    })
}

/// The columns that depend on the kind.
fn about(trace: &Trace, what: &What) -> Option<Row> {
    let of = |kind, mm: u64| Row { kind, mm: Some(mm), ..Row::default() };
    let range = |kind, mm, start: u64, end: u64| Row {
        address: Some(start),
        end: Some(end),
        ..of(kind, mm)
    };
    Some(match what {
        What::Fault(fault) => Row {
            address: Some(fault.address),
            pages: Some(fault.pages()),
            pfn: Some(fault.old_pfn),
            new_pfn: Some(fault.new_pfn),
            detail: Some(format!("{:?}", fault.outcome).to_lowercase()),
            ..of("fault", fault.mm)
        },
        What::Pin(pin) => Row {
            address: Some(pin.address),
            pages: Some(pin.pages),
            pfn: pin.extents.first().map(|extent| extent.pfn),
            flags: Some(trace.facts.flag_names(pin.gup_flags)),
            ..of("pin", pin.mm)
        },
        What::Unpin(unpin) => Row {
            kind: "unpin",
            pages: Some(unpin.pages),
            pfn: unpin.extents.first().map(|extent| extent.pfn),
            detail: Some(if unpin.make_dirty { "dirty" } else { "clean" }.to_owned()),
            ..Row::default()
        },
        What::Invalidate(told) => Row {
            detail: Some(told.event_name().to_owned()),
            ..range("invalidate", told.mm, told.start, told.end)
        },
        What::Protect(protect) => Row {
            detail: Some(protect.by.map_or("writable again", Protector::name).to_owned()),
            ..range("protect", protect.mm, protect.start, protect.end)
        },
        What::Zap(zap) => {
            Row { pfn: zap.first.map(|(pfn, _)| pfn), ..range("zap", zap.mm, zap.start, zap.end) }
        }
        What::Move { mm, from, to, len } => Row {
            detail: Some(format!("to {to:#x}")),
            ..range("move", *mm, *from, from.saturating_add(*len))
        },
        What::Refault { mm, address, pfn } => {
            Row { address: Some(*address), new_pfn: Some(*pfn), ..of("refault", *mm) }
        }
        What::Content { pfn, hash, at_unpin } => {
            let when = if *at_unpin { "unpin" } else { "break" };
            let detail = Some(format!("{hash:016x} at the {when}"));
            Row { kind: "content", pfn: Some(*pfn), detail, ..Row::default() }
        }
        What::Io { mm, start, end, to_memory } => Row {
            detail: Some(if *to_memory { "to memory" } else { "from memory" }.to_owned()),
            ..range("io", *mm, *start, *end)
        },
        What::Holder(holder) => Row {
            address: Some(holder.address),
            pfn: Some(holder.pfn),
            flags: Some(trace.facts.flag_names(holder.gup_flags)),
            detail: Some(if holder.is_pin { "short-term pin" } else { "reference" }.to_owned()),
            ..of("holder", holder.mm)
        },
        What::Fork { parent_mm, child_tgid, .. } => {
            Row { detail: Some(format!("child {child_tgid}")), ..of("fork", *parent_mm) }
        }
        What::ForkCopy(copy) => range("fork-copy", copy.parent_mm, copy.start, copy.end),
        What::FileRange(file) => range("file-range", file.mm, file.start, file.end),
        What::MmExit { mm } => of("mm-exit", *mm),
        _ => return of_mmus(trace, what),
    })
}

/// The same of what devices reach, and of secondary MMUs.
fn of_mmus(trace: &Trace, what: &What) -> Option<Row> {
    let of = |kind, mm: u64, (start, end): (u64, u64), detail| {
        let (mm, address, end) = (Some(mm), Some(start), Some(end));
        Row { kind, mm, address, end, detail, ..Row::default() }
    };
    let symbol = |ops| trace.symbol(0, ops).map(str::to_owned);
    Some(match what {
        What::Notifier(one) => of("notifier", one.mm, one.range, symbol(one.ops)),
        What::NotifierGone(one) => of("notifier-gone", one.mm, one.range, symbol(one.ops)),
        What::Secondary(list) => {
            of("notifiers", list.mm, (0, 0), Some(coherence::listed(trace, list)))
        }
        What::DeviceMap(map) => Row {
            kind: "device-map",
            address: Some(map.iova),
            end: Some(map.end()),
            pages: Some(map.pfns().1 - map.pfns().0),
            pfn: Some(map.pfns().0),
            detail: Some(format!("{} {}", map.api.name(), map.device).trim_end().to_owned()),
            ..Row::default()
        },
        What::DeviceUnmap(unmap) => Row {
            kind: "device-unmap",
            address: Some(unmap.iova),
            end: Some(unmap.iova.saturating_add(unmap.bytes)),
            detail: Some(unmap.api.name().to_owned()),
            ..Row::default()
        },
        What::Attached(attached) => {
            let detail = Some(attached.name.to_string());
            Row { kind: "attached", detail, ..Row::default() }
        }
        _ => return None,
    })
}

/// A line without its count; `None` for an event without a stack.
fn folded(trace: &Trace, event: &Event, kind: &str) -> Option<String> {
    let frames = stack::lines(trace, event.task.tgid, &event.stack);
    let functions = frames.iter().rev().map(|frame| {
        // Offsets would split a function into as many as it has call sites; a semicolon ends a frame.
        let (function, rest) = frame.split_once('+').unwrap_or((frame, ""));
        let file = rest.split_once(' ').map_or(String::new(), |(_, file)| format!(" {file}"));
        format!("{function}{file}").replace(';', ":")
    });
    let comm = event.task.comm.to_string().replace(';', ":");
    let line: Vec<String> = [kind.to_owned(), comm].into_iter().chain(functions).collect();
    (line.len() > 2).then(|| line.join(";"))
}
