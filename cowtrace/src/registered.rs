//! What processes say of their own pins: `VmPin`, and the buffers registered with io_uring.

use std::fs;

use crate::{event::harmless, maps};

/// A buffer registered with an io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// File descriptor of the ring.
    pub fd: u32,
    /// Its number there.
    pub index: u32,
    /// First address.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}

/// A mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma {
    /// First address, and the first behind.
    pub range: (u64, u64),
    /// As `/proc/PID/maps` writes them: `rw-p`.
    pub permissions: String,
    /// Its file or name; empty for anonymous memory.
    pub name: String,
}

/// All processes.
pub fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable();
    all
}

/// A process's name, control characters replaced.
pub fn name(tgid: u32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{tgid}/comm")).ok()?;
    Some(comm.trim_end_matches('\n').chars().map(harmless).collect())
}

/// KiB that are accounted to a process as pinned.
pub fn vm_pin_kib(tgid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{tgid}/status")).unwrap_or_default();
    vm_pin(&status).unwrap_or(0)
}

fn vm_pin(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmPin:"))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// The buffers registered with the rings that a process has open.
pub fn buffers(tgid: u32) -> Vec<Buffer> {
    let entries = fs::read_dir(format!("/proc/{tgid}/fd")).into_iter().flatten().flatten();
    let is_ring = |link: &std::path::Path| link.as_os_str() == "anon_inode:[io_uring]";
    let rings =
        entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| is_ring(&link)));
    let mut fds: Vec<u32> =
        rings.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    fds.sort_unstable();
    let of_ring = |fd| {
        let info = fs::read_to_string(format!("/proc/{tgid}/fdinfo/{fd}")).unwrap_or_default();
        user_bufs(fd, &info)
    };
    fds.into_iter().flat_map(of_ring).collect()
}

/// The lines behind `UserBufs:`, `    0: 0x7f0000000000/4096` each (io_uring_show_fdinfo).
pub fn user_bufs(fd: u32, info: &str) -> Vec<Buffer> {
    let lines = info.lines().skip_while(|line| !line.starts_with("UserBufs:")).skip(1);
    let slots = lines.map_while(|line| {
        let (index, range) = line.split_once(':')?;
        Some((index.trim().parse().ok()?, range.trim()))
    });
    // A place without a buffer is `    1: <none>`.
    let buffers = slots.filter_map(|(index, range)| {
        let (address, len) = range.strip_prefix("0x")?.split_once('/')?;
        let address = u64::from_str_radix(address, 16).ok()?;
        Some(Buffer { fd, index, address, len: len.parse().ok()? })
    });
    buffers.collect()
}

/// The mappings of a process.
pub fn vmas(tgid: u32) -> Vec<Vma> {
    let maps = fs::read_to_string(format!("/proc/{tgid}/maps")).unwrap_or_default();
    maps.lines().filter_map(vma).collect()
}

fn vma(line: &str) -> Option<Vma> {
    let mapping = maps::mapping(line)?;
    Some(Vma {
        range: (mapping.range.start, mapping.range.end),
        permissions: mapping.permissions.to_owned(),
        name: mapping.name.chars().map(harmless).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_buffers_are_read_up_to_the_next_section() {
        let info = "pos:\t0\nUserFiles:\t0\nUserBufs:\t2\n    0: 0x7f0000000000/4096\n    1: 0x10000/8192\nPollList:\n  op=6, task_works=0\n";
        let buffers = user_bufs(7, info);
        assert_eq!(
            buffers,
            [
                Buffer { fd: 7, index: 0, address: 0x7f00_0000_0000, len: 4096 },
                Buffer { fd: 7, index: 1, address: 0x1_0000, len: 8192 },
            ]
        );
        assert_eq!(user_bufs(7, "pos:\t0\n"), []);
        let sparse = "UserBufs:\t2\n    0: <none>\n    1: 0x10000/8192\n";
        assert_eq!(user_bufs(7, sparse), [buffers[1]]);
    }

    #[test]
    fn pinned_memory_is_told_in_kib() {
        assert_eq!(vm_pin("VmLck:\t       0 kB\nVmPin:\t     128 kB\n"), Some(128));
        assert_eq!(vm_pin("Name:\tkthreadd\n"), None, "a kernel thread has none");
    }

    #[test]
    fn a_mapping_has_a_range_and_perhaps_a_name() {
        let line = "7f0000000000-7f0000004000 rw-p 00000000 00:00 0 ";
        let anonymous = vma(line).expect("a mapping");
        assert_eq!(anonymous.range, (0x7f00_0000_0000, 0x7f00_0000_4000));
        assert_eq!((&*anonymous.permissions, &*anonymous.name), ("rw-p", ""));
        let heap =
            vma("5500000000-5500021000 rw-p 00000000 00:00 0      [heap]").expect("a mapping");
        assert_eq!(heap.name, "[heap]");
        let file =
            vma("7f0000000000-7f0000001000 rw-s 00000000 08:01 12    /dev/shm/a b (deleted)");
        assert_eq!(file.expect("a mapping").name, "/dev/shm/a b (deleted)");
        assert_eq!(vma("nonsense"), None);
    }
}
