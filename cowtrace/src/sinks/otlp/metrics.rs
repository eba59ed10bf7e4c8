//! Families of metrics as OpenTelemetry's messages: sums since the start, gauges and histograms.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};
use prost::Message as _;

use super::{Extra, clock, pair, resource, scope, string};
use crate::{
    facts::key,
    sinks::metrics::{Distribution, Family, Kind, Labels, Point, Unit, Value},
    trace::Trace,
};

/// When values were counted.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

/// A request with all families that have values.
pub fn metrics(trace: &Trace, families: &[Family], now: u64, extra: &Extra) -> Vec<u8> {
    let started = trace.facts.number(key::STARTED).unwrap_or(0).cast_unsigned();
    let span = Span { start: clock(trace, started), now };
    let told = families.iter().filter(|family| !family.points.is_empty());
    let scope_metrics = ScopeMetrics {
        scope: Some(scope()),
        metrics: told.map(|family| metric(family, span)).collect(),
        ..Default::default()
    };
    let of_host = ResourceMetrics {
        resource: Some(resource(trace, extra)),
        scope_metrics: vec![scope_metrics],
        ..Default::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![of_host] }.encode_to_vec()
}

fn metric(family: &Family, span: Span) -> Metric {
    let unit = family.unit.map_or("", Unit::name);
    let name = family.name.strip_suffix(unit).unwrap_or(family.name).trim_end_matches('_');
    let numbers = || family.points.iter().filter_map(|point| number(point, span)).collect();
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let data = match family.kind {
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality, is_monotonic: true })
        }
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: family.points.iter().filter_map(|point| histogram(point, span)).collect(),
            aggregation_temporality,
        }),
    };
    Metric {
        name: name.to_owned(),
        description: format!("{}.", family.help),
        // The case-sensitive codes of UCUM.
        unit: match family.unit {
            Some(Unit::Bytes) => "By",
            Some(Unit::Seconds) => "s",
            None => "",
        }
        .to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn number(point: &Point, span: Span) -> Option<NumberDataPoint> {
    let Value::Number(value) = point.value else { return None };
    Some(NumberDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    })
}

fn histogram(point: &Point, span: Span) -> Option<HistogramDataPoint> {
    let Value::Distribution(Distribution { buckets, count, sum }) = &point.value else {
        return None;
    };
    let below: u64 = buckets.iter().map(|(_, count)| count).sum();
    let counts = buckets.iter().map(|(_, count)| *count);
    Some(HistogramDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: *count,
        sum: Some(*sum),
        bucket_counts: counts.chain([count.saturating_sub(below)]).collect(),
        explicit_bounds: buckets.iter().map(|(bound, _)| *bound).collect(),
        ..Default::default()
    })
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| pair(name, string(value.as_str()))).collect()
}
