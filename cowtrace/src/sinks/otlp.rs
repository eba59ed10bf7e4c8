//! Findings and metrics as OpenTelemetry's messages, ready to be sent: a finding is a log record, each time there is
//! something new to say of it.
//!
//! Names of attributes are OpenTelemetry's own where it has one; all others begin with `cowtrace.`. Metrics have the
//! names that Prometheus sees, without unit and `_total`: a collector that tells them to Prometheus puts both back.

mod answer;
mod metrics;

pub use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use prost::Message as _;

pub use self::{
    answer::{Rejected, rejected_logs, rejected_metrics},
    metrics::metrics,
};
use super::{container, stack, text};
use crate::{
    event::{Task, Time},
    facts::key,
    finding::{Finding, Proof, Verdict},
    trace::{Change, Trace},
};

/// What somebody gives all that is sent, as `OTEL_RESOURCE_ATTRIBUTES` has it.
pub type Extra = Vec<(String, String)>;

/// Reads `k8s.node.name=a,deployment.environment.name=b`; what is no pair is left out, as the specification has it.
pub fn extra(text: &str) -> Extra {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    pairs.filter(|(name, _)| !name.is_empty()).collect()
}

/// A request with log records; none if there are none.
pub fn logs(trace: &Trace, log_records: Vec<LogRecord>, extra: &Extra) -> Option<Vec<u8>> {
    if log_records.is_empty() {
        return None;
    }
    let scope_logs = ScopeLogs { scope: Some(scope()), log_records, ..Default::default() };
    let of_host = ResourceLogs {
        resource: Some(resource(trace, extra)),
        scope_logs: vec![scope_logs],
        ..Default::default()
    };
    Some(ExportLogsServiceRequest { resource_logs: vec![of_host] }.encode_to_vec())
}

/// What an event has changed of a finding, as it is behind that event.
pub fn record(trace: &Trace, change: Change) -> Option<LogRecord> {
    let (state, index) = match change {
        Change::Opened(index) => ("opened", index),
        Change::Updated(index) => ("updated", index),
    };
    let finding = trace.findings.get(index)?;
    let state = if finding.has_ended() { "closed" } else { state };
    let (severity, word) = severity(finding.verdict);
    Some(LogRecord {
        time_unix_nano: clock(trace, finding.broken_at),
        observed_time_unix_nano: clock(trace, trace.now),
        severity_number: severity.into(),
        severity_text: word.to_owned(),
        event_name: "cowtrace.finding".to_owned(),
        body: Some(string(text::sentence(finding))),
        attributes: attributes(trace, finding, state),
        ..Default::default()
    })
}

/// Certain loss is an error; what may be one, or will be, a warning.
fn severity(verdict: Verdict) -> (SeverityNumber, &'static str) {
    match verdict {
        Verdict::Lost | Verdict::Diverged | Verdict::StaleRead => (SeverityNumber::Error, "ERROR"),
        Verdict::RangeInvalidated | Verdict::Snapshot | Verdict::Armed | Verdict::Suspect => {
            (SeverityNumber::Warn, "WARN")
        }
        Verdict::SuspectGet | Verdict::Inconclusive => (SeverityNumber::Info, "INFO"),
    }
}

fn attributes(trace: &Trace, finding: &Finding, state: &str) -> Vec<KeyValue> {
    let stack = stack::of(finding);
    let holder = finding.holder();
    let text = |name, value: &str| Some(pair(name, string(value)));
    let number = |name, value: u64| Some(pair(name, integer(value)));
    let some = |name, value: Option<&str>| value.map(|value| pair(name, string(value)));
    let lines = |stack| stack::lines(trace, holder.tgid, stack).join("\n");
    let all = [
        number("cowtrace.finding.id", finding.id as u64),
        text("cowtrace.finding.state", state),
        text("cowtrace.verdict", finding.verdict.name()),
        text("cowtrace.certainty", finding.verdict.certainty()),
        text("cowtrace.reason", &finding.reason),
        text("cowtrace.how", finding.how.name()),
        some("cowtrace.cause", finding.cause.as_ref().map(|cause| cause.kind.name())),
        some("cowtrace.proof", finding.proof.map(Proof::name)),
        some("cowtrace.driver", stack.and_then(|s| stack::module(trace, s)).as_deref()),
        some("cowtrace.site", stack.and_then(|s| stack::site(trace, s)).as_deref()),
        some("cowtrace.owner", finding.owner.as_ref().map(ToString::to_string).as_deref()),
        text("cowtrace.address", &format!("{:#x}", finding.address)),
        number("cowtrace.pages", finding.pages),
        number("cowtrace.pfn.old", finding.old_pfn),
        number("cowtrace.pfn.new", finding.new_pfn),
        number("process.pid", holder.tgid.into()),
        text("thread.name", &holder.comm.to_string()),
        number("cowtrace.writer.pid", finding.writer.tgid.into()),
        text("cowtrace.writer.name", &finding.writer.comm.to_string()),
        some("cowtrace.pin.stack", stack.map(lines).as_deref()),
        text("cowtrace.writer.stack", &lines(&finding.writer_stack)),
        text("cowtrace.advice", finding.advice),
    ];
    all.into_iter().flatten().chain(place(trace, holder)).collect()
}

/// In which cgroup a task is, and in which container.
fn place(trace: &Trace, task: &Task) -> Vec<KeyValue> {
    let Some(path) = trace.cgroup(task.cgroup) else { return Vec::new() };
    let container = container(trace, task).unwrap_or_default();
    let told = [
        Some(("process.linux.cgroup", path.to_owned())),
        container.id.map(|id| ("container.id", id)),
        container.pod_uid.map(|uid| ("k8s.pod.uid", uid)),
        container.qos.map(|qos| ("cowtrace.k8s.pod.qos", qos.name().to_owned())),
    ];
    told.into_iter().flatten().map(|(name, value)| pair(name, string(value))).collect()
}

/// Which host and which cowtrace.
fn resource(trace: &Trace, extra: &Extra) -> Resource {
    let fact = |key| trace.facts.text(key).unwrap_or_default();
    let own = [
        ("service.name", "cowtrace"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", fact(key::HOST)),
        ("os.type", "linux"),
        ("os.version", fact(key::KERNEL)),
    ];
    let given = |name: &str| extra.iter().any(|(other, _)| other == name);
    let own = own.into_iter().filter(|(name, value)| !value.is_empty() && !given(name));
    let extra = extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let attributes = own.chain(extra).map(|(name, value)| pair(name, string(value))).collect();
    Resource { attributes, ..Default::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "cowtrace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}

/// Nanoseconds since 1970; 0, which is "unknown", where the trace does not tell what clocks showed.
fn clock(trace: &Trace, time: Time) -> u64 {
    let boot = trace.facts.boot().map(i64::cast_unsigned);
    boot.map_or(0, |boot| boot.saturating_add(time))
}

fn pair(name: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(value), ..Default::default() }
}

fn string(value: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.into())) }
}

fn integer(value: u64) -> AnyValue {
    AnyValue { value: Some(Value::IntValue(value.cast_signed())) }
}

#[cfg(test)]
mod tests;
