//! Umems of AF_XDP sockets, as `ss --xdp` lists them. Those of other network namespaces are not listed.

use std::{collections::HashMap, fs};

use super::{
    candidate::{Candidate, Process, Span},
    netlink,
};

/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `struct xdp_diag_req`: AF_XDP; then what to show: `XDP_SHOW_INFO | XDP_SHOW_UMEM`.
const QUESTION: [u8; 20] = [44, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// `struct xdp_diag_msg`: family, inode and cookie.
const HEAD: usize = 16;
/// `XDP_DIAG_INFO`: device and queue that the socket is bound to; `XDP_DIAG_UMEM`.
const INFO: u16 = 1;
const UMEM: u16 = 5;

/// A socket with a umem.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    ino: u32,
    umem: u32,
    bytes: u64,
    /// Device and queue, once it is bound.
    bound: Option<(u32, u32)>,
}

/// The umems of a process's sockets.
pub fn umems(process: &Process) -> Vec<Candidate> {
    let inodes: HashMap<u32, u32> =
        process.with("socket:[").filter_map(|(fd, rest)| Some((inode(rest)?, fd))).collect();
    let found = netlink::list(netlink::SOCKETS, BY_FAMILY, &QUESTION).unwrap_or_default();
    let own = |socket: Socket| inodes.get(&socket.ino).map(|fd| (*fd, socket));
    let all = netlink::messages(&found).filter_map(|(_, body)| socket(body)).filter_map(own);
    all.map(|(fd, socket)| candidate(process.tgid, fd, &socket)).collect()
}

/// `1234]`
fn inode(rest: &str) -> Option<u32> {
    rest.strip_suffix(']')?.parse().ok()
}

fn socket(body: &[u8]) -> Option<Socket> {
    let ino = netlink::number(body.get(4..)?)?;
    let (mut umem, mut bound) = (None, None);
    for (kind, value) in netlink::attributes(body.get(HEAD..)?) {
        let number = |at: usize| value.get(at..).and_then(netlink::number);
        match kind {
            INFO => bound = number(0).zip(number(4)).filter(|(device, _)| *device != 0),
            UMEM => umem = netlink::long(value).zip(number(8)),
            _ => {}
        }
    }
    let (bytes, umem) = umem?;
    Some(Socket { ino, umem, bytes, bound })
}

fn candidate(tgid: u32, fd: u32, socket: &Socket) -> Candidate {
    let Socket { umem, bytes, bound, .. } = socket;
    let at = bound.map_or_else(
        || "not bound yet".to_owned(),
        |(device, queue)| format!("on {} queue {queue}", device_name(device)),
    );
    Candidate {
        name: format!("umem {umem} ({bytes} bytes) {at}, socket fd {fd}"),
        scope: tgid,
        span: Span::Bytes(*bytes),
        order: None,
        is_whole: bound.is_some(),
    }
}

/// A network device by its number.
fn device_name(index: u32) -> String {
    let is_it = |path: &std::path::Path| {
        let found = fs::read_to_string(path.join("ifindex")).unwrap_or_default();
        found.trim().parse() == Ok(index)
    };
    let all = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let found = all.map(|entry| entry.path()).find(|path| is_it(path));
    let name = found.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| format!("network device {index}"))
}

#[cfg(test)]
mod tests {
    use super::{netlink::tests::around, *};

    fn body(ifindex: u32) -> Vec<u8> {
        let info = [ifindex, 3].map(u32::to_le_bytes);
        let umem = [&8192_u64.to_le_bytes()[..], &[1, 0, 0, 0], &[0; 28]].concat();
        let head = [&[44, 3, 0, 0][..], &77_u32.to_le_bytes(), &[0; 8]].concat();
        [head, around(INFO, info.as_flattened()), around(UMEM, &umem)].concat()
    }

    #[test]
    fn a_umem_has_a_number_and_the_queue_that_its_socket_is_bound_to() {
        let bound = socket(&body(u32::MAX)).expect("one");
        let named = candidate(7, 4, &bound);
        let name = "umem 1 (8192 bytes) on network device 4294967295 queue 3, socket fd 4";
        assert_eq!((bound.ino, &*named.name, named.is_whole), (77, name, true));
        let free = candidate(7, 4, &socket(&body(0)).expect("one"));
        assert_eq!(
            (&*free.name, free.is_whole),
            ("umem 1 (8192 bytes) not bound yet, socket fd 4", false)
        );
    }

    #[test]
    fn a_socket_without_a_umem_or_with_half_of_one_is_passed_over() {
        assert_eq!(socket(&body(1)[..HEAD]), None);
        assert_eq!(socket(b"abc"), None);
        assert_eq!(inode("12]"), Some(12));
        assert_eq!(inode("12"), None);
    }
}
