//! A trace for Perfetto's viewer: processes and threads as tracks, pins as slices, findings and events as instants.
//!
//! The messages are those of Perfetto's own definitions (protos/perfetto/trace), as far as they are needed: names and
//! field numbers are the same. Time is CLOCK_BOOTTIME, which is Perfetto's own default.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use prost::Message;

use super::Row;
use crate::{
    event::{Event, Task, Time},
    finding::Finding,
    ledger::PinId,
    sinks::stack,
    trace::{Change, Trace},
};

/// A trace being written.
pub struct Perfetto<W: Write> {
    out: W,
    /// Tracks as they were described, by their number.
    described: HashMap<u64, TrackDescriptor>,
    /// Pins whose slice has begun: its track.
    pins: HashMap<PinId, u64>,
    /// Pin records that there were before the last event.
    records: PinId,
    is_first: bool,
}

/// Of all packets: they are one sequence.
const SEQUENCE: u32 = 1;
/// SEQ_INCREMENTAL_STATE_CLEARED.
const CLEARED: u32 = 1;

impl<W: Write> Perfetto<W> {
    /// Into `out`.
    pub fn new(out: W) -> Self {
        Self { out, described: HashMap::new(), pins: HashMap::new(), records: 0, is_first: true }
    }

    /// Takes an event in, as a row has it.
    pub fn event(&mut self, trace: &Trace, event: &Event, row: &Row) -> io::Result<()> {
        let lane = self.thread(&event.task)?;
        let mut notes: Vec<DebugAnnotation> = [
            ("address", row.address),
            ("end", row.end),
            ("pages", row.pages),
            ("pfn", row.pfn),
            ("new_pfn", row.new_pfn),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| number(name, value)))
        .collect();
        let texts = [("flags", &row.flags), ("detail", &row.detail)];
        notes.extend(
            texts.into_iter().filter_map(|(name, value)| Some(text(name, value.as_ref()?))),
        );
        let frames = stack::lines(trace, event.task.tgid, &event.stack);
        if !frames.is_empty() {
            notes.push(text("stack", &frames.join("\n")));
        }
        self.instant(event.time, lane, row.kind, "event", notes)
    }

    /// What the last event came to: pins that begin or end, findings.
    pub fn folded(&mut self, trace: &Trace, changes: &[Change]) -> io::Result<()> {
        // An event is at most one pin record, and that has the highest number.
        let records = std::mem::replace(&mut self.records, trace.ledger.records());
        if self.records != records {
            self.pinned(trace, self.records.saturating_sub(1))?;
        }
        if self.pins.len() > trace.ledger.live_pins() {
            self.pins_end(trace.now, |call| !trace.ledger.is_live(call))?;
        }
        for change in changes {
            let (Change::Opened(index) | Change::Updated(index)) = *change;
            if let Some(finding) = trace.findings.get(index) {
                self.finding(trace, finding)?;
            }
        }
        Ok(())
    }

    /// Ends what has not ended.
    pub fn finish(&mut self, trace: &Trace) -> io::Result<()> {
        self.pins_end(trace.now, |_| true)?;
        self.out.flush()
    }

    /// A pin record: if it is the first of its call, the call's slice begins.
    fn pinned(&mut self, trace: &Trace, call: PinId) -> io::Result<()> {
        let Some((pin, _)) = trace.ledger.call(call) else { return Ok(()) };
        let process = self.process(&pin.holder)?;
        // A track for each: pins overlap as they like. Those of one name are shown as one.
        let lane = uuid(&(process, "pin", call));
        self.describe(TrackDescriptor {
            uuid: Some(lane),
            parent_uuid: Some(process),
            name: Some("pins".to_owned()),
            ..TrackDescriptor::default()
        })?;
        let site = stack::site(trace, &pin.stack);
        let notes = vec![
            number("pages", pin.pages),
            number("address", pin.address),
            text("flags", &trace.facts.flag_names(pin.gup_flags)),
            text("stack", &stack::lines(trace, pin.holder.tgid, &pin.stack).join("\n")),
        ];
        self.pins.insert(call, lane);
        let name = site.unwrap_or_else(|| "pin".to_owned());
        self.track_event(pin.time, lane, Type::SliceBegin, Some(name), "pin", notes)
    }

    fn pins_end(&mut self, time: Time, ends: impl Fn(PinId) -> bool) -> io::Result<()> {
        let mut ended: Vec<_> =
            self.pins.iter().filter(|(call, _)| ends(**call)).map(|(a, b)| (*a, *b)).collect();
        ended.sort_unstable();
        for (call, lane) in ended {
            self.pins.remove(&call);
            self.track_event(time, lane, Type::SliceEnd, None, "pin", Vec::new())?;
        }
        Ok(())
    }

    fn finding(&mut self, trace: &Trace, finding: &Finding) -> io::Result<()> {
        let holder = finding.pin.as_ref().map_or(finding.writer, |pin| pin.holder);
        let process = self.process(&holder)?;
        let lane = uuid(&(process, "findings"));
        self.describe(TrackDescriptor {
            uuid: Some(lane),
            parent_uuid: Some(process),
            name: Some("findings".to_owned()),
            ..TrackDescriptor::default()
        })?;
        let cause = finding.cause.as_ref().map(|cause| cause.kind.to_string());
        let mut notes = vec![
            number("id", finding.id as u64),
            text("reason", &finding.reason),
            text("cause", cause.as_deref().unwrap_or("not seen")),
            text("advice", finding.advice),
            number("address", finding.address),
            number("pages", finding.pages),
            number("old_pfn", finding.old_pfn),
            number("new_pfn", finding.new_pfn),
        ];
        notes.extend(stack::site_of(trace, finding).map(|site| text("site", &site)));
        self.instant(trace.now, lane, finding.verdict.name(), "finding", notes)
    }

    fn process(&mut self, task: &Task) -> io::Result<u64> {
        let lane = uuid(&("process", task.tgid));
        self.describe(TrackDescriptor {
            uuid: Some(lane),
            process: Some(ProcessDescriptor {
                pid: Some(task.tgid.cast_signed()),
                process_name: Some(task.comm.to_string()),
            }),
            ..TrackDescriptor::default()
        })?;
        Ok(lane)
    }

    fn thread(&mut self, task: &Task) -> io::Result<u64> {
        let process = self.process(task)?;
        let lane = uuid(&("thread", task.tgid, task.tid));
        self.describe(TrackDescriptor {
            uuid: Some(lane),
            parent_uuid: Some(process),
            thread: Some(ThreadDescriptor {
                pid: Some(task.tgid.cast_signed()),
                tid: Some(task.tid.cast_signed()),
                thread_name: Some(task.comm.to_string()),
            }),
            ..TrackDescriptor::default()
        })?;
        Ok(lane)
    }

    fn instant(
        &mut self,
        time: Time,
        lane: u64,
        name: &str,
        category: &str,
        notes: Vec<DebugAnnotation>,
    ) -> io::Result<()> {
        self.track_event(time, lane, Type::Instant, Some(name.to_owned()), category, notes)
    }

    fn track_event(
        &mut self,
        time: Time,
        lane: u64,
        r#type: Type,
        name: Option<String>,
        category: &str,
        debug_annotations: Vec<DebugAnnotation>,
    ) -> io::Result<()> {
        let track_event = TrackEvent {
            debug_annotations,
            r#type: Some(r#type as i32),
            track_uuid: Some(lane),
            categories: vec![category.to_owned()],
            name,
        };
        self.packet(TracePacket {
            timestamp: Some(time),
            track_event: Some(track_event),
            ..TracePacket::default()
        })
    }

    fn describe(&mut self, descriptor: TrackDescriptor) -> io::Result<()> {
        let Some(uuid) = descriptor.uuid else { return Ok(()) };
        // A process may take another name: then it is described once more.
        if self.described.get(&uuid) == Some(&descriptor) {
            return Ok(());
        }
        self.described.insert(uuid, descriptor.clone());
        let track_descriptor = Some(descriptor);
        self.packet(TracePacket { track_descriptor, ..TracePacket::default() })
    }

    /// A trace is its packets, one behind the other.
    fn packet(&mut self, mut packet: TracePacket) -> io::Result<()> {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        packet.sequence_flags = std::mem::take(&mut self.is_first).then_some(CLEARED);
        self.out.write_all(&PerfettoTrace { packet: vec![packet] }.encode_to_vec())
    }
}

fn number(name: &str, value: u64) -> DebugAnnotation {
    let uint_value = Some(value);
    DebugAnnotation { name: Some(name.to_owned()), uint_value, ..DebugAnnotation::default() }
}

fn text(name: &str, value: &str) -> DebugAnnotation {
    let string_value = Some(value.to_owned());
    DebugAnnotation { name: Some(name.to_owned()), string_value, ..DebugAnnotation::default() }
}

/// A number for a track that is the same wherever it is asked for.
fn uuid(of: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// `TrackEvent.Type`.
#[derive(Clone, Copy)]
enum Type {
    SliceBegin = 1,
    SliceEnd = 2,
    Instant = 3,
}

#[derive(Clone, PartialEq, Message)]
struct PerfettoTrace {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(uint32, optional, tag = "13")]
    sequence_flags: Option<u32>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, optional, tag = "3")]
    process: Option<ProcessDescriptor>,
    #[prost(message, optional, tag = "4")]
    thread: Option<ThreadDescriptor>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessDescriptor {
    #[prost(int32, optional, tag = "1")]
    pid: Option<i32>,
    #[prost(string, optional, tag = "6")]
    process_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ThreadDescriptor {
    #[prost(int32, optional, tag = "1")]
    pid: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    tid: Option<i32>,
    #[prost(string, optional, tag = "5")]
    thread_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    #[prost(int32, optional, tag = "9")]
    r#type: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, repeated, tag = "22")]
    categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(uint64, optional, tag = "3")]
    uint_value: Option<u64>,
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
}
