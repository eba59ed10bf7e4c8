//! Owners that are files: devices by their paths, and dma-bufs by what fdinfo says of them.

use super::candidate::{Candidate, Process, Span};

/// Devices that a process has open, by how their paths begin.
pub fn devices(process: &Process, path: &str) -> Vec<Candidate> {
    let device = |(fd, rest)| Candidate {
        name: format!("{path}{rest}, fd {fd}"),
        scope: process.tgid,
        is_whole: true,
        ..Candidate::default()
    };
    process.with(path).map(device).collect()
}

/// The dma-bufs of a process that udmabuf made.
pub fn udmabufs(process: &Process) -> Vec<Candidate> {
    let fds = process.with("/dmabuf:").map(|(fd, _)| fd);
    fds.filter_map(|fd| udmabuf(process.tgid, fd, &process.fdinfo(fd))).collect()
}

fn udmabuf(tgid: u32, fd: u32, info: &str) -> Option<Candidate> {
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim())
    };
    let bytes: u64 = field("size:")?.parse().ok()?;
    let is_udmabuf = field("exp_name:")? == "udmabuf";
    // From 5.14 on; the inode numbers of dma-bufs go up.
    let inode: Option<u64> = field("ino:").and_then(|number| number.parse().ok());
    let name = match inode {
        Some(inode) => format!("dma-buf {inode} ({bytes} bytes), fd {fd}"),
        None => format!("dma-buf of {bytes} bytes, fd {fd}"),
    };
    is_udmabuf.then(|| Candidate {
        name,
        scope: tgid,
        span: Span::Bytes(bytes),
        order: inode.map(|inode| (0, inode)),
        is_whole: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dma_buf_is_named_by_its_inode_and_one_of_another_exporter_is_none() {
        let info = "pos:\t0\nflags:\t02\nino:\t12\nsize:\t8192\ncount:\t1\nexp_name:\tudmabuf\n";
        let found = udmabuf(7, 4, info).expect("one");
        assert_eq!(
            (&*found.name, found.span),
            ("dma-buf 12 (8192 bytes), fd 4", Span::Bytes(8192))
        );
        assert_eq!(udmabuf(7, 4, &info.replace("udmabuf", "drm")), None);
        assert_eq!(udmabuf(7, 4, "pos:\t0\n"), None);
    }
}
