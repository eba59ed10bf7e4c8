use std::net::TcpListener;

use super::*;

/// A collector that answers each request with the next of some statuses, and tells the paths and bodies it got.
fn collector(statuses: &'static [u16]) -> (Endpoint, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let got = thread::spawn(move || {
        let answer = |status: &u16| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = request(&mut stream);
            let response = format!("HTTP/1.1 {status} Some Words\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(response.as_bytes()).expect("it listens");
            request
        };
        statuses.iter().map(answer).collect()
    });
    (format!("http://{address}/prefix/").parse().expect("an endpoint"), got)
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
    (Sending { endpoint, ends, counts, first_wait, is_away: false }, goes_on)
}

fn logs(body: &str) -> Request {
    Request { path: LOGS, body: body.into(), records: 3 }
}

#[test]
fn what_is_handed_in_is_sent_before_the_exporter_ends() {
    let (endpoint, got) = collector(&[200, 200]);
    let exporter = Exporter::start(endpoint).expect("a thread");
    exporter.send(LOGS, b"one".into(), 1);
    exporter.send(METRICS, b"two".into(), 1);
    drop(exporter);
    assert_eq!(got.join().expect("no panic"), ["/prefix/v1/logs one", "/prefix/v1/metrics two"]);
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (endpoint, got) = collector(&[503, 429, 200, 400]);
    let counts = Arc::default();
    let (mut sending, _goes_on) = sending(endpoint, &counts);
    let (queue, requests) = mpsc::sync_channel(2);
    queue.send(logs("taken")).expect("there is room");
    queue.send(logs("refused")).expect("there is room");
    drop(queue);
    sending.run(&requests);
    let got = got.join().expect("no panic");
    assert_eq!(got.iter().filter(|request| request.ends_with("taken")).count(), 3);
    assert_eq!(got.len(), 4);
    assert_eq!(
        (counts.sent.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed)),
        (3, 3)
    );
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
