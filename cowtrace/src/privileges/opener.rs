//! A child of ours that opens files of other processes, for the one that reads them.
//!
//! A page map shows frames to whom it was opened by, so this child alone keeps the capabilities that look into other
//! processes. It decodes nothing: a question is three numbers, the answer a descriptor to read from or an error.
//!
//! Surprise: it is forked before anything is attached. Its descriptors are its own, so it can keep no program in the
//! kernel when we are killed.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut, Read as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{FileExt as _, OpenOptionsExt as _},
        },
    },
};

use caps::CapsHashSet;
use rustix::{
    fs::{CWD, MemfdFlags, memfd_create, readlinkat},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

use super::{LOOKS, calls, confine::reduce_to};
use crate::{errors, sys};

/// Kind, process and range.
const QUESTION: usize = 1 + 4 + 8 + 8;
/// An error number; 0 with a descriptor.
const ANSWER: usize = 4;
/// Bytes of an fdinfo that are read: one of 16,384 registered buffers has a MiB.
const FDINFO: u64 = 4 << 20;

/// A file of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// `/proc/PID/maps`
    Maps(u32),
    /// `/proc/PID/pagemap`
    Pagemap(u32),
    /// The binary mapped at exactly this range.
    Binary(u32, u64, u64),
    /// What the descriptors of a process are of: `3`, NUL, where its link leads, NUL, and so on.
    Descriptors(u32),
    /// `/proc/PID/fdinfo/FD`
    Fdinfo(u32, u32),
}

/// Descriptors of a process that are told: a bound on time. What pins opens few.
const DESCRIPTORS: usize = 1 << 14;

impl Wanted {
    fn to_bytes(self) -> [u8; QUESTION] {
        let (kind, tgid, start, end) = match self {
            Self::Maps(tgid) => (0, tgid, 0, 0),
            Self::Pagemap(tgid) => (1, tgid, 0, 0),
            Self::Binary(tgid, start, end) => (2, tgid, start, end),
            Self::Descriptors(tgid) => (3, tgid, 0, 0),
            Self::Fdinfo(tgid, fd) => (4, tgid, fd.into(), 0),
        };
        let mut bytes = [kind; QUESTION];
        bytes[1..5].copy_from_slice(&u32::to_le_bytes(tgid));
        bytes[5..13].copy_from_slice(&u64::to_le_bytes(start));
        bytes[13..].copy_from_slice(&u64::to_le_bytes(end));
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let tgid = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
        match bytes.first()? {
            0 => Some(Self::Maps(tgid)),
            1 => Some(Self::Pagemap(tgid)),
            2 => Some(Self::Binary(tgid, number(5)?, number(13)?)),
            3 => Some(Self::Descriptors(tgid)),
            4 => Some(Self::Fdinfo(tgid, number(5)?.try_into().ok()?)),
            _ => None,
        }
    }

    /// Opens it for reading. Of what is mapped only ELF files are handed out, of descriptors what the kernel says of them.
    fn open(self) -> io::Result<File> {
        match self {
            Self::Maps(tgid) => File::open(format!("/proc/{tgid}/maps")),
            Self::Pagemap(tgid) => File::open(format!("/proc/{tgid}/pagemap")),
            Self::Descriptors(tgid) => descriptors(tgid),
            Self::Fdinfo(tgid, fd) => File::open(format!("/proc/{tgid}/fdinfo/{fd}")),
            Self::Binary(tgid, start, end) => {
                let path = format!("/proc/{tgid}/map_files/{start:x}-{end:x}");
                // A device may be mapped, too, and waits or acts when it is opened.
                if !fs::metadata(&path)?.is_file() {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
                let mut magic = [0; 4];
                file.read_exact_at(&mut magic, 0)?;
                if magic == *b"\x7fELF" { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
            }
        }
    }
}

/// A file in memory that says what the descriptors of a process are of.
fn descriptors(tgid: u32) -> io::Result<File> {
    let mut text = Vec::new();
    for entry in fs::read_dir(format!("/proc/{tgid}/fd"))?.flatten().take(DESCRIPTORS) {
        // One that was closed meanwhile is none.
        if let Ok(link) = readlinkat(CWD, entry.path(), Vec::new()) {
            text.extend([entry.file_name().as_bytes(), b"\0", link.to_bytes_with_nul()].concat());
        }
    }
    let file = File::from(memfd_create("descriptors", MemfdFlags::CLOEXEC)?);
    file.write_all_at(&text, 0)?;
    Ok(file)
}

/// The child, and the way to it. Dropped, both are gone.
#[derive(Debug)]
pub struct Opener {
    socket: Option<OwnedFd>,
    child: Option<sys::Child>,
}

impl Opener {
    /// Starts it. To be called in front of everything that it is not to hold open.
    pub fn start() -> anyhow::Result<Self> {
        let start = || {
            let kind = SocketType::SEQPACKET;
            let (ours, its) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
            let (child, ours) = sys::fork_child(ours, || i32::from(serve(its).is_err()))?;
            let opener = Self { socket: Some(ours), child: Some(child) };
            // The first answer has no question: it is ready, or it said why not.
            opener.answer().map(|_| opener)
        };
        start().map_err(|error: io::Error| errors::no_opener(&error))
    }

    /// `/proc/PID/maps`.
    pub fn maps(&self, tgid: u32) -> io::Result<File> {
        self.ask(Wanted::Maps(tgid))
    }

    /// `/proc/PID/pagemap`.
    pub fn pagemap(&self, tgid: u32) -> io::Result<File> {
        self.ask(Wanted::Pagemap(tgid))
    }

    /// The binary that a process has mapped at exactly this range.
    pub fn binary(&self, tgid: u32, (start, end): (u64, u64)) -> io::Result<File> {
        self.ask(Wanted::Binary(tgid, start, end))
    }

    /// What the descriptors of a process are of, by their numbers: paths, `anon_inode:[io_uring]`, `socket:[1234]`.
    pub fn descriptors(&self, tgid: u32) -> io::Result<Vec<(u32, String)>> {
        let mut text = Vec::new();
        self.ask(Wanted::Descriptors(tgid))?.read_to_end(&mut text)?;
        Ok(parse_descriptors(&text))
    }

    /// `/proc/PID/fdinfo/FD`.
    pub fn fdinfo(&self, tgid: u32, fd: u32) -> io::Result<String> {
        let mut text = Vec::new();
        self.ask(Wanted::Fdinfo(tgid, fd))?.take(FDINFO).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether it is still there. Where it is not, nothing is known of other processes any more.
    pub fn is_there(&self) -> bool {
        self.ask(Wanted::Maps(std::process::id())).is_ok()
    }

    fn ask(&self, wanted: Wanted) -> io::Result<File> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let bytes = wanted.to_bytes();
        let none = &mut SendAncillaryBuffer::default();
        sendmsg(socket, &[IoSlice::new(&bytes)], none, SendFlags::NOSIGNAL)?;
        self.answer()?.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn answer(&self) -> io::Result<Option<File>> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut bytes = [0; ANSWER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let read = recvmsg(socket, &mut pieces, &mut beside, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let handed = beside.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        match i32::from_le_bytes(bytes) {
            _ if read != ANSWER => Err(io::Error::other("the process that opens files has gone")),
            0 => Ok(handed.map(File::from)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        drop(self.socket.take());
        if let Some(child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

/// Numbers and links in turn, a NUL behind each.
fn parse_descriptors(text: &[u8]) -> Vec<(u32, String)> {
    let words: Vec<_> = text.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let (pairs, _) = words.as_chunks::<2>();
    let pair = |[fd, link]: &[Cow<str>; 2]| Some((fd.parse().ok()?, link.clone().into_owned()));
    let mut all: Vec<_> = pairs.iter().filter_map(pair).collect();
    all.sort_unstable();
    all
}

/// The child's side: gives up what it does not need, says that it is there, and answers until nobody asks any more.
fn serve(socket: OwnedFd) -> io::Result<()> {
    sys::die_with_parent();
    let socket = sys::stand_alone(socket)?;
    // Its name in `ps`; whoever misses it misses nothing else.
    let _ = fs::write("/proc/self/comm", "cowtrace-opener");
    let ready = reduce_to(&CapsHashSet::from(LOOKS)).map_err(io::Error::other);
    // A container may forbid to confine oneself.
    let _ = calls::allow_opening();
    hand_out(&socket, ready.map(|()| None))?;
    loop {
        let mut bytes = [0; QUESTION];
        let none = &mut RecvAncillaryBuffer::default();
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let read = recvmsg(&socket, &mut pieces, none, RecvFlags::empty())?.bytes;
        if read == 0 {
            return Ok(());
        }
        let opened = Wanted::of(&bytes[..read]).ok_or(io::ErrorKind::InvalidInput.into());
        hand_out(&socket, opened.and_then(Wanted::open).map(Some))?;
    }
}

fn hand_out(socket: &OwnedFd, opened: io::Result<Option<File>>) -> io::Result<()> {
    let error =
        opened.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL));
    let file = opened.ok().flatten();
    let files: Vec<_> = file.iter().map(File::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&files));
    }
    let bytes = error.to_le_bytes();
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_question_is_read_as_it_was_asked_and_anything_else_is_none() {
        let asked = [
            Wanted::Maps(7),
            Wanted::Pagemap(8),
            Wanted::Binary(9, 0x1000, 0x2000),
            Wanted::Descriptors(10),
            Wanted::Fdinfo(11, 3),
        ];
        for wanted in asked {
            assert_eq!(Wanted::of(&wanted.to_bytes()), Some(wanted));
        }
        assert_eq!(Wanted::of(&[]), None);
        assert_eq!(Wanted::of(&[5; QUESTION]), None);
        assert_eq!(Wanted::of(&[2; QUESTION - 1]), None);
    }

    #[test]
    fn what_it_opens_can_be_read_and_what_is_not_there_is_an_error() {
        let opener = Opener::start().expect("started");
        let mut maps = String::new();
        let own = std::process::id();
        opener.maps(own).expect("ours").read_to_string(&mut maps).expect("read");
        assert!(maps.contains("[stack]"), "{maps}");
        let gone = opener.maps(u32::MAX).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(gone, Err(io::ErrorKind::NotFound));
        assert!(opener.is_there());
    }

    #[test]
    fn it_tells_what_descriptors_are_of() {
        let opener = Opener::start().expect("started");
        let own = std::process::id();
        let file = File::open("/dev/null").expect("there");
        let fd = file.as_raw_fd().cast_unsigned();
        let all = opener.descriptors(own).expect("ours");
        assert!(all.contains(&(fd, "/dev/null".to_owned())), "{all:?}");
        assert!(opener.fdinfo(own, fd).expect("ours").starts_with("pos:"));
        assert!(opener.descriptors(u32::MAX).is_err());
    }

    #[test]
    fn a_link_may_be_of_any_bytes() {
        let text = b"4\0/tmp/a\nb\0" as &[u8];
        let all = parse_descriptors(&[text, b"3\0socket:[1]\0x\0/y\0", b"7\0cut"].concat());
        assert_eq!(
            all,
            [(3, "socket:[1]".to_owned()), (4, "/tmp/a\nb".to_owned()), (7, "cut".to_owned())]
        );
        assert_eq!(parse_descriptors(b""), []);
    }

    #[test]
    fn it_hands_out_no_file_that_is_not_mapped() {
        let opener = Opener::start().expect("started");
        assert!(opener.binary(std::process::id(), (0x1000, 0x2000)).is_err());
    }
}
