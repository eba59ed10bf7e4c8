//! The machine as QEMU's command line.

use std::path::Path;

use super::{channel, options::Machine};
use crate::kernels::Bootable;

/// What the guest's disks and sockets are made of.
pub struct Files<'a> {
    /// Directory of the sockets and disk images.
    pub directory: &'a Path,
    /// The guest's file system.
    pub initramfs: &'a Path,
}

/// A disk the guest may get.
pub struct Disk {
    /// Its serial number, by which `/init` finds it, and its image's name.
    pub name: &'static str,
    /// Size of the image.
    pub mib: u32,
    throttle: &'static str,
}

/// The disks a machine asks for.
pub fn disks(machine: &Machine) -> Vec<Disk> {
    let mut disks = Vec::new();
    if machine.disk {
        disks.push(Disk { name: "disk", mib: 64, throttle: "" });
    }
    if machine.slow_disk {
        disks.push(Disk { name: "slow-disk", mib: 64, throttle: ",throttling.iops-total=1" });
    }
    if let Some(mib) = machine.swap {
        disks.push(Disk { name: "swap", mib, throttle: "" });
    }
    disks
}

/// What all guests have in common.
///
/// Multi-threaded TCG races with the kernel's patching of its own code, which every attach does: guests die in one of two
/// runs. So thread=single. cx16=off: QEMU 7.2 sometimes leaves the old RAX in EFLAGS after a cmpxchg16b, which the slab
/// allocator is full of; an interrupt then finds the VM flag set and double-faults (seen on 6.12).
pub const EMULATION: &str = "-nodefaults -no-user-config -display none -no-reboot -accel tcg,thread=single -cpu max,cx16=off -machine q35";

/// QEMU's arguments.
pub fn arguments(machine: &Machine, kernel: &Bootable, files: &Files<'_>) -> Vec<String> {
    let mut words: Vec<String> = EMULATION.split(' ').map(str::to_owned).collect();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("-smp", machine.cpus().to_string());
    add("-m", machine.memory.to_string());
    add("-kernel", kernel.image.display().to_string());
    add("-initrd", files.initramfs.display().to_string());
    add("-append", command_line(machine));
    for channel in channel::ALL {
        let socket = files.directory.join(channel.name);
        add("-chardev", format!("socket,id={},path={}", channel.name, escaped(&socket)));
        add(
            "-device",
            format!(
                "isa-serial,chardev={},index={},irq={}",
                channel.name, channel.port, channel.irq
            ),
        );
    }
    for disk in disks(machine) {
        let image = escaped(&files.directory.join(disk.name));
        add(
            "-drive",
            format!(
                "file={image},if=none,format=raw,snapshot=on,id={}{}",
                disk.name, disk.throttle
            ),
        );
        add("-device", format!("virtio-blk-pci,drive={0},serial={0}", disk.name));
    }
    words.extend(
        machine.devices.iter().flat_map(|device| device.arguments()).map(|&word| word.to_owned()),
    );
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    if machine.numa {
        numa(machine, &mut add);
    }
    if machine.icount {
        add("-icount", "shift=0".to_owned());
    }
    words
}

fn command_line(machine: &Machine) -> String {
    // Level 5, not that of `quiet` alone: the stack that follows a kernel's complaint has level 4 itself. And a CPU
    // that stood still for 20 s, the kernel's own limit, may only have had to wait for its turn on the host (seen:
    // 22 s); one that is locked up stays so.
    let own = "console=ttyS0 quiet loglevel=5 panic=-1 tsc=reliable watchdog_thresh=30 \
               rcupdate.rcu_cpu_stall_timeout=60";
    std::iter::once(own)
        .chain(machine.devices.iter().filter_map(|device| device.command_line()))
        .chain(machine.append.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Two nodes with half of the memory and of the CPUs each.
fn numa(machine: &Machine, add: &mut impl FnMut(&str, String)) {
    let half = machine.memory / 2;
    let middle = machine.cpus() / 2;
    for (node, mib, cpus) in [
        (0, machine.memory - half, (middle > 0).then(|| format!("0-{}", middle - 1))),
        (1, half, Some(format!("{middle}-{}", machine.cpus() - 1))),
    ] {
        add("-object", format!("memory-backend-ram,id=memory{node},size={mib}M"));
        let cpus = cpus.map(|cpus| format!(",cpus={cpus}")).unwrap_or_default();
        add("-numa", format!("node,nodeid={node},memdev=memory{node}{cpus}"));
    }
}

/// QEMU splits option values at commas; a doubled one is a comma.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        let kernel = Bootable {
            name: "5.10".to_owned(),
            release: "5.10.0".to_owned(),
            image: "/k/vmlinuz".into(),
            modules: None,
        };
        let files = Files { directory: Path::new("/d,1"), initramfs: Path::new("/d/initramfs") };
        arguments(machine, &kernel, &files).join(" ")
    }

    #[test]
    fn emulation_is_single_threaded_with_two_cpus() {
        let line = line(&Machine::default());
        assert!(
            line.contains("-accel tcg,thread=single -cpu max,cx16=off -machine q35 -smp 2 -m 1024"),
            "{line}"
        );
        assert!(!line.contains("virtio-blk"), "{line}");
    }

    #[test]
    fn the_slow_disk_does_one_operation_a_second() {
        let line = line(&Machine { slow_disk: true, ..Machine::default() });
        assert!(line.contains("file=/d,,1/slow-disk,if=none,format=raw,snapshot=on,id=slow-disk,throttling.iops-total=1"), "{line}");
        assert!(line.contains("virtio-blk-pci,drive=slow-disk,serial=slow-disk"), "{line}");
    }

    #[test]
    fn two_nodes_share_memory_and_cpus() {
        let line = line(&Machine { numa: true, ..Machine::default() });
        assert!(
            line.contains("id=memory0,size=512M -numa node,nodeid=0,memdev=memory0,cpus=0-0"),
            "{line}"
        );
        assert!(
            line.contains("id=memory1,size=512M -numa node,nodeid=1,memdev=memory1,cpus=1-1"),
            "{line}"
        );
    }

    #[test]
    fn appended_words_come_after_ours() {
        let line = line(&Machine { append: vec!["nokaslr".to_owned()], ..Machine::default() });
        assert!(line.contains("stall_timeout=60 nokaslr"), "{line}");
    }
}
