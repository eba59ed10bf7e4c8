use std::{io::Read as _, net::TcpListener};

use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
};
use prost::Message as _;

use super::*;

/// A collector that answers each request with the next of some responses, and tells the paths and bodies it got.
fn collector(responses: Vec<Vec<u8>>) -> (Endpoint, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let got = thread::spawn(move || {
        let answer = |response: Vec<u8>| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = request(&mut stream);
            stream.write_all(&response).expect("it listens");
            request
        };
        responses.into_iter().map(answer).collect()
    });
    (format!("http://{address}/prefix/").parse().expect("an endpoint"), got)
}

fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Some Words\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn statuses(all: &[u16]) -> Vec<Vec<u8>> {
    all.iter().map(|status| response(*status, "", b"")).collect()
}

/// The response of a collector that rejects some log records.
fn rejects_logs(rejected_log_records: i64) -> Vec<u8> {
    let said =
        ExportLogsPartialSuccess { rejected_log_records, error_message: "too old".to_owned() };
    let body = ExportLogsServiceResponse { partial_success: Some(said) }.encode_to_vec();
    response(200, "", &body)
}

/// The same of data points.
fn rejects_points(rejected_data_points: i64) -> Vec<u8> {
    let said =
        ExportMetricsPartialSuccess { rejected_data_points, error_message: "too old".to_owned() };
    let body = ExportMetricsServiceResponse { partial_success: Some(said) }.encode_to_vec();
    response(200, "", &body)
}

/// The path and the body of a request.
fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 1024];
        let read = stream.read(&mut some).expect("a request");
        bytes.extend_from_slice(&some[..read]);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = request.parse(&bytes) else { continue };
        let length = request.headers.iter().find(|header| header.name == "Content-Length");
        let length = str::from_utf8(length.expect("a length").value).expect("digits");
        if bytes.len() == head + length.parse::<usize>().expect("a number") {
            let path = request.path.expect("a path");
            return format!("{path} {}", String::from_utf8_lossy(&bytes[head..]));
        }
    }
}

fn sending(endpoint: Endpoint, counts: &Arc<Counts>) -> (Sending, Sender<()>) {
    let (goes_on, ends) = mpsc::channel();
    let (counts, first_wait) = (Arc::clone(counts), Duration::from_millis(1));
    let rejects = BTreeSet::new();
    (Sending { endpoint, ends, counts, first_wait, is_away: false, rejects }, goes_on)
}

fn logs(body: &str) -> Request {
    Request { path: LOGS, body: body.into(), records: 3 }
}

fn metrics() -> Request {
    Request { path: METRICS, body: Vec::new(), records: 1 }
}

/// Sends requests, and counts what was sent and what was dropped; the requests that came, and the thread's side.
fn sent(responses: Vec<Vec<u8>>, all: Vec<Request>) -> ((u64, u64), Vec<String>, Sending) {
    let (endpoint, got) = collector(responses);
    let counts = Arc::default();
    let (mut sending, _goes_on) = sending(endpoint, &counts);
    let (queue, requests) = mpsc::sync_channel(all.len());
    for request in all {
        queue.send(request).expect("there is room");
    }
    drop(queue);
    sending.run(&requests);
    let counts = (counts.sent.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed));
    (counts, got.join().expect("no panic"), sending)
}

#[test]
fn what_is_handed_in_is_sent_before_the_exporter_ends() {
    let (endpoint, got) = collector(statuses(&[200, 200]));
    let exporter = Exporter::start(endpoint).expect("a thread");
    exporter.send(LOGS, b"one".into(), 1);
    exporter.send(METRICS, b"two".into(), 1);
    drop(exporter);
    assert_eq!(got.join().expect("no panic"), ["/prefix/v1/logs one", "/prefix/v1/metrics two"]);
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let responses = statuses(&[503, 429, 200, 400]);
    let (counts, got, _) = sent(responses, vec![logs("taken"), logs("refused")]);
    assert_eq!(got.iter().filter(|request| request.ends_with("taken")).count(), 3);
    assert_eq!(got.len(), 4);
    assert_eq!(counts, (3, 3));
}

#[test]
fn what_a_collector_rejects_of_what_it_takes_is_dropped_and_not_sent_again() {
    let (counts, got, _) =
        sent(vec![rejects_logs(2), response(200, "", b"")], vec![logs("in part"), logs("whole")]);
    assert_eq!(counts, (1 + 3, 2));
    assert_eq!(got, ["/prefix/v1/logs in part", "/prefix/v1/logs whole"]);
}

#[test]
fn a_report_of_metrics_is_dropped_if_any_point_of_it_is() {
    let (counts, ..) = sent(vec![rejects_points(7), rejects_points(0)], vec![metrics(), metrics()]);
    assert_eq!(counts, (1, 1));
}

#[test]
fn a_collector_that_rejects_more_than_it_was_given_drops_no_more_than_that() {
    let (counts, ..) = sent(vec![rejects_logs(i64::MAX)], vec![logs("all")]);
    assert_eq!(counts, (0, 3));
}

#[test]
fn what_is_rejected_is_told_until_a_request_to_the_same_path_is_taken_whole() {
    let told = |responses, all| sent(responses, all).2.rejects.into_iter().collect::<Vec<_>>();
    let both = || vec![logs("in part"), metrics()];
    assert_eq!(told(vec![rejects_logs(1), rejects_points(0)], both()), [LOGS]);
    assert_eq!(told(vec![rejects_logs(1), rejects_logs(0)], vec![logs("a"), logs("b")]), [""; 0]);
}

#[test]
fn a_collector_is_asked_again_when_it_wants_to_be_but_not_in_an_hour() {
    for (status, wanted) in [(429, Some(7)), (503, Some(7)), (400, None)] {
        let (endpoint, got) = collector(vec![response(status, "Retry-After: 7\r\n", b"")]);
        let asked = match post(&endpoint, &logs("")) {
            Said::Later(_, asked) => asked,
            Said::Taken(_) | Said::Refused(_) => None,
        };
        assert_eq!(asked, wanted.map(Duration::from_secs), "{status}");
        got.join().expect("no panic");
    }
    let [second, minute] = [1, 60].map(Duration::from_secs);
    assert_eq!(pause(second, None), second);
    assert_eq!(pause(second, Some(2 * second)), 2 * second);
    assert_eq!(pause(2 * second, Some(second)), 2 * second);
    assert_eq!(pause(second, Some(60 * minute)), LONGEST);
}

#[test]
fn nobody_waits_for_a_collector_that_is_not_there() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let endpoint = format!("http://{}", address.expect("an address")).parse().expect("an endpoint");
    let exporter = Exporter::start(endpoint).expect("a thread");
    for _ in 0..WAITING + 10 {
        exporter.send(LOGS, Vec::new(), 1);
    }
    assert!(exporter.exported().dropped >= 9, "one is being sent, and so many have room");
    let counts = Arc::clone(&exporter.counts);
    drop(exporter);
    assert_eq!(counts.dropped.load(Ordering::Relaxed), WAITING as u64 + 10);
}

#[test]
fn an_endpoint_is_an_address_without_tls() {
    let parsed = |text: &str| text.parse::<Endpoint>();
    let address = |text: &str| parsed(text).map(|endpoint| endpoint.address.to_string());
    assert_eq!(address("http://localhost").as_deref(), Ok("127.0.0.1:4318"));
    assert_eq!(address("http://[::1]:80/x/").as_deref(), Ok("[::1]:80"));
    assert_eq!(
        parsed("http://127.0.0.1:1/x/").map(|endpoint| endpoint.prefix),
        Ok("/x".to_owned())
    );
    assert!(parsed("https://127.0.0.1").is_err_and(|error| error.contains("TLS")));
    assert!(parsed("http://collector:4318").is_err_and(|error| error.contains("not resolved")));
}
