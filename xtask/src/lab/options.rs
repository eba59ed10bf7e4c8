//! What `cargo xtask lab` takes, and the machine that comes of it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::cached;
use crate::{
    initramfs::Added,
    kernels::{Bootable, Flavour},
};

const DEFAULT_TIMEOUT: u64 = 600;
const DEFAULT_KERNEL: &str = "5.10";

/// Options of `cargo xtask lab`.
#[derive(Args)]
pub struct Options {
    /// Kernel to boot: 5.10, 6.1, 6.12, 6.18, 7.3 or all (again for another)
    #[arg(long = "kernel", value_name = "K", default_value = DEFAULT_KERNEL)]
    pub kernels: Vec<String>,
    /// Any other kernel: its bzImage
    #[arg(long, value_name = "FILE", conflicts_with = "kernels")]
    pub kernel_image: Option<PathBuf>,
    /// That kernel's lib/modules/RELEASE, with the modules.dep that depmod writes
    #[arg(long, value_name = "DIR", requires = "kernel_image")]
    pub modules_dir: Option<PathBuf>,
    /// Keep stdin open to COMMAND: the same as -t
    #[arg(short = 'i')]
    pub stdin: bool,
    /// Run COMMAND on this terminal: its size, its keys (-it for short)
    #[arg(short = 't')]
    pub terminal: bool,
    /// The machine
    #[command(flatten)]
    pub machine: Machine,
    /// What to run as root in the guest, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Options {
    /// Whether the guest's command gets our terminal.
    pub fn interactive(&self) -> bool {
        self.stdin || self.terminal
    }

    /// The kernels to boot, fetched where the cache lacks them.
    pub fn bootables(&self) -> Result<Vec<Bootable>> {
        match &self.kernel_image {
            Some(image) => Ok(vec![given(image, self.modules_dir.clone())?]),
            None => cached(&self.kernels, self.machine.flavour()),
        }
    }
}

fn given(image: &Path, modules: Option<PathBuf>) -> Result<Bootable> {
    let image = image
        .canonicalize()
        .with_context(|| format!("cannot find --kernel-image {}", image.display()))?;
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Bootable { release: name.clone(), name, image, modules })
}

/// The guest's hardware and what is prepared in it before COMMAND runs.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "command line flags, each independent of the others"
)]
pub struct Machine {
    /// Which build of the kernel
    #[arg(long, value_enum, default_value_t)]
    pub flavour: Flavour,
    /// A host file for the guest: executables land in PATH unless GUESTPATH is given
    #[arg(long, value_name = "HOSTFILE[=GUESTPATH]", value_parser = Added::parse)]
    pub with: Vec<Added>,
    /// Kernel module to insert, with what it depends on; "NAME PARAM=VALUE" sets parameters
    #[arg(long = "module", value_name = "NAME")]
    pub modules: Vec<String>,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 1024)]
    pub memory: u32,
    /// Virtual CPUs of the guest [default: 2; 1 with --icount, where 5.10 hangs with more]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Huge pages (2 MiB each) to set aside
    #[arg(long, value_name = "N")]
    pub hugepages: Option<u32>,
    /// Swap space, in use when COMMAND starts; `$LAB_SWAP` names the device
    #[arg(long, value_name = "MiB")]
    pub swap: Option<u32>,
    /// A disk of 64 MiB; `$LAB_DISK` names it
    #[arg(long)]
    pub disk: bool,
    /// A disk that does one I/O a second; `$LAB_SLOW_DISK` names it
    #[arg(long)]
    pub slow_disk: bool,
    /// A device that does DMA
    #[arg(long = "device", value_enum, value_name = "DEVICE")]
    pub devices: Vec<Device>,
    /// Debian's bpftool, which lists the kernel's programs, maps and links, and setpriv
    #[arg(long)]
    pub tools: bool,
    /// Split memory and CPUs over two NUMA nodes
    #[arg(long)]
    pub numa: bool,
    /// More words for the kernel's command line
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub append: Vec<String>,
    /// Seconds COMMAND may take, counted from the ready line [default: 600; none with -it]
    #[arg(long, value_name = "S")]
    pub timeout: Option<u64>,
    /// Let the guest's clock count instructions: the same run gives the same numbers
    #[arg(long)]
    pub icount: bool,
}

/// A device beside the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// QEMU's edu behind an IOMMU, driven by vfio-pci; `$LAB_EDU` is its address
    Edu,
    /// Soft-RoCE, `rxe0` on lo, with Debian's RDMA clients; takes the full flavour
    Rxe,
    /// A veth pair, `xdp0` and `xdp1`, for AF_XDP; `$LAB_XDP` is the first
    Xdp,
    /// KVM, whose virtual machines follow a process's page table
    Kvm,
    /// A disk that is driven through the DMA API: NVMe, 64 MiB of zeroes
    Nvme,
}

impl Device {
    /// QEMU's arguments for it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Edu => &["-device", "intel-iommu,intremap=off", "-device", "edu"],
            Self::Rxe | Self::Xdp | Self::Kvm => &[],
            Self::Nvme => &[
                "-drive",
                "if=none,id=nvme,driver=null-co,size=64M,read-zeroes=on",
                "-device",
                "nvme,serial=lab,drive=nvme",
            ],
        }
    }

    /// What the kernel's command line needs.
    pub fn command_line(self) -> Option<&'static str> {
        matches!(self, Self::Edu).then_some("intel_iommu=on iommu=nopt")
    }

    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Edu => &["vfio_iommu_type1", "vfio-pci"],
            // Soft-RoCE asks for its checksum by name, where that is no library yet.
            Self::Rxe => &["?crc32_generic", "rdma_rxe", "ib_uverbs"],
            // xsk_diag tells who has which umem.
            Self::Xdp => &["veth", "?xsk_diag"],
            // QEMU's CPU has AMD's SVM.
            Self::Kvm => &["kvm_amd"],
            Self::Nvme => &["nvme"],
        }
    }
}

impl Machine {
    /// Which build of the kernel it takes: what was asked for, or the one that has the devices' drivers.
    pub fn flavour(&self) -> Flavour {
        if self.devices.contains(&Device::Rxe) { Flavour::Full } else { self.flavour }
    }

    /// How many CPUs the guest has.
    pub fn cpus(&self) -> u32 {
        self.cpus.unwrap_or(if self.icount { 1 } else { 2 })
    }

    /// How long COMMAND may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(DEFAULT_TIMEOUT))
    }

    /// The modules to insert: those asked for, after those its devices need.
    pub fn all_modules(&self) -> Vec<String> {
        let disks = self.disk || self.slow_disk || self.swap.is_some();
        let disk_drivers: &[&str] = if disks { &["virtio_pci", "virtio_blk"] } else { &[] };
        let drivers =
            disk_drivers.iter().chain(self.devices.iter().flat_map(|device| device.modules()));
        drivers.map(|&name| name.to_owned()).chain(self.modules.iter().cloned()).collect()
    }

    /// The variables that tell `/init` what to prepare.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let flag = |on: bool| if on { "1" } else { "" }.to_owned();
        vec![
            ("HUGEPAGES", self.hugepages.map(|n| n.to_string()).unwrap_or_default()),
            ("WANT_DISK", flag(self.disk)),
            ("WANT_SLOW_DISK", flag(self.slow_disk)),
            ("WANT_SWAP", flag(self.swap.is_some())),
            ("WANT_EDU", flag(self.devices.contains(&Device::Edu))),
            ("WANT_RXE", flag(self.devices.contains(&Device::Rxe))),
            ("WANT_XDP", flag(self.devices.contains(&Device::Xdp))),
        ]
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            flavour: Flavour::Cloud,
            with: Vec::new(),
            modules: Vec::new(),
            memory: 1024,
            cpus: None,
            hugepages: None,
            swap: None,
            disk: false,
            slow_disk: false,
            devices: Vec::new(),
            tools: false,
            numa: false,
            append: Vec::new(),
            timeout: None,
            icount: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_clap_gives_without_options_is_the_default_machine() {
        let line = Line::parse_from(["lab", "--", "true"]);
        assert_eq!(line.options.machine, Machine::default());
        assert_eq!(line.options.kernels, ["5.10"]);
    }

    #[test]
    fn soft_roce_takes_the_full_flavour() {
        let rxe = Machine { devices: vec![Device::Rxe], ..Machine::default() };
        assert_eq!((rxe.flavour(), Machine::default().flavour()), (Flavour::Full, Flavour::Cloud));
    }

    #[test]
    fn it_is_two_flags_and_the_command_keeps_its_own() {
        let line = Line::parse_from(["lab", "-it", "--", "ls", "-l", "--kernel"]);
        assert!(line.options.interactive());
        assert_eq!(line.options.command, ["ls", "-l", "--kernel"]);
    }
}
