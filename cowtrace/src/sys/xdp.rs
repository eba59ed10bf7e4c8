//! Frames sent out of the umem of an AF_XDP socket, and seen where they arrive.
//!
//! Promise: the socket only sends, so the kernel reads the umem through its pin and writes nothing to it.
//!
//! Surprise: that takes no XDP program, but a ring for each direction in which buffers go back and forth. Their
//! entries are never taken out, so there is one for each frame that will ever be sent.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::Ordering,
    time::Duration,
};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, eth, send, socket_with,
    sockopt::{self, Timeout},
    xdp::{SocketAddrXdp, SocketAddrXdpFlags},
};

use super::{Region, words};

/// Sends frames of a umem's memory.
#[derive(Debug)]
pub struct XdpSender {
    ring: Region,
    /// Where in it are how many frames were put in, and the first one's description.
    producer: usize,
    entries: usize,
    /// How many descriptions there is room for.
    room: u32,
}

impl XdpSender {
    /// Ties a socket with a umem to a network device, to send so many frames at most.
    ///
    /// Fails with `ENOENT` where there is no such device, with `ENETDOWN` where it is down.
    pub fn bind(umem: &OwnedFd, device: &str, frames: usize) -> io::Result<Self> {
        const ENTRY_BYTES: usize = 16;
        const RING_AT: i64 = 0x8000_0000;
        let room = frames.next_power_of_two() as u32;
        sockopt::set_xdp_umem_fill_ring_size(umem, room)?;
        sockopt::set_xdp_umem_completion_ring_size(umem, room)?;
        sockopt::set_xdp_tx_ring_size(umem, room)?;
        let places = sockopt::xdp_mmap_offsets(umem)?.tx;
        let (producer, entries) = (places.producer as usize, places.desc as usize);
        let bytes = entries + room as usize * ENTRY_BYTES;
        let ring = Region::shared(umem.as_fd(), RING_AT, bytes)?;
        let index = index_of(device)?;
        // As every driver can; a queue is there in each.
        bind(umem, &SocketAddrXdp::new(SocketAddrXdpFlags::XDP_COPY, index, 0))?;
        Ok(Self { ring, producer, entries, room })
    }

    /// Sends `bytes` from `offset` in the umem on: a frame, its header first.
    pub fn send(&self, umem: &OwnedFd, offset: u64, bytes: u32) -> io::Result<()> {
        const ENTRY_WORDS: usize = 4;
        let producer = self.ring.word(self.producer);
        let index = producer.load(Ordering::Relaxed);
        let start = self.entries + (index & (self.room - 1)) as usize * ENTRY_WORDS * 4;
        let [low, high] = words(offset);
        for (place, word) in (start..).step_by(4).zip([low, high, bytes, 0]) {
            self.ring.word(place).store(word, Ordering::Relaxed);
        }
        producer.store(index.wrapping_add(1), Ordering::Release);
        // No data: it tells the kernel to look at the ring.
        send(umem, &[], SendFlags::DONTWAIT).map(drop).map_err(io::Error::from)
    }
}

/// A network device's number, from its folder: a socket of this kind answers no such question.
fn index_of(device: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{device}/ifindex"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// All frames that arrive at this machine's network devices, from its making on.
#[derive(Debug)]
pub struct Frames(File);

impl Frames {
    /// Listens. A frame that does not come is waited for until `patience` ends.
    pub fn listen(patience: Duration) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ALL))?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
        Ok(Self(socket.into()))
    }

    /// The next frame that has as many bytes.
    ///
    /// Fails with `EAGAIN` when there is none in time.
    pub fn next(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        loop {
            let mut frame = vec![0; bytes + 1];
            if self.0.read(&mut frame)? == bytes {
                frame.truncate(bytes);
                return Ok(frame);
            }
        }
    }
}
