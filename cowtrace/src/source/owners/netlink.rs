//! Lists that the kernel gives over netlink, and the attributes in them. Nobody needs a capability to ask for them.
//!
//! Promise: any bytes parse to messages and attributes, or end the list.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// Length, kind, flags, sequence number, port.
const HEADER: usize = 16;
/// Kind of the last message, and of one that says why there are none.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// A list that is longer is cut: a bound on memory.
const LONGEST: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(1);

/// RDMA devices and what they have.
pub const RDMA: Protocol = netlink::RDMA;
/// Sockets.
pub const SOCKETS: Protocol = netlink::SOCK_DIAG;

/// All messages that answer a question, whose body is given, one behind the other.
pub fn list(protocol: Protocol, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let (family, form) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, form, SocketFlags::CLOEXEC, Some(protocol))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(&socket, &question(kind, body), SendFlags::empty())?;
    receive(&socket)
}

fn question(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = (HEADER + body.len()) as u32;
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend([kind, REQUEST | DUMP].map(u16::to_le_bytes).as_flattened());
    bytes.extend([0; 8]);
    bytes.extend_from_slice(body);
    bytes
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut piece = vec![0; 64 << 10];
    while all.len() < LONGEST {
        let (read, _) = recv(socket, &mut piece[..], RecvFlags::empty())?;
        let batch = piece.get(..read).unwrap_or_default();
        let kinds: Vec<u16> = messages(batch).map(|(kind, _)| kind).collect();
        if kinds.contains(&ERROR) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        all.extend_from_slice(batch);
        if kinds.is_empty() || kinds.contains(&DONE) {
            break;
        }
    }
    Ok(all)
}

/// The messages in a list: kinds and bodies.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_le_bytes(*rest.get(4..)?.first_chunk()?);
        let body = rest.get(HEADER..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes in a body: kinds, without the bits that say that others are in them, and values.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const KIND: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
        let kind = u16::from_le_bytes(*rest.get(2..)?.first_chunk()?) & KIND;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number's attribute, as a question has it.
pub fn attribute(kind: u16, value: u32) -> Vec<u8> {
    let head = [8, kind].map(u16::to_le_bytes);
    [head.as_flattened(), &value.to_le_bytes()].concat()
}

/// The first four bytes of a value.
pub fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The first eight.
pub fn long(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message around a body.
    pub fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = question(kind, body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// An attribute around a value.
    pub fn around(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = (4 + value.len()) as u16;
        let mut bytes = [[len, kind].map(u16::to_le_bytes).as_flattened(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn what_is_cut_ends_the_list() {
        let both = [message(20, b"abc"), message(21, b"")].concat();
        let all: Vec<_> = messages(&both).collect();
        assert_eq!(all, [(20, &b"abc"[..]), (21, b"")]);
        assert_eq!(messages(&both[..18]).count(), 0);
        let inner = [around(1 | 0x8000, b"12345"), around(2, b"")].concat();
        assert_eq!(attributes(&inner).collect::<Vec<_>>(), [(1, &b"12345"[..]), (2, b"")]);
        assert_eq!(attributes(&[0; 8]).count(), 0, "no length stands still");
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
