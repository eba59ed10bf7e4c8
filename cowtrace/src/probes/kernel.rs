//! The running kernel, as far as attaching has to know it: its types, its symbols, its name.

use std::fs;

use crate::{errors, kallsyms::Kallsyms};

/// Where the kernel shows its own types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What was read once, before anything is loaded.
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub build: String,
    /// `uname -m`.
    pub machine: String,
    /// Name of the host.
    pub host: String,
    /// The BTF, unparsed.
    pub btf: Vec<u8>,
    /// Functions and variables.
    pub kallsyms: Kallsyms,
}

impl Kernel {
    /// Reads the running kernel's.
    pub fn read() -> anyhow::Result<Self> {
        let release = sysctl("osrelease");
        let machine = std::env::consts::ARCH.to_owned();
        if machine != "x86_64" {
            return Err(errors::machine(&machine));
        }
        let btf = fs::read(BTF).map_err(|error| errors::no_btf(BTF, &release, &error))?;
        let kallsyms = Kallsyms::read().map_err(|error| errors::no_kallsyms(&error))?;
        if !kallsyms.has_addresses() {
            return Err(errors::hidden_kallsyms());
        }
        let (host, build) = (sysctl("hostname"), sysctl("version"));
        Ok(Self { release, build, machine, host, btf, kallsyms })
    }
}

fn sysctl(name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    text.trim().to_owned()
}
