//! An AF_XDP socket with the pages as its umem. Tied to one end of a veth pair it sends them as frames, and what
//! comes out at the other end is compared with what the process sees; else it only pins.
//!
//! Surprise: it only reads, and unpins dirty all the same, some time after it was closed.

use std::{env, os::fd::OwnedFd, time::Duration};

use anyhow::Context as _;

use super::{Device, arrival};
use crate::{
    provoke::{outcome::Data, pages::Pages, skipped::skip_on},
    sys::{self, Frames, XdpSender},
};

/// How much of each page is sent: less than any network device's limit, and no length that other frames have.
const SENT: usize = 1234;
/// It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The socket, once it has the pages.
#[derive(Debug, Default)]
pub(super) struct Umem {
    /// The network device that sends.
    netdev: Option<String>,
    wire: Option<Wire>,
    socket: Option<OwnedFd>,
}

/// What goes in, and what comes out.
#[derive(Debug)]
struct Wire {
    sender: XdpSender,
    frames: Frames,
}

impl Umem {
    /// Sends through the device that was named, or else `$LAB_XDP`, or none.
    pub(super) fn new(named: Option<&str>) -> Self {
        let netdev = named.map(str::to_owned).or_else(|| env::var("LAB_XDP").ok());
        Self { netdev, ..Self::default() }
    }
}

impl Wire {
    fn tie(socket: &OwnedFd, netdev: &str, frames: usize) -> anyhow::Result<Self> {
        let sender = XdpSender::bind(socket, netdev, frames)
            .with_context(|| format!("cannot tie the umem to {netdev}"))?;
        let frames = Frames::listen(PATIENCE).context("cannot listen to network devices")?;
        Ok(Self { sender, frames })
    }

    fn send(&mut self, socket: &OwnedFd, pages: &Pages, offset: usize) -> anyhow::Result<Data> {
        self.sender.send(socket, offset as u64, SENT as u32).context("cannot send a frame")?;
        let frame = self.frames.next(SENT).context("the frame does not arrive")?;
        Ok(arrival(pages, offset, &frame))
    }
}

impl Device for Umem {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        let _ = sys::raise_memlock_limit(pages.mapping().bytes() as u64);
        let socket = sys::xdp_umem(pages.mapping())
            .map_err(skip_on(&[libc::EAFNOSUPPORT], "there is no AF_XDP here"))
            .context("cannot register a umem with AF_XDP")?;
        let tie = |netdev: &String| Wire::tie(&socket, netdev, pages.offsets().len());
        self.wire = self.netdev.as_ref().map(tie).transpose()?;
        self.socket = Some(socket);
        Ok(())
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        let (Some(wire), Some(socket)) = (&mut self.wire, &self.socket) else {
            return Ok(vec![Data::None; pages.offsets().len()]);
        };
        pages.offsets().iter().map(|&offset| wire.send(socket, pages, offset)).collect()
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
