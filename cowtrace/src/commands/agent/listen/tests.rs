use super::*;

/// What a request is answered, by a loop that tells what it was asked for.
async fn asked(request: &[u8]) -> String {
    let (ask, mut asked) = mpsc::channel::<Request>(1);
    let (mut client, server) = tokio::io::duplex(HEAD * 4);
    tokio::spawn(async move {
        while let Some(Request { page, reply }) = asked.recv().await {
            let _ = reply.send(format!("{page:?}\n"));
        }
    });
    let talk = tokio::spawn(talk(server, ask));
    client.write_all(request).await.expect("it fits");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("it ends");
    talk.await.expect("no panic").expect("it was answered");
    answer
}

#[tokio::test]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let plain = asked(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
    assert!(plain.ends_with("\r\n\r\nMetrics(Text)\n"), "{plain}");
    let accept = b"GET /metrics?x=y HTTP/1.1\r\naccept: application/openmetrics-text\r\n\r\n";
    let open = asked(accept).await;
    assert!(open.contains("Content-Type: application/openmetrics-text; version=1.0.0"));
    assert!(open.ends_with("Metrics(OpenMetrics)\n"), "{open}");
}

#[tokio::test]
async fn a_head_is_answered_without_a_body() {
    let answer = asked(b"HEAD /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("Content-Length: 7\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_is_no_question_is_answered_by_a_status() {
    let statuses: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        (b"\x16\x03\x01 a TLS client\r\n\r\n", "400"),
        (&[b'a'; HEAD + 1], "431"),
    ];
    for (request, status) in statuses {
        let answer = asked(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_public_address_is_refused_unless_it_is_asked_for() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address = address.parse().expect("an address");
        let refused = Listener::bind(&address, false).expect_err("it is public");
        assert!(refused.to_string().contains("--listen-publicly"), "{refused}");
    }
    let any = "0.0.0.0:0".parse().expect("an address");
    assert!(Listener::bind(&any, true).is_ok());
    let own = "localhost:0".parse().expect("an address");
    assert!(Listener::bind(&own, false).is_ok_and(|own| own.address().contains("127.0.0.1:")));
}

#[tokio::test]
async fn a_socket_left_over_is_replaced_and_one_in_use_or_another_file_is_not() {
    let folder = std::env::temp_dir().join(format!("cowtrace-listen-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("s");
    let address = Address::Unix(path.clone());
    // As after a kill: the file is there, and nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("it is free"));
    let first = Listener::bind(&address, false).expect("nobody listens");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o660);
    assert!(Listener::bind(&address, false).is_err(), "the first listens");
    drop(first);
    assert!(!path.exists(), "it goes with the listener");
    fs::write(&path, "kept").expect("a file");
    assert!(Listener::bind(&address, false).is_err());
    assert_eq!(fs::read_to_string(&path).expect("it stays"), "kept");
    fs::remove_dir_all(&folder).expect("it was ours");
}

#[test]
fn an_address_is_a_port_of_an_address_or_a_path() {
    let unix = "unix:/run/x.sock".parse();
    assert_eq!(unix, Ok(Address::Unix("/run/x.sock".into())));
    assert!("9435".parse::<Address>().is_err_and(|error| error.contains("127.0.0.1:9435")));
    assert!("example.org:80".parse::<Address>().is_err());
}
