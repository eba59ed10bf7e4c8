//! What a collector says of a request that it took: that it did not keep all of it.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
};
use prost::Message as _;

use crate::event::harmless;

/// Characters of a collector's reason that are passed on.
const LONGEST: usize = 300;

/// What a collector took and threw away.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejected {
    /// How many: log records, or data points.
    pub count: u64,
    /// Why, in its words.
    pub why: String,
}

/// What of log records was rejected. An answer that cannot be read rejects nothing: its status says that they were taken.
pub fn rejected_logs(answer: &[u8]) -> Option<Rejected> {
    let said = ExportLogsServiceResponse::decode(answer).ok()?.partial_success?;
    rejected(said.rejected_log_records, &said.error_message)
}

/// The same of metrics.
pub fn rejected_metrics(answer: &[u8]) -> Option<Rejected> {
    let said = ExportMetricsServiceResponse::decode(answer).ok()?.partial_success?;
    rejected(said.rejected_data_points, &said.error_message)
}

/// With a count of 0 the words are a warning, and nothing is gone.
fn rejected(count: i64, why: &str) -> Option<Rejected> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    // It ends up on a terminal or in a log.
    let why: String = why.trim().chars().map(harmless).take(LONGEST).collect();
    let why = if why.is_empty() { "it does not say why".to_owned() } else { why };
    Some(Rejected { count, why })
}

#[cfg(test)]
mod tests;
