//! Sends requests to an OpenTelemetry collector, as OTLP over HTTP, from a thread of its own.
//!
//! Promise: whoever hands in a request never waits. A collector that is away or slow costs at most the requests that
//! the queue has no room for, and these are counted. Surprise: no TLS and no names, only an address: the collector is
//! on this host or in its pod, and a static binary cannot resolve names as its host does.

mod response;

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use self::response::Response;
use crate::sinks::{
    self,
    metrics::Exported,
    otlp::{self, Rejected},
};

/// Path of a request with log records.
pub const LOGS: &str = "/v1/logs";
/// Path of a request with metrics.
pub const METRICS: &str = "/v1/metrics";

/// Requests that wait.
const WAITING: usize = 64;
/// How long a collector may take for each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait before a request is sent again, whatever the collector asks for.
const LONGEST: Duration = Duration::from_secs(30);
/// How often one is sent: for about two minutes.
const TRIES: u32 = 8;

/// A collector's address, `http://127.0.0.1:4318`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: SocketAddr,
    /// What stands in front of the paths.
    prefix: String,
}

impl Endpoint {
    /// The collector's port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(
                "http://ADDRESS:PORT is wanted: a collector beside cowtrace, which does the TLS"
                    .to_owned(),
            );
        };
        let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.replace("localhost", "127.0.0.1");
        let with_port = host.parse().or_else(|_| format!("{host}:4318").parse());
        let address =
            with_port.map_err(|_| format!("no IP address: {host} (names are not resolved)"))?;
        Ok(Self { address, prefix: prefix.trim_end_matches('/').to_owned() })
    }
}

/// A request that waits.
struct Request {
    path: &'static str,
    body: Vec<u8>,
    records: u64,
}

/// What became of records.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// The thread. Dropped, it sends what waits as long as the collector takes it, and ends.
#[derive(Debug)]
pub struct Exporter {
    queue: Option<SyncSender<Request>>,
    /// Gone when it is to end: a thread that waits to try again wakes up.
    goes_on: Option<Sender<()>>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts it.
    pub fn start(endpoint: Endpoint) -> io::Result<Self> {
        let (queue, requests) = mpsc::sync_channel(WAITING);
        let (goes_on, ends) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let mut sending = Sending {
            endpoint,
            ends,
            counts: Arc::clone(&counts),
            first_wait: Duration::from_secs(1),
            is_away: false,
            rejects: BTreeSet::new(),
        };
        let thread = thread::Builder::new().name("exporter".to_owned());
        let thread = thread.spawn(move || sending.run(&requests))?;
        let (queue, goes_on) = (Some(queue), Some(goes_on));
        Ok(Self { queue, goes_on, counts, thread: Some(thread) })
    }

    /// Hands in a request with so many records. Where too many wait, it is dropped.
    pub fn send(&self, path: &'static str, body: Vec<u8>, records: u64) {
        let request = Request { path, body, records };
        let taken = self.queue.as_ref().is_some_and(|queue| queue.try_send(request).is_ok());
        if !taken {
            self.counts.dropped.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// What became of records so far.
    pub fn exported(&self) -> Exported {
        Exported {
            sent: self.counts.sent.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        (self.queue, self.goes_on) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a collector said.
enum Said {
    /// All of it was taken, or all but what it rejects.
    Taken(Option<Rejected>),
    /// Try again later, perhaps not before it wants to be asked.
    Later(String, Option<Duration>),
    /// It will never be taken.
    Refused(String),
}

/// The thread's side.
struct Sending {
    endpoint: Endpoint,
    ends: Receiver<()>,
    counts: Arc<Counts>,
    first_wait: Duration,
    /// The last request was not taken, and the user knows.
    is_away: bool,
    /// Paths whose last request was taken in part, and the user knows.
    rejects: BTreeSet<&'static str>,
}

impl Sending {
    fn run(&mut self, requests: &Receiver<Request>) {
        for request in requests {
            let has_ended = self.ends.try_recv() == Err(TryRecvError::Disconnected);
            // At the end each is tried once more, until the first that is not taken: 64 times nobody's answer is minutes.
            let sent = if has_ended && self.is_away { 0 } else { self.deliver(&request) };
            self.counts.sent.fetch_add(sent, Ordering::Relaxed);
            self.counts.dropped.fetch_add(request.records - sent, Ordering::Relaxed);
        }
    }

    /// Sends a request until it is taken or there is no point in trying on; how many of its records were taken.
    fn deliver(&mut self, request: &Request) -> u64 {
        let mut wait = self.first_wait;
        for _ in 0..TRIES {
            let asked = match post(&self.endpoint, request) {
                Said::Taken(rejected) => {
                    self.tell(None);
                    return self.taken(request, rejected);
                }
                Said::Refused(why) => {
                    self.tell(Some(&why));
                    return 0;
                }
                Said::Later(why, asked) => {
                    self.tell(Some(&why));
                    asked
                }
            };
            // A later report of metrics says more than this one.
            let gives_up = request.path == METRICS;
            let ended = || self.ends.recv_timeout(pause(wait, asked));
            if gives_up || ended() == Err(RecvTimeoutError::Disconnected) {
                return 0;
            }
            wait = (wait * 2).min(LONGEST);
        }
        0
    }

    /// How many records of a request were taken; says once that some were not. OTLP forbids to send these again.
    fn taken(&mut self, request: &Request, rejected: Option<Rejected>) -> u64 {
        let Some(Rejected { count, why }) = rejected else {
            self.rejects.remove(request.path);
            return request.records;
        };
        if self.rejects.insert(request.path) {
            let (address, what) = (self.endpoint.address, sinks::count(count, noun(request.path)));
            eprintln!(
                "cowtrace: the collector at {address} took a request and rejected {what} in it: {why}\n\
                 they are dropped and counted; its configuration says what it rejects; tracing goes on"
            );
        }
        // A report of metrics is one record: it counts as dropped if any of it is.
        request.records.saturating_sub(count)
    }

    /// Says once that the collector takes nothing, and once that it does again.
    fn tell(&mut self, why: Option<&str>) {
        let address = self.endpoint.address;
        match why {
            Some(why) if !self.is_away => {
                eprintln!(
                    "cowtrace: the collector at {address} takes nothing: {why}\n\
                     records wait, and what finds no more room is dropped and counted; tracing goes on"
                );
            }
            None if self.is_away => {
                eprintln!("cowtrace: the collector at {address} takes records again");
            }
            _ => {}
        }
        self.is_away = why.is_some();
    }
}

/// How long to wait: what the collector asks for, if that is more.
fn pause(wait: Duration, asked: Option<Duration>) -> Duration {
    wait.max(asked.unwrap_or_default()).min(LONGEST)
}

/// What is in requests to a path, one of it.
fn noun(path: &str) -> &'static str {
    if path == METRICS { "data point" } else { "log record" }
}

fn post(endpoint: &Endpoint, request: &Request) -> Said {
    let Response { status, retry_after, body } = match exchange(endpoint, request) {
        Ok(response) => response,
        Err(error) => return Said::Later(error.to_string(), None),
    };
    match status {
        200..=299 if request.path == METRICS => Said::Taken(otlp::rejected_metrics(&body)),
        200..=299 => Said::Taken(otlp::rejected_logs(&body)),
        // Those that OTLP calls retryable.
        429 | 502 | 503 | 504 => Said::Later(format!("status {status}"), retry_after),
        _ => Said::Refused(format!("status {status}")),
    }
}

/// Sends a request; what comes back.
fn exchange(endpoint: &Endpoint, request: &Request) -> io::Result<Response> {
    let Endpoint { address, prefix } = endpoint;
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {prefix}{} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: cowtrace/{}\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        request.path,
        env!("CARGO_PKG_VERSION"),
        request.body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&request.body)?;
    response::read(&mut stream)
}

#[cfg(test)]
mod tests;
