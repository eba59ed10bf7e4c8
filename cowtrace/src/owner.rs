//! Who a pin belongs to, as its users name it: a buffer of an io_uring, a memory region, a container of vfio.
//!
//! Promise: the functions that a pin was asked through decide of which sort its owner is, here and nowhere else. Which one
//! of that sort, the source looks up, and what it found then stays: a descriptor's number may soon be another's.

use std::fmt;

use crate::event::harmless;

/// Characters of a name: what is longer comes from somebody who wants it to be.
const LONGEST: usize = 256;

/// A sort of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A buffer registered with an io_uring.
    IoUring,
    /// A container of vfio.
    Vfio,
    /// An I/O address space of iommufd.
    Iommufd,
    /// A memory region of an RDMA device.
    Rdma,
    /// The umem of an AF_XDP socket.
    Xdp,
    /// A device of vhost.
    Vhost,
    /// A dma-buf made of a file's pages.
    Udmabuf,
    /// A device of Video4Linux.
    Video,
    /// An io_uring itself: its rings, or buffers that it provides, in the user's memory.
    IoUringRing,
}

impl Kind {
    /// All of them, by their number in a recording.
    pub const ALL: [Self; 9] = [
        Self::IoUring,
        Self::Vfio,
        Self::Iommufd,
        Self::Rdma,
        Self::Xdp,
        Self::Vhost,
        Self::Udmabuf,
        Self::Video,
        Self::IoUringRing,
    ];

    /// Its name in JSON, labels and filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring | Self::IoUringRing => "io_uring",
            Self::Vfio => "vfio",
            Self::Iommufd => "iommufd",
            Self::Rdma => "rdma",
            Self::Xdp => "af_xdp",
            Self::Vhost => "vhost",
            Self::Udmabuf => "udmabuf",
            Self::Video => "v4l2",
        }
    }

    /// The same in front of an owner's name.
    pub fn words(self) -> &'static str {
        match self {
            Self::Rdma => "RDMA",
            Self::Xdp => "AF_XDP",
            Self::Video => "V4L2",
            kind => kind.name(),
        }
    }

    /// The sort that pins through these kernel functions, if they tell.
    pub fn of_functions<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let best = names.into_iter().filter_map(Telling::of).min();
        best.map(Telling::kind)
    }
}

/// A row of [`BY_FUNCTION`]; of several the first decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Telling(usize);

impl Telling {
    /// What a function tells by its name.
    pub fn of(function: &str) -> Option<Self> {
        BY_FUNCTION.iter().position(|(start, _)| function.starts_with(start)).map(Self)
    }

    /// The sort of owner.
    pub fn kind(self) -> Kind {
        BY_FUNCTION[self.0].1
    }
}

/// How functions begin that pin for a sort of owner, what is particular first.
const BY_FUNCTION: &[(&str, Kind)] = &[
    ("io_sqe_buffer", Kind::IoUring),
    ("io_pin_p", Kind::IoUringRing), // io_pin_pages, io_pin_pbuf_ring
    ("io_register_pbuf_ring", Kind::IoUringRing),
    ("__io_uaddr_map", Kind::IoUringRing), // Rings in the user's memory, 6.5 to 6.13.
    ("io_create_region", Kind::IoUringRing), // The same from 6.14 on.
    ("io_import_umem", Kind::IoUringRing),
    ("vfio_pin_", Kind::Vfio),
    ("vaddr_get_pfn", Kind::Vfio),
    ("vfio_iommu_type1_", Kind::Vfio),
    ("pfn_reader_", Kind::Iommufd),
    ("iopt_", Kind::Iommufd),
    ("iommufd_", Kind::Iommufd),
    ("ib_umem_", Kind::Rdma),
    ("__ib_umem_", Kind::Rdma),
    ("xdp_umem_", Kind::Xdp),
    ("vhost_", Kind::Vhost),
    ("udmabuf_", Kind::Udmabuf),
    ("vb2_", Kind::Video),
    ("get_vaddr_frames", Kind::Video),
];

/// How sure it is which one of its sort it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The only one that fits.
    Sure,
    /// So many fit: the name lists some of them.
    OneOf(u32),
    /// Its process was gone, or the trace ended, before it was looked up.
    TooLate,
    /// It was looked up, and none fits.
    Nowhere,
}

/// An owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its sort.
    pub kind: Kind,
    /// How sure that is.
    pub found: Found,
    /// `ring fd 3, buffer 0`; empty where none was found.
    pub name: Box<str>,
}

impl Owner {
    /// Whether there is a name, be it of several.
    pub fn is_known(&self) -> bool {
        matches!(self.found, Found::Sure | Found::OneOf(_))
    }

    /// One of that name: harmless, and of a length that fits a line or two.
    pub fn new(kind: Kind, found: Found, name: &str) -> Self {
        let name = name.chars().take(LONGEST).map(harmless);
        Self { kind, found, name: name.collect::<String>().into() }
    }
}

impl fmt::Display for Owner {
    /// `io_uring ring fd 3, buffer 0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.words();
        match self.found {
            Found::Sure => write!(f, "{kind} {}", self.name),
            Found::OneOf(count) => write!(f, "one of {count} that fit: {kind} {}", self.name),
            Found::TooLate => write!(f, "{kind} (owner not looked up in time)"),
            Found::Nowhere => write!(f, "{kind} (owner not found)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_that_ask_tell_the_sort_of_owner() {
        let kinds = [
            (&["io_pin_pages", "io_sqe_buffer_register"][..], Some(Kind::IoUring)),
            (&["io_pin_pages", "io_create_region"], Some(Kind::IoUringRing)),
            (&["vfio_pin_pages_remote"], Some(Kind::Vfio)),
            (&["ib_umem_get", "rxe_reg_user_mr"], Some(Kind::Rdma)),
            (&["xdp_umem_reg"], Some(Kind::Xdp)),
            (&["nvidia_pin", "io_submit_sqes"], None),
        ];
        for (functions, kind) in kinds {
            assert_eq!(Kind::of_functions(functions.iter().copied()), kind, "{functions:?}");
        }
    }

    #[test]
    fn a_name_from_outside_is_harmless_and_short() {
        let owner = Owner::new(Kind::Xdp, Found::Sure, &"umem on a\u{1b}[2J".repeat(100));
        assert!(owner.name.starts_with("umem on a?[2J") && owner.name.chars().count() == LONGEST);
    }

    #[test]
    fn what_is_not_sure_says_so() {
        let words = |found| Owner::new(Kind::Rdma, found, "memory region 3 of rxe0").to_string();
        assert_eq!(words(Found::Sure), "RDMA memory region 3 of rxe0");
        assert_eq!(words(Found::OneOf(2)), "one of 2 that fit: RDMA memory region 3 of rxe0");
        assert_eq!(words(Found::TooLate), "RDMA (owner not looked up in time)");
    }
}
