//! Where metrics are asked for, and the little of HTTP that this takes: `GET`, one answer, the end.
//!
//! Not on a public address unless that is asked for: what a host's processes are called is not for everybody. Who
//! connects has ten seconds and eight KiB, and at most eight do at a time.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{errors, files, sinks::metrics::Form};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:9435`
    Tcp(SocketAddr),
    /// `unix:/run/cowtrace/metrics.sock`
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.replace("localhost:", "127.0.0.1:").parse();
        let wanted = "an address is wanted, as 127.0.0.1:9435 or unix:/run/cowtrace/metrics.sock";
        address.map(Self::Tcp).map_err(|_| wanted.to_owned())
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`
    Metrics(Form),
    /// `/healthz`: whether the loop goes round.
    Health,
}

/// A question to the loop that owns the trace.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub page: Page,
    /// Where the answer goes.
    pub reply: oneshot::Sender<String>,
}

/// An address that is listened on.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A socket in the file system, which goes with it.
    Unix(UnixListener, Socket),
}

/// The file of a socket. Dropped, it is gone.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Connections at a time; others wait.
const CONNECTIONS: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the head of its request may take: whoever connects and waits keeps nobody from asking how we are.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// The largest head of a request.
const HEAD: usize = 8 << 10;

impl Listener {
    /// Listens. A public address is refused, unless `publicly`.
    pub fn bind(address: &Address, publicly: bool) -> anyhow::Result<Self> {
        match address {
            Address::Tcp(address) if !publicly && !address.ip().is_loopback() => {
                Err(errors::public_address(address))
            }
            Address::Tcp(address) => {
                let bind = || {
                    let listener = std::net::TcpListener::bind(address)?;
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)
                };
                let listener = bind().map_err(|error| errors::listen(address, &error))?;
                Ok(Self::Tcp(listener))
            }
            Address::Unix(path) => {
                let bind = || {
                    files::refuse_open(path)?;
                    remove_left_over(path)?;
                    let listener = UnixListener::bind(path)?;
                    let socket = Socket(path.clone());
                    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                    Ok(Self::Unix(listener, socket))
                };
                bind().map_err(|error| errors::listen(&path.display(), &error))
            }
        }
    }

    /// The address in words; the port that was chosen where none was given.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(
                |error| error.to_string(),
                |address| format!("http://{address}/metrics"),
            ),
            Self::Unix(_, Socket(path)) => format!("unix:{} (GET /metrics)", path.display()),
        }
    }

    /// Takes connections for ever, and asks for what they want.
    pub async fn serve(self, ask: mpsc::Sender<Request>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let accepted = match &self {
                Self::Tcp(listener) => {
                    listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>)
                }
                Self::Unix(listener, _) => {
                    listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>)
                }
            };
            let Ok(stream) = accepted else {
                // Out of descriptors, most likely: it passes.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let ask = ask.clone();
            tokio::spawn(async move {
                // Who goes away or is too slow has no answer.
                let _ = timeout(PATIENCE, talk(stream, ask)).await;
                drop(slot);
            });
        }
    }
}

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A socket that nobody listens on any more is removed; anything else stays, and is in the way.
fn remove_left_over(path: &Path) -> io::Result<()> {
    let is_socket = |kind: fs::Metadata| kind.file_type().is_socket();
    let is_left_over = fs::symlink_metadata(path).is_ok_and(is_socket)
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_left_over { fs::remove_file(path) } else { Ok(()) }
}

/// Reads a request and answers it.
async fn talk(mut stream: impl Stream, ask: mpsc::Sender<Request>) -> io::Result<()> {
    let answer = match timeout(HEAD_PATIENCE, head(&mut stream)).await?? {
        Some(head) => answer(&head, &ask).await,
        None => Answer::words("431 Request Header Fields Too Large"),
    };
    stream.write_all(answer.head().as_bytes()).await?;
    if !answer.only_head {
        stream.write_all(answer.body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// The head of a request, with its empty line; none if it is too large or comes to no end.
async fn head(stream: &mut impl Stream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut some).await?;
        head.extend_from_slice(&some[..read]);
        if read == 0 || head.len() > HEAD {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

/// What goes back.
struct Answer {
    status: &'static str,
    media_type: &'static str,
    body: String,
    /// It was asked for with HEAD.
    only_head: bool,
}

impl Answer {
    /// The status is all there is to say.
    fn words(status: &'static str) -> Self {
        Self { status, media_type: "text/plain", body: format!("{status}\n"), only_head: false }
    }

    fn head(&self) -> String {
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.status,
            self.media_type,
            self.body.len()
        )
    }
}

async fn answer(head: &[u8], ask: &mpsc::Sender<Request>) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(head).is_err() {
        return Answer::words("400 Bad Request");
    }
    let method = request.method.unwrap_or_default();
    if !["GET", "HEAD"].contains(&method) {
        return Answer::words("405 Method Not Allowed");
    }
    let path = request.path.unwrap_or_default();
    let page = match path.split('?').next() {
        Some("/metrics") => Page::Metrics(Form::accepted(&accept(request.headers))),
        Some("/healthz") => Page::Health,
        _ => return Answer::words("404 Not Found"),
    };
    let (reply, answered) = oneshot::channel();
    let sent = ask.send(Request { page, reply }).await;
    let (Ok(()), Ok(body)) = (sent, answered.await) else {
        return Answer::words("503 Service Unavailable");
    };
    let media_type = match page {
        Page::Metrics(form) => form.media_type(),
        Page::Health => "text/plain",
    };
    Answer { status: "200 OK", media_type, body, only_head: method == "HEAD" }
}

fn accept(headers: &[httparse::Header]) -> String {
    let is_it = |header: &&httparse::Header| header.name.eq_ignore_ascii_case("accept");
    let values = headers.iter().filter(is_it).map(|header| String::from_utf8_lossy(header.value));
    values.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
