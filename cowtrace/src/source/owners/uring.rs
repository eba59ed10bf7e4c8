//! io_uring: its registered buffers, and rings in the user's memory.

use super::candidate::{Candidate, Process, Span};
use crate::registered;

const LINK: &str = "anon_inode:[io_uring]";

/// The buffers that are registered with the rings of a process, as fdinfo lists them. While a ring is busy it may list
/// none (`io_uring_show_fdinfo` only tries to take its lock).
pub fn buffers(process: &Process) -> Vec<Candidate> {
    let of_ring = |(fd, _)| registered::user_bufs(fd, &process.fdinfo(fd));
    let all = process.with(LINK).flat_map(of_ring);
    all.map(|buffer| Candidate {
        name: format!("ring fd {}, buffer {}", buffer.fd, buffer.index),
        scope: process.tgid,
        span: Span::At(buffer.address, buffer.len),
        order: Some((buffer.fd.into(), buffer.index.into())),
        is_whole: true,
    })
    .collect()
}

/// The rings of a process.
pub fn rings(process: &Process) -> Vec<Candidate> {
    let ring = |(fd, _)| Candidate {
        name: format!("ring fd {fd}"),
        scope: process.tgid,
        is_whole: true,
        ..Candidate::default()
    };
    process.with(LINK).map(ring).collect()
}
