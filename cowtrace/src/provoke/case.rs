//! The cases: one row of the command line each, and the calls that it stands for.
//!
//! All share one order of steps (see `provoke.rs`); a case decides only whether
//! a secondary MMU listens, whether the pages are pinned, and what happens
//! between the pin and the store.

use anyhow::Context as _;
use clap::ValueEnum;

use super::{device::Device, secondary::SecondaryMmu, sibling::Sibling};
use crate::sys::{Advice, Mapping, Protection};

/// What is done to the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Registered buffer, then mprotect to read-only and back: copied by kernels 5.9 to 5.18.
    IoUringMprotect,
    /// Registered buffer, left alone: never copied.
    IoUringNone,
    /// Registered buffer, then fork, and the parent writes while the child lives: never copied.
    IoUringFork,
    /// Registered buffer, then discarded with madvise: replaced on every kernel.
    IoUringDontneed,
    /// As io-uring-mprotect, while a KVM virtual machine has the kernel tell it of such changes.
    KvmIoUringMprotect,
    /// As io-uring-mprotect, with the pages as an AF_XDP umem, which the kernel unpins dirty.
    AfXdpMprotect,
    /// No buffer and no pin; fork, and the parent writes while the child lives: copied everywhere.
    NopinFork,
}

impl Case {
    /// The name on the command line and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUringMprotect => "io-uring-mprotect",
            Self::IoUringNone => "io-uring-none",
            Self::IoUringFork => "io-uring-fork",
            Self::IoUringDontneed => "io-uring-dontneed",
            Self::KvmIoUringMprotect => "kvm-io-uring-mprotect",
            Self::AfXdpMprotect => "af-xdp-mprotect",
            Self::NopinFork => "nopin-fork",
        }
    }

    /// Pins the pages, if the case does, by what it takes for a device.
    pub(super) fn pin(self, pages: &Mapping) -> anyhow::Result<Option<Device>> {
        match self {
            Self::NopinFork => Ok(None),
            Self::AfXdpMprotect => Device::umem(pages).map(Some),
            _ => Device::ring(pages).map(Some),
        }
    }

    /// The secondary MMU that shares the process's page table, if any.
    pub(super) fn secondary_mmu(self) -> anyhow::Result<Option<SecondaryMmu>> {
        match self {
            Self::KvmIoUringMprotect => SecondaryMmu::kvm().map(Some),
            _ => Ok(None),
        }
    }

    /// What comes between the pin and the store. The child, if any, lives until it is let go.
    pub(super) fn disturb(self, pages: &Mapping) -> anyhow::Result<Option<Sibling>> {
        match self {
            Self::IoUringNone => {}
            Self::IoUringFork | Self::NopinFork => {
                return Sibling::fork().context("cannot fork").map(Some);
            }
            Self::IoUringDontneed => {
                pages.advise(Advice::DontNeed).context("cannot discard the pages")?;
            }
            Self::IoUringMprotect | Self::KvmIoUringMprotect | Self::AfXdpMprotect => {
                pages.protect(Protection::Read).context("cannot write-protect the pages")?;
                pages
                    .protect(Protection::ReadWrite)
                    .context("cannot make the pages writable again")?;
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_the_same_name_in_the_help_and_in_the_output() {
        for case in Case::value_variants() {
            let shown = case.to_possible_value().expect("no case is hidden");
            assert_eq!(shown.get_name(), case.name());
        }
        let names: Vec<_> = Case::value_variants().iter().map(|case| case.name()).collect();
        assert_eq!(
            names,
            [
                "io-uring-mprotect",
                "io-uring-none",
                "io-uring-fork",
                "io-uring-dontneed",
                "kvm-io-uring-mprotect",
                "af-xdp-mprotect",
                "nopin-fork"
            ]
        );
    }
}
