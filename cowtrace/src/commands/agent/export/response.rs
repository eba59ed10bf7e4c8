//! A collector's response: its status, when it wants to be asked again, and what it says of what it took.
//!
//! Promise: what is read is bounded, and a response whose head was read is one, whatever becomes of its body: the
//! status decides, and to send again what was taken would double it. Surprise: the end of the connection is
//! the end of a body in chunks; the request asks for that.

use std::{
    io::{self, Read},
    time::Duration,
};

use httparse::{Header, Status};

/// Bytes that a response may have.
const LONGEST: u64 = 64 << 10;

/// A response, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// How long to wait before the request is sent again. Where that is a date it is not read.
    pub retry_after: Option<Duration>,
    /// What it says. Only that of 200 is read: of no other does OTLP say that records were left out.
    pub body: Vec<u8>,
}

/// What of a head tells how to go on.
struct Head {
    length: usize,
    status: u16,
    retry_after: Option<Duration>,
    /// Bytes of the body; none where it has chunks or ends with the connection.
    body: Option<u64>,
    has_chunks: bool,
}

/// Reads one.
pub fn read(stream: &mut impl Read) -> io::Result<Response> {
    let mut stream = stream.take(LONGEST);
    let (mut bytes, mut some) = (Vec::new(), [0; 1024]);
    loop {
        let read = stream.read(&mut some)?;
        bytes.extend_from_slice(&some[..read]);
        if let Some(head) = head(&bytes)? {
            let Head { status, retry_after, .. } = head;
            let body = bytes.split_off(head.length);
            let body = if status == 200 { rest(&head, body, stream) } else { Vec::new() };
            return Ok(Response { status, retry_after, body });
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The head, once all of it is there.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(io::Error::other)?;
    let (Status::Complete(length), Some(status)) = (parsed, response.code) else { return Ok(None) };
    Ok(Some(Head {
        length,
        status,
        retry_after: number(response.headers, "Retry-After").map(Duration::from_secs),
        body: number(response.headers, "Content-Length"),
        has_chunks: value(response.headers, "Transfer-Encoding").is_some(),
    }))
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let named = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

fn number(headers: &[Header], name: &str) -> Option<u64> {
    str::from_utf8(value(headers, name)?).ok()?.trim().parse().ok()
}

/// The body, of which some came with the head.
fn rest(head: &Head, mut body: Vec<u8>, stream: impl Read) -> Vec<u8> {
    let length = head.body.filter(|_| !head.has_chunks).unwrap_or(LONGEST);
    let missing = length.saturating_sub(body.len() as u64);
    // An error leaves what came before it.
    let _ = stream.take(missing).read_to_end(&mut body);
    if head.has_chunks { joined(&body) } else { body }
}

/// What is in chunks, up to the last that is whole.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Status::Complete((start, length @ 1..))) = httparse::parse_chunk_size(chunks) {
        let chunk = chunks.get(start..).and_then(|rest| rest.split_at_checked(length as usize));
        let Some((chunk, rest)) = chunk else { break };
        body.extend_from_slice(chunk);
        chunks = rest.strip_prefix(b"\r\n").unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests;
