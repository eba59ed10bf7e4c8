//! What pins may belong to, as its process or the kernel lists it.

use super::{Range, files, rdma, uring, vfio, xdp};
use crate::{owner::Kind, privileges::opener::Opener};

/// Something that pins may belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// In words, behind the sort's own.
    pub name: String,
    /// The process whose name it is; 0: everybody's.
    pub scope: u32,
    /// Which ranges it fits.
    pub span: Span,
    /// Those of the same first number were made in the order of the second; none: nobody knows.
    pub order: Option<(u64, u64)>,
    /// Whether all of its name is known already.
    pub is_whole: bool,
}

/// Which ranges a candidate fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// Any: it has many.
    #[default]
    Any,
    /// That of this address and so many bytes.
    At(u64, u64),
    /// One of so many bytes, wherever it begins.
    Bytes(u64),
}

/// A range as candidates are looked for: its first address, where that is told, and its pages.
pub type Key = (Option<u64>, u64);

impl Span {
    /// The ranges that it fits; none: any.
    pub fn keys(self) -> Option<Vec<Key>> {
        match self {
            Self::Any => None,
            Self::At(address, bytes) => {
                let start = address & !0xfff;
                let end = address.saturating_add(bytes);
                Some(vec![(Some(start), end.saturating_sub(start).div_ceil(4096))])
            }
            // It may begin within a page, and then reaches into one more.
            Self::Bytes(bytes) => {
                let pages = bytes.div_ceil(4096);
                Some(vec![(None, pages), (None, pages.saturating_add(1))])
            }
        }
    }
}

/// A process, and what its descriptors are of.
pub struct Process<'a> {
    opener: &'a Opener,
    pub tgid: u32,
    descriptors: Vec<(u32, String)>,
}

impl<'a> Process<'a> {
    /// One that is there.
    pub fn open(tgid: u32, opener: &'a Opener) -> Option<Self> {
        let descriptors = opener.descriptors(tgid).ok()?;
        Some(Self { opener, tgid, descriptors })
    }

    /// Descriptors whose link begins so, with the rest of it.
    pub fn with<'s>(&'s self, start: &'s str) -> impl Iterator<Item = (u32, &'s str)> {
        let all = self.descriptors.iter();
        all.filter_map(move |(fd, link)| Some((*fd, link.strip_prefix(start)?)))
    }

    /// What the kernel says of a descriptor; nothing of one that is gone.
    pub fn fdinfo(&self, fd: u32) -> String {
        self.opener.fdinfo(self.tgid, fd).unwrap_or_default()
    }
}

/// All that ranges of a process, which are of one sort, may belong to.
pub fn candidates(process: &Process, ranges: &[Range]) -> Vec<Candidate> {
    let Some(first) = ranges.first() else { return Vec::new() };
    match first.kind {
        Kind::IoUring => uring::buffers(process),
        Kind::IoUringRing => uring::rings(process),
        Kind::Vfio => vfio::containers(process),
        Kind::Iommufd => vfio::iommufds(process),
        Kind::Rdma => {
            // Some kernels name the thread that registered.
            let tids = ranges.iter().map(|range| range.tid);
            rdma::candidates(&tids.chain([process.tgid]).collect::<Vec<_>>())
        }
        Kind::Xdp => xdp::umems(process),
        Kind::Vhost => files::devices(process, "/dev/vhost-"),
        Kind::Video => files::devices(process, "/dev/video"),
        Kind::Udmabuf => files::udmabufs(process),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_fits_the_pages_that_it_touches() {
        assert_eq!(Span::At(0x1000, 4096).keys(), Some(vec![(Some(0x1000), 1)]));
        assert_eq!(Span::At(0x1ff0, 0x20).keys(), Some(vec![(Some(0x1000), 2)]));
        assert_eq!(Span::At(u64::MAX, u64::MAX).keys(), Some(vec![(Some(!0xfff), 1)]));
        assert_eq!(Span::Bytes(4097).keys(), Some(vec![(None, 2), (None, 3)]));
        assert_eq!(Span::Any.keys(), None);
    }
}
