//! A cpio archive in the kernel's `newc` format, grown entry by entry.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a regular file owned by root, and the directories above it.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        for (slash, _) in path.match_indices('/') {
            let parent = &path[..slash];
            if self.directories.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY, &[]);
            }
        }
        self.entry(path, REGULAR | permissions, content);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let size = content.len();
        let name_size = path.len() + 1;
        let header = format!(
            "070701{:08X}{mode:08X}{:08X}{:08X}{links:08X}{:08X}{size:08X}{:08X}{:08X}{:08X}{:08X}{name_size:08X}{:08X}",
            self.entries, 0, 0, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Names and contents start at multiples of four.
    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_comes_once_before_its_files() {
        let mut archive = Archive::default();
        archive.file("a/b/one", 0o644, b"1");
        archive.file("a/b/two", 0o755, b"22");
        let bytes = archive.finish();
        let names: Vec<&str> = ["a\0", "a/b\0", "a/b/one\0", "a/b/two\0", "TRAILER!!!\0"].into();
        let mut from = 0;
        for name in names {
            let at = bytes[from..].windows(name.len()).position(|w| w == name.as_bytes()).unwrap();
            from += at + name.len();
        }
    }

    #[test]
    fn every_entry_is_aligned_to_four_bytes() {
        let mut archive = Archive::default();
        archive.file("x", 0o644, b"abcde");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[110..112], b"x\0");
        assert_eq!(&bytes[112..117], b"abcde");
    }
}
