use std::path::Path;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, metric::Data},
};

use super::*;
use crate::{
    decode::Records,
    encode::Writer,
    sinks::metrics::{Metrics, Own},
    source::recording::Recording,
};

/// A stored recording, with a record for each change, and its metrics.
fn replayed(name: &str) -> (Trace, Vec<LogRecord>, Metrics) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    let mut recording = Recording::open(&file).expect("a recording");
    let (mut trace, mut records, mut metrics) = (Trace::default(), Vec::new(), Metrics::default());
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            for change in trace.take(event) {
                metrics.changed(&trace, change);
                records.extend(record(&trace, change));
            }
        }
    }
    (trace, records, metrics)
}

/// What a collector reads of records.
fn sent(trace: &Trace, records: Vec<LogRecord>, extra: &Extra) -> ResourceLogs {
    let count = records.len();
    let bytes = logs(trace, records, extra).expect("something has changed");
    let mut request = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("a request");
    let logs = request.resource_logs.pop().expect("of a host");
    assert_eq!(logs.scope_logs[0].log_records.len(), count);
    logs
}

/// The text of an attribute, or its number in digits.
fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let pair = attributes.iter().find(|pair| pair.key == name)?;
    match pair.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[test]
fn a_finding_is_a_log_record_with_all_that_one_filters_by() {
    let (trace, records, _) = replayed("lost-5.10.cow");
    let logs = sent(&trace, records, &Extra::new());
    let record = &logs.scope_logs[0].log_records[0];
    assert_eq!(record.event_name, "cowtrace.finding");
    let of = |name: &str| attribute(&record.attributes, name);
    let finding = &trace.findings[0];
    assert_eq!(of("cowtrace.verdict").as_deref(), Some(finding.verdict.name()));
    assert_eq!(of("cowtrace.cause").as_deref(), Some("mprotect"));
    assert_eq!(of("cowtrace.site").as_deref(), Some("xdp_umem_create"));
    assert_eq!(of("cowtrace.driver").as_deref(), Some("kernel"));
    assert_eq!(of("process.pid"), Some(finding.writer.tgid.to_string()));
    assert_eq!(of("thread.name").as_deref(), Some("provoke"));
    assert_eq!(of("container.id"), None);
    let boot = trace.facts.number(key::BOOT).expect("the recording tells it").cast_unsigned();
    assert_eq!(record.time_unix_nano, boot + finding.broken_at);
}

#[test]
fn what_is_proven_is_an_error_and_what_may_be_is_none() {
    let of = |recording: &str| {
        let (_, records, _) = replayed(recording);
        records.iter().map(LogRecord::severity_number).max()
    };
    assert_eq!(of("lost-6.12.cow"), Some(SeverityNumber::Error));
    assert_eq!(of("suspect-get-6.12.cow"), Some(SeverityNumber::Info));
}

#[test]
fn a_finding_in_a_container_names_it_and_its_pod() {
    let (mut trace, _, _) = replayed("lost-5.10.cow");
    let id = "3f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a9012";
    let uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    let holder = trace.findings[0].pin.as_ref().expect("a pin").holder;
    let mut batch = Vec::new();
    Writer::new(&mut batch, 0).cgroup(holder.cgroup, &format!("/kubepods/burstable/pod{uid}/{id}"));
    Records::new(&batch).for_each(|event| drop(trace.take(event)));
    let record = record(&trace, Change::Opened(0)).expect("it is there");
    let of = |name: &str| attribute(&record.attributes, name);
    assert_eq!(of("container.id").as_deref(), Some(id));
    assert_eq!(of("k8s.pod.uid").as_deref(), Some(uid));
    assert_eq!(of("cowtrace.k8s.pod.qos").as_deref(), Some("Burstable"));
}

#[test]
fn what_is_given_for_all_stands_in_place_of_our_own() {
    let (trace, records, _) = replayed("lost-5.10.cow");
    let extra = extra("k8s.node.name=n1, host.name = other,nonsense,=x");
    let resource = sent(&trace, records, &extra).resource.expect("a resource");
    let of = |name: &str| attribute(&resource.attributes, name);
    assert_eq!(of("service.name").as_deref(), Some("cowtrace"));
    assert_eq!(of("k8s.node.name").as_deref(), Some("n1"));
    assert_eq!(of("host.name").as_deref(), Some("other"));
    assert_eq!(resource.attributes.iter().filter(|pair| pair.key == "host.name").count(), 1);
}

#[test]
fn nothing_is_sent_where_nothing_has_changed() {
    let (trace, _, _) = replayed("lost-5.10.cow");
    assert_eq!(logs(&trace, Vec::new(), &Extra::new()), None);
}

#[test]
fn metrics_have_the_names_and_values_that_prometheus_sees() {
    let (trace, _, metrics) = replayed("lost-5.10.cow");
    let families = metrics.families(&trace, &Own::default());
    let bytes = super::metrics(&trace, &families, 7, &Extra::new());
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("a request");
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(metrics.len(), families.iter().filter(|family| !family.points.is_empty()).count());
    let of = |name: &str| -> &Metric {
        metrics.iter().find(|metric| metric.name == name).expect("it is there")
    };
    let Some(Data::Sum(found)) = &of("cowtrace_findings").data else { panic!("no sum") };
    assert!(found.is_monotonic);
    let lost = found.data_points.iter().find(|point| {
        attribute(&point.attributes, "cause").as_deref() == Some("mprotect")
            && attribute(&point.attributes, "verdict").as_deref() == Some("lost")
    });
    assert_eq!(lost.map(|point| point.time_unix_nano), Some(7));
    let cpu = of("process_cpu");
    assert_eq!(cpu.unit, "s");
}
