use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsPartialSuccess, metrics::v1::ExportMetricsPartialSuccess,
};

use super::*;

fn of_logs(rejected_log_records: i64, error_message: &str) -> Option<Rejected> {
    let said =
        ExportLogsPartialSuccess { rejected_log_records, error_message: error_message.into() };
    rejected_logs(&ExportLogsServiceResponse { partial_success: Some(said) }.encode_to_vec())
}

#[test]
fn a_collector_tells_how_much_it_threw_away_and_why() {
    let wanted = Rejected { count: 2, why: "too old".to_owned() };
    assert_eq!(of_logs(2, "too old").as_ref(), Some(&wanted));
    let said =
        ExportMetricsPartialSuccess { rejected_data_points: 2, error_message: "too old".into() };
    let answer = ExportMetricsServiceResponse { partial_success: Some(said) }.encode_to_vec();
    assert_eq!(rejected_metrics(&answer), Some(wanted));
}

#[test]
fn a_warning_and_an_answer_in_another_language_reject_nothing() {
    assert_eq!(of_logs(0, "slow down"), None);
    assert_eq!(of_logs(-1, "nonsense"), None);
    for answer in
        [&b""[..], br#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#, b"<html>", &[0xff; 9]]
    {
        assert_eq!(rejected_logs(answer), None);
        assert_eq!(rejected_metrics(answer), None);
    }
}

#[test]
fn what_a_collector_says_controls_no_terminal_and_fills_no_log() {
    let why = |said: &str| of_logs(1, said).expect("one").why;
    assert_eq!(why("too\x1b[2J\r\n old\u{9b}"), "too?[2J?? old?");
    assert_eq!(why("\n"), "it does not say why");
    assert_eq!(why(&"é".repeat(10_000)).chars().count(), LONGEST);
}
