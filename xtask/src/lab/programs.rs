//! Debian's programs for a guest: those of RDMA's users where it has soft-RoCE (ping-pong and bandwidth tests, and
//! iproute2's `rdma`), and those that lab tests have for witnesses.
//!
//! They come from Debian's packages with all that they are linked to, the C library too, so the host's own
//! programs are not asked. The surprise: libibverbs finds a device's driver by a file's name, at run time.

use anyhow::Result;

use super::options::{Device, Machine};
use crate::{initramfs::Added, kernels};

/// Packages, and what of each goes into the guest, at the same path.
type Packages = &'static [(&'static str, &'static [&'static str])];

const RDMA_CLIENTS: Packages = &[
    ("libc6", &["lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libm.so.6"]),
    ("ibverbs-utils", &["usr/bin/ibv_devinfo", "usr/bin/ibv_rc_pingpong"]),
    ("perftest", &["usr/bin/ib_send_bw", "usr/bin/ib_write_bw"]),
    ("iproute2", &["usr/bin/rdma"]),
    (
        "ibverbs-providers",
        &[
            "etc/libibverbs.d/rxe.driver",
            "usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav34.so",
            "usr/lib/x86_64-linux-gnu/libmlx5.so.1",
            "usr/lib/x86_64-linux-gnu/libefa.so.1",
        ],
    ),
    ("libibverbs1", &["usr/lib/x86_64-linux-gnu/libibverbs.so.1"]),
    ("librdmacm1", &["usr/lib/x86_64-linux-gnu/librdmacm.so.1"]),
    ("libibumad3", &["usr/lib/x86_64-linux-gnu/libibumad.so.3"]),
    ("libnl-3-200", &["lib/x86_64-linux-gnu/libnl-3.so.200"]),
    ("libnl-route-3-200", &["usr/lib/x86_64-linux-gnu/libnl-route-3.so.200"]),
    ("libpci3", &["usr/lib/x86_64-linux-gnu/libpci.so.3"]),
    ("libudev1", &["usr/lib/x86_64-linux-gnu/libudev.so.1"]),
    ("zlib1g", &["lib/x86_64-linux-gnu/libz.so.1"]),
    ("libmnl0", &["usr/lib/x86_64-linux-gnu/libmnl.so.0"]),
    ("libcap2", &["lib/x86_64-linux-gnu/libcap.so.2"]),
    ("libbsd0", &["usr/lib/x86_64-linux-gnu/libbsd.so.0"]),
    ("libmd0", &["usr/lib/x86_64-linux-gnu/libmd.so.0"]),
];

const TOOLS: Packages = &[
    ("libc6", &["lib/x86_64-linux-gnu/libc.so.6"]),
    ("bpftool", &["usr/sbin/bpftool"]),
    ("libelf1", &["usr/lib/x86_64-linux-gnu/libelf.so.1"]),
    ("libcap2", &["lib/x86_64-linux-gnu/libcap.so.2"]),
    ("zlib1g", &["lib/x86_64-linux-gnu/libz.so.1"]),
    ("util-linux", &["usr/bin/setpriv"]),
    ("libcap-ng0", &["lib/x86_64-linux-gnu/libcap-ng.so.0"]),
];

/// What was asked for, and what the machine's devices have for clients.
pub fn of(machine: &Machine) -> Result<Vec<Added>> {
    let rdma = machine.devices.contains(&Device::Rxe);
    let sets = [(rdma, "rdma-clients", RDMA_CLIENTS), (machine.tools, "tools", TOOLS)];
    let wanted = sets.into_iter().filter(|(wanted, ..)| *wanted);
    let files: Result<Vec<_>> =
        wanted.map(|(_, name, packages)| unpacked(name, packages)).collect();
    Ok(files?.concat())
}

/// The files of a set, and their loader.
fn unpacked(name: &str, packages: Packages) -> Result<Vec<Added>> {
    let home = kernels::cache()?.with_file_name(name);
    let names: Vec<_> = packages.iter().map(|(package, _)| *package).collect();
    kernels::unpack_packages(name, &names, &["bookworm"], "amd64", &home)?;
    let added =
        |file: &str, guest: &str| Added::parse(&format!("{}={guest}", home.join(file).display()));
    let files = packages.iter().flat_map(|(_, files)| *files);
    // The program's loader is a link to a place below the root.
    let loader = added("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2");
    let all = files.map(|file| added(file, file)).chain([loader]);
    all.map(|added| added.map_err(anyhow::Error::msg)).collect()
}
