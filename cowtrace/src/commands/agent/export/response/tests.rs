use super::*;

/// Gives a few bytes at a time, and fails where a connection would.
struct Slow<'a>(&'a [u8], io::ErrorKind);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(3);
        match self.0.read(&mut into[..length])? {
            0 => Err(self.1.into()),
            read => Ok(read),
        }
    }
}

fn body(headers: &str, body: &str) -> String {
    let bytes = format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    let mut slow = Slow(bytes.as_bytes(), io::ErrorKind::TimedOut);
    let one_by_one = read(&mut slow).expect("a response");
    let at_once = read(&mut bytes.as_bytes()).expect("a response");
    assert_eq!(one_by_one, at_once);
    String::from_utf8(at_once.body).expect("text")
}

#[test]
fn a_body_is_read_however_it_is_framed() {
    assert_eq!(body("content-length: 4\r\n", "body"), "body");
    assert_eq!(body("", "body"), "body");
    assert_eq!(
        body("Transfer-Encoding: chunked\r\n", "2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\n\r\n"),
        "body"
    );
}

#[test]
fn a_body_that_is_cut_or_none_is_no_error() {
    assert_eq!(body("Content-Length: 9\r\n", "body"), "body");
    assert_eq!(body("Transfer-Encoding: chunked\r\n", "2\r\nbo\r\n9\r\ndy"), "bo");
    assert_eq!(body("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nbody"), "");
    assert_eq!(body("Transfer-Encoding: chunked\r\n", "body"), "");
    assert_eq!(body("Content-Length: 18446744073709551615\r\n", ""), "");
}

#[test]
fn what_is_read_has_an_end() {
    let head: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    let response = read(&mut head.chain(io::repeat(b'x'))).expect("a response");
    assert_eq!(response.body.len() as u64, LONGEST - head.len() as u64);
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nX: ";
    assert!(read(&mut head.chain(io::repeat(b'x'))).is_err());
}

#[test]
fn a_wait_is_read_in_seconds_and_a_date_is_not() {
    let wait = |headers: &str| {
        let bytes = format!("HTTP/1.1 503 Busy\r\n{headers}\r\n");
        read(&mut bytes.as_bytes()).expect("a response").retry_after
    };
    assert_eq!(wait("retry-after: 7 \r\n"), Some(Duration::from_secs(7)));
    for none in ["", "Retry-After: -1\r\n", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"] {
        assert_eq!(wait(none), None);
    }
}

#[test]
fn half_a_head_is_no_response() {
    assert!(read(&mut &b"HTTP/1.1 200 OK\r\nContent-"[..]).is_err());
    assert!(read(&mut &b""[..]).is_err());
}
