//! One reliable queue pair of a soft-RoCE device (rxe), connected to itself: it writes to memory regions of the same
//! process as a remote peer would, by RDMA WRITE.
//!
//! Promise: one write at a time, its data inside the request, so that no other memory is registered for it.
//!
//! Surprise: the rings are rxe's own (include/uapi/rdma/rdma_user_rxe.h) and of no other driver. They are the same
//! from 5.10 to 7.3: what was moved about in a request left its size and these fields where they were.

use std::{fs, io};

use super::{
    MemoryRegion, REMOTE_WRITE, Verbs, ask,
    ring::{Place, Ring},
    tell,
};
use crate::sys::words;

const CREATE_CQ: u32 = 18;
const CREATE_QP: u32 = 24;
const MODIFY_QP: u32 = 26;
const POST_SEND: u32 = 28;

const PORT: u8 = 1;

/// The queue pair, and the rings that it shares with the kernel.
#[derive(Debug)]
pub struct Loopback {
    handle: u32,
    requests: Ring,
    completions: Ring,
}

impl Loopback {
    /// The most bytes of one write: what a request carries on every kernel.
    pub const MOST_BYTES: usize = 256;

    /// Whether a device is soft-RoCE: no other driver has this file.
    pub fn is_possible(device: &str) -> bool {
        fs::exists(format!("/sys/class/infiniband/{device}/parent")).unwrap_or(false)
    }

    /// A queue pair of `device`, which `verbs` opened.
    pub fn new(verbs: &Verbs, device: &str) -> io::Result<Self> {
        const NO_CHANNEL: u32 = u32::MAX;
        let (address, index) = own_address(device)?;
        let body = [0, 0, 1, 0, NO_CHANNEL, 0];
        let [queue, _entries, ring @ ..]: [u32; 6] = ask(&verbs.device, CREATE_CQ, &body)?;
        let completions = Ring::map(verbs, ring)?;
        let (pair, ring) = create_pair(verbs, queue)?;
        let requests = Ring::map(verbs, ring)?;
        for state in [State::Init, State::ReadyToReceive, State::ReadyToSend] {
            tell(&verbs.device, MODIFY_QP, &transition(pair, state, address, index))?;
        }
        Ok(Self { handle: pair.handle, requests, completions })
    }

    /// Starts to write `bytes` to a place in a region, by the address that this had when it was registered.
    pub fn start_write(
        &self,
        verbs: &Verbs,
        bytes: &[u8],
        region: MemoryRegion,
        address: u64,
    ) -> io::Result<()> {
        // The command only rings the bell: no request in it, but the size that one would have.
        const REQUEST_BYTES: u32 = 64;
        self.requests.push(&write_request(bytes, region, address));
        let [_bad]: [u32; 1] = ask(&verbs.device, POST_SEND, &[self.handle, 0, 0, REQUEST_BYTES])?;
        Ok(())
    }

    /// The status of a write that is complete, once; 0 is success.
    pub fn completed(&self) -> Option<u32> {
        self.completions.pop_status()
    }
}

/// A queue pair by its two names: the process's, and the one on the wire.
#[derive(Clone, Copy)]
struct Pair {
    handle: u32,
    number: u32,
}

/// The pair, and where its ring of requests is. The one of receives, told before it, stays unused.
fn create_pair(verbs: &Verbs, completions: u32) -> io::Result<(Pair, Place)> {
    const RELIABLE: u32 = 2;
    let (entries, pieces) = (1, 1);
    let body = [
        [0, 0, verbs.domain, completions],
        [completions, 0, entries, entries],
        [pieces, pieces, Loopback::MOST_BYTES as u32, RELIABLE << 8],
    ];
    let answer: [u32; 16] = ask(&verbs.device, CREATE_QP, body.as_flattened())?;
    let [handle, number, ..] = answer;
    let [.., low, high, bytes, rest] = answer;
    Ok((Pair { handle, number }, [low, high, bytes, rest]))
}

/// The states on the way to a connection.
#[derive(Clone, Copy)]
enum State {
    Init = 1,
    ReadyToReceive = 2,
    ReadyToSend = 3,
}

impl State {
    /// Which fields count in a transition to it (`enum ib_qp_attr_mask`).
    fn fields(self) -> u32 {
        let bits: &[u32] = match self {
            // State, access flags, partition, port.
            Self::Init => &[0, 3, 4, 5],
            // State, address, MTU, first number of a packet, RNR timer, atomics, the other's number.
            Self::ReadyToReceive => &[0, 7, 8, 12, 15, 17, 20],
            // State, time-out, retries, RNR retries, atomics, first number of a packet.
            Self::ReadyToSend => &[0, 9, 10, 11, 13, 16],
        };
        bits.iter().map(|bit| 1 << bit).sum()
    }
}

/// `struct ib_uverbs_modify_qp`: the pair is its own peer, and `address` its own.
fn transition(pair: Pair, state: State, address: [u8; 16], index: u8) -> [u32; 28] {
    const HOPS: u8 = 1;
    const IS_GLOBAL: u8 = 1;
    const MTU_1024: u8 = 3;
    const TIMEOUT: u8 = 14; // 4.096 us * 2^14
    const RETRIES: u8 = 7;
    const TIMER: u8 = 12;
    let mut body = [0; 28];
    for (word, bytes) in body.iter_mut().zip(address.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    body[6] = u32::from_le_bytes([index, HOPS, 0, 0]);
    body[7] = u32::from_le_bytes([0, 0, IS_GLOBAL, PORT]);
    body[16..18].copy_from_slice(&[pair.handle, state.fields()]);
    body[21..23].copy_from_slice(&[pair.number, REMOTE_WRITE]);
    body[24] = u32::from_le_bytes([state as u8, 0, MTU_1024, 0]);
    body[25] = u32::from_le_bytes([0, 1, 1, TIMER]);
    body[26] = u32::from_le_bytes([PORT, TIMEOUT, RETRIES, RETRIES]);
    body
}

/// An address of the device's port, and its index: one of IPv4 where there is one, since the network device may have
/// no address of IPv6.
fn own_address(device: &str) -> io::Result<([u8; 16], u8)> {
    let read = |index: u8| {
        let file = format!("/sys/class/infiniband/{device}/ports/{PORT}/gids/{index}");
        Some((parse_address(&fs::read_to_string(file).ok()?)?, index))
    };
    let all: Vec<_> = (0..16).filter_map(read).filter(|(address, _)| *address != [0; 16]).collect();
    let is_ipv4 =
        |(address, _): &&([u8; 16], u8)| address[..10] == [0; 10] && address[10..12] == [0xff; 2];
    let found = all.iter().find(is_ipv4).or(all.first());
    found.copied().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Eight groups of four digits.
fn parse_address(text: &str) -> Option<[u8; 16]> {
    let address: std::net::Ipv6Addr = text.trim().parse().ok()?;
    Some(address.octets())
}

/// `struct rxe_send_wqe` with the data in it.
fn write_request(bytes: &[u8], region: MemoryRegion, address: u64) -> Vec<u32> {
    const RDMA_WRITE: u32 = 0;
    const SIGNALLED: u32 = 1 << 1;
    const INLINE: u32 = 1 << 3;
    const DATA: usize = 52;
    let mut request = vec![0; DATA];
    request[3..5].copy_from_slice(&[RDMA_WRITE, SIGNALLED | INLINE]);
    request[6..8].copy_from_slice(&words(address));
    request[8] = region.remote_key;
    request[38..40].copy_from_slice(&words(address));
    let length = bytes.len() as u32;
    request[46..50].copy_from_slice(&[length, length, 0, 1]);
    request.extend(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_the_kernel_prints_it() {
        let lo = "0000:0000:0000:0000:0000:ffff:7f00:0001\n";
        let wanted = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
        assert_eq!(parse_address(lo), Some(wanted));
        assert_eq!(parse_address("fe80"), None);
    }

    #[test]
    fn a_request_carries_its_data_behind_its_fields() {
        let region = MemoryRegion { handle: 1, remote_key: 0x77 };
        let request = write_request(&[1, 2, 3, 4], region, 0x1_0000_2000);
        assert_eq!(request[6..9], [0x2000, 1, 0x77]);
        assert_eq!(request[52..], [0x0403_0201]);
    }

    #[test]
    fn each_state_is_entered_with_the_fields_that_the_kernel_demands() {
        assert_eq!(State::Init.fields(), 0x39);
        assert_eq!(State::ReadyToReceive.fields(), 0x12_9181);
        assert_eq!(State::ReadyToSend.fields(), 0x1_2e01);
    }
}
