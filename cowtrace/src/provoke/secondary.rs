//! A secondary MMU on this process's page table: KVM, as for a virtual machine's
//! memory, but with no CPU that could ever use it.
//!
//! It only listens: the kernel tells MMU notifiers of a range before it changes
//! it, and the machine maps nothing that would have to go.

use std::{io, os::fd::OwnedFd};

use anyhow::Context as _;

use crate::sys;

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct SecondaryMmu {
    _machine: OwnedFd,
}

impl SecondaryMmu {
    /// Registers KVM for this process.
    pub(super) fn kvm() -> anyhow::Result<Self> {
        sys::virtual_machine()
            .map(|machine| Self { _machine: machine })
            .map_err(explained)
            .context("cannot make a KVM virtual machine, so there would be no MMU notifier")
    }
}

/// Says what to do where the system's own words do not.
fn explained(error: io::Error) -> anyhow::Error {
    let advice = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV) => {
            "/dev/kvm: no KVM module is loaded; load kvm_amd or kvm_intel (in the lab: --device kvm)"
        }
        Some(libc::EACCES) => "/dev/kvm: run as root or join its group",
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_is_told_with_its_remedy() {
        for code in [libc::ENOENT, libc::ENODEV] {
            let told = format!("{:#}", explained(io::Error::from_raw_os_error(code)));
            assert!(told.contains("load kvm_amd or kvm_intel"), "{told}");
        }
    }

    #[test]
    fn other_errors_keep_the_system_s_words() {
        let told = explained(io::Error::from_raw_os_error(libc::ENOMEM)).to_string();
        assert!(told.starts_with("Cannot allocate memory"), "{told}");
    }
}
