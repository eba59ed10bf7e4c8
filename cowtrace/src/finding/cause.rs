//! What can take a process off a page.

use std::fmt;

use crate::event::{Protector, Stack, Task, Time};

/// Something that happened to the pinned pages before they were lost, and can have brought it about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What.
    pub kind: CauseKind,
    /// When.
    pub time: Time,
    /// Who did it.
    pub task: Task,
    /// From where.
    pub stack: Stack,
    /// How many other things could have: this is the last of the most direct ones.
    pub others: usize,
}

/// What can take a process off a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The address space was forked.
    Fork {
        /// The child.
        child: u32,
        /// Whether it still has its copy of the address space; one that ended or called exec has not.
        alive: bool,
    },
    /// The right to write was taken from the page.
    Protect(Protector),
    /// MMU notifiers were told of it; the event's name.
    Invalidation(&'static str),
    /// The mapping was discarded.
    Zap(ZapKind),
    /// Nobody saw it, but the page is still mapped elsewhere: a fork shared it.
    StillShared,
    /// Nobody saw it, but the page is in the swap cache.
    Swapped,
    /// KSM had merged the page with others.
    Ksm,
    /// The page was the file's, or the zero page: the first write to a private mapping is always answered so.
    FirstWrite,
    /// Nobody looked: causes were shed to keep the budget.
    Shed,
}

impl CauseKind {
    /// How directly it speaks of the page's own protection: the greater, the better a cause.
    pub fn directness(self) -> u8 {
        match self {
            // A split leaves the right to write as it is.
            Self::Protect(Protector::Split) => 0,
            // From 5.9 on a fork leaves pinned pages writable.
            Self::Fork { .. } => 1,
            Self::Invalidation(_) => 2,
            Self::Protect(_)
            | Self::Zap(_)
            | Self::StillShared
            | Self::Swapped
            | Self::Ksm
            | Self::FirstWrite
            | Self::Shed => 3,
        }
    }

    /// Whether nobody was seen: the page itself told it when it was lost, or nobody looked.
    pub fn is_told_by_the_page(self) -> bool {
        matches!(
            self,
            Self::StillShared | Self::Swapped | Self::Ksm | Self::FirstWrite | Self::Shed
        )
    }

    /// Whether what the page itself tells (`told`) is the better cause.
    pub fn yields_to(self, told: Self) -> bool {
        match self {
            _ if told == Self::FirstWrite => true,
            Self::Protect(Protector::Split) => true,
            // A fork that was seen is what shared the page.
            Self::Fork { .. } => told != Self::StillShared,
            _ => false,
        }
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork { .. } => "fork",
            Self::Protect(by) => by.name(),
            Self::Invalidation(_) => "invalidation",
            Self::Zap(kind) => kind.name(),
            Self::StillShared => "still-shared",
            Self::Swapped => "swap",
            Self::Ksm => "ksm",
            Self::FirstWrite => "first-write",
            Self::Shed => "shed",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fork { child, alive: true } => write!(f, "fork of process {child} (alive)"),
            Self::Fork { child, .. } => write!(f, "fork of process {child} (gone by now)"),
            Self::Protect(by) => f.write_str(by.name()),
            Self::Invalidation(event) => write!(f, "a change that MMU notifiers call {event}"),
            Self::Zap(kind) => f.write_str(kind.words()),
            Self::StillShared => f.write_str("a fork that nobody saw: the page is still shared"),
            Self::Swapped => f.write_str("swap: the page was unmapped and is in the swap cache"),
            Self::Ksm => f.write_str("KSM had merged the page with others"),
            Self::Shed => {
                f.write_str("a cause that was not looked for: causes were shed to keep the budget")
            }
            Self::FirstWrite => f.write_str(
                "the first write to a private mapping: the page was the file's, or the zero page",
            ),
        }
    }
}

/// Which call discarded mappings, as its kernel stack tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZapKind {
    /// madvise(2): MADV_DONTNEED and the like.
    Madvise,
    /// munmap(2).
    Munmap,
    /// mmap(2) over what was there.
    Mmap,
    /// mremap(2), where it shrinks or replaces.
    Mremap,
    /// A file became shorter.
    Truncate,
    /// A hole was punched in a file.
    PunchHole,
    /// brk(2).
    Brk,
    /// The process is being killed for its memory.
    Oom,
    /// The stack does not tell.
    Other,
}

/// How much a frame's name tells of a zap: less is more. Looked up once for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Telling(usize);

impl ZapKind {
    /// Whether it takes pages out of their file; others only unmap what a shared mapping finds again there.
    pub fn is_of_file(self) -> bool {
        matches!(self, Self::Truncate | Self::PunchHole)
    }

    /// Frames that tell, the most telling first: what system calls are made of, the same in all versions.
    const FRAMES: [(&'static str, Self); 20] = [
        ("oom_reap", Self::Oom),
        ("__oom_reap", Self::Oom),
        ("madvise_remove", Self::PunchHole),
        ("vfs_fallocate", Self::PunchHole),
        ("shmem_fallocate", Self::PunchHole),
        ("hugetlbfs_fallocate", Self::PunchHole),
        ("do_truncate", Self::Truncate),
        ("truncate_pagecache", Self::Truncate),
        ("shmem_setattr", Self::Truncate),
        ("notify_change", Self::Truncate),
        ("do_madvise", Self::Madvise),
        ("__x64_sys_process_madvise", Self::Madvise),
        ("__x64_sys_madvise", Self::Madvise),
        ("__x64_sys_mremap", Self::Mremap),
        ("__do_sys_mremap", Self::Mremap),
        ("__x64_sys_brk", Self::Brk),
        ("__do_sys_brk", Self::Brk),
        ("__x64_sys_munmap", Self::Munmap),
        ("__vm_munmap", Self::Munmap),
        ("vm_mmap_pgoff", Self::Mmap),
    ];

    /// What the names of a kernel stack tell, each by how [telling](Self::telling) it is.
    pub fn of(frames: impl Iterator<Item = Telling>) -> Self {
        frames.min().map_or(Self::Other, |Telling(rank)| Self::FRAMES[rank].1)
    }

    /// How telling a frame of this name is, if it is.
    pub fn telling(name: &str) -> Option<Telling> {
        let rank = Self::FRAMES.iter().position(|(frame, _)| name.starts_with(frame));
        rank.map(Telling)
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Madvise => "madvise",
            Self::Munmap => "munmap",
            Self::Mmap => "mmap",
            Self::Mremap => "mremap",
            Self::Truncate => "truncate",
            Self::PunchHole => "punch-hole",
            Self::Brk => "brk",
            Self::Oom => "oom",
            Self::Other => "zap",
        }
    }

    /// The same in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Madvise => "madvise (MADV_DONTNEED or the like)",
            Self::Munmap => "munmap",
            Self::Mmap => "mmap over it",
            Self::Mremap => "mremap",
            Self::Truncate => "truncation of its file",
            Self::PunchHole => "a hole punched in its file",
            Self::Brk => "brk",
            Self::Oom => "the out-of-memory killer",
            Self::Other => "its mapping was discarded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zap_is_named_after_the_call_that_is_the_most_telling() {
        let kind =
            |frames: &[&str]| ZapKind::of(frames.iter().filter_map(|name| ZapKind::telling(name)));
        let dontneed = ["unmap_page_range+0x5", "zap_page_range+0x1", "do_madvise.part.0+0x2"];
        assert_eq!(kind(&dontneed), ZapKind::Madvise);
        let remove = ["unmap_page_range+0x5", "vfs_fallocate+0x1", "do_madvise+0x2"];
        assert_eq!(kind(&remove), ZapKind::PunchHole);
        let over = ["unmap_vmas+0x5", "mmap_region+0x1", "vm_mmap_pgoff+0x2", "__x64_sys_mmap+1"];
        assert_eq!(kind(&over), ZapKind::Mmap);
        assert_eq!(kind(&["unmap_vmas+0x5"]), ZapKind::Other);
        assert_eq!(kind(&[]), ZapKind::Other);
    }
}
