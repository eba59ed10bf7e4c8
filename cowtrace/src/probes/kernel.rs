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
    /// Whether a task may be preempted inside the kernel.
    pub preemptible: bool,
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
        let chosen = fs::read_to_string("/sys/kernel/debug/sched/preempt").ok();
        let preemptible = is_preemptible(&build, chosen.as_deref());
        Ok(Self { release, build, machine, host, btf, kallsyms, preemptible })
    }
}

/// By what was chosen of `none (voluntary) full` (5.13 and later, in debugfs), else by how the kernel was built.
/// Where it could have been chosen and cannot be read, the answer is yes.
fn is_preemptible(build: &str, chosen: Option<&str>) -> bool {
    match chosen {
        Some(modes) => !modes.contains("(none)") && !modes.contains("(voluntary)"),
        None => build.contains("PREEMPT"),
    }
}

fn sysctl(name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_decides_and_then_how_the_kernel_was_built() {
        let build = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1";
        assert!(!is_preemptible(build, Some("none (voluntary) full \n")));
        assert!(is_preemptible(build, Some("none voluntary (full) \n")));
        assert!(is_preemptible(build, Some("full (lazy) \n")));
        assert!(is_preemptible(build, None));
        assert!(!is_preemptible("#1 SMP Debian 5.10.262-1", None));
    }
}
