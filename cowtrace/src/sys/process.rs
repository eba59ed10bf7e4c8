//! Other processes: children of ours, and copies between them and us.
//!
//! Promise: code of ours runs in a child only after `fork`, on its own copy of
//! the memory. A child that shares our memory ([`vfork_child`]) runs none.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        raw::c_int,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use super::{Mapping, new_descriptor, succeeded};

/// A forked child process of ours.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
}

/// Forks: the child runs `body` and exits with its value, without a return to the caller.
///
/// `parent_only` is dropped in the child before `body` starts and handed back in the parent: the
/// place for the end of a pipe that only the parent may hold.
///
/// The child has this one thread. If the process has more, one of them may have held a lock at
/// the fork, so `body` should keep to plain system calls.
pub fn fork_child<P>(parent_only: P, body: impl FnOnce() -> i32) -> io::Result<(Child, P)> {
    // SAFETY: the child gets its own copy of all memory, never returns from here, and its exit
    // below runs no destructor or exit handler that belongs to the parent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the caller's frames: two processes would run them.
            let run = AssertUnwindSafe(|| {
                drop(parent_only);
                body()
            });
            let code = catch_unwind(run).unwrap_or(101);
            // SAFETY: ends the process at once; nothing after it runs.
            unsafe { libc::_exit(code) }
        }
        pid => Ok((Child { pid }, parent_only)),
    }
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Waits for the child's end: its exit code, or 128 + the signal that killed it.
    pub fn wait(self) -> io::Result<i32> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for one int; the pid is an unreaped child of ours.
            match succeeded(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => break answer?,
            }
        }
        Ok(if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        })
    }
}

/// Has the kernel kill this process when the thread that forked it ends; one that has ended already is not
/// noticed.
pub fn die_with_parent() {
    // SAFETY: takes numbers only, and cannot fail with a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Parts a forked process from what its parent has open, but for one descriptor: no pipe is kept from its end, and
/// signals of the terminal, or of whoever ends a group of processes, do not end it in front of its parent.
pub fn stand_alone(keep: OwnedFd) -> io::Result<OwnedFd> {
    const KEPT: c_int = 3;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..KEPT {
        // SAFETY: replaces a descriptor of this process by one that is open; nothing else here owns it.
        succeeded(unsafe { libc::dup2(nothing.as_raw_fd(), standard) })?;
    }
    // SAFETY: as above; what the number stood for is closed below in any case, and never used again.
    succeeded(unsafe { libc::dup2(keep.as_raw_fd(), KEPT) })?;
    let (first, last) = (KEPT.cast_unsigned() + 1, u32::MAX);
    // Their owners are copies of those of the parent, and never run in this process.
    std::mem::forget((nothing, keep));
    // SAFETY: takes numbers only; what is closed is not used any more, as above.
    succeeded(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as c_int)?;
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: to ignore a signal runs no code.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
    new_descriptor(KEPT.into())
}

/// Whether this process was started so that the end of its terminal does not concern it.
pub fn is_hangup_ignored() -> bool {
    // SAFETY: all zeros is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: changes nothing, and `action` is a valid place for the answer.
    let asked = unsafe { libc::sigaction(libc::SIGHUP, ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Asks a process to end. One that has ended already is not noticed.
pub fn terminate(pid: u32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGTERM) };
}

/// Ends this process at once, without destructors: for a process that another one goes on for.
pub fn end_process(code: i32) -> ! {
    // SAFETY: ends the process; nothing after it runs.
    unsafe { libc::_exit(code) }
}

/// A child that shares our memory while we wait (`CLONE_VM | CLONE_VFORK`), tries to run a program that
/// does not exist, and exits.
pub fn vfork_child() -> io::Result<()> {
    const NO_PROGRAM: &CStr = c"/proc/self/no-such-program";
    let arguments = [NO_PROGRAM.as_ptr().cast_mut(), ptr::null_mut()];
    let (no_actions, no_attributes) = (ptr::null(), ptr::null());
    let (path, arguments, environment) =
        (NO_PROGRAM.as_ptr(), arguments.as_ptr(), [ptr::null_mut()].as_ptr());
    let mut pid = 0;
    // SAFETY: all strings and arrays live until the call is over, and both arrays end with null.
    match unsafe {
        libc::posix_spawn(&raw mut pid, path, no_actions, no_attributes, arguments, environment)
    } {
        libc::ENOENT => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Another process's descriptor, as one of ours. Needs the right to trace it.
pub fn descriptor_of(pid: u32, fd: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let process = new_descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: takes numbers only.
    new_descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

/// Waits until one of two descriptors can be read, or is at its end: which ones.
pub fn wait_readable(first: &impl AsFd, second: &impl AsFd) -> io::Result<[bool; 2]> {
    let entry = |fd: c_int| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut both = [entry(first.as_fd().as_raw_fd()), entry(second.as_fd().as_raw_fd())];
    // SAFETY: two valid entries, of which the kernel writes `revents`.
    succeeded(unsafe { libc::poll(both.as_mut_ptr(), 2, -1) })?;
    Ok(both.map(|entry| entry.revents != 0))
}

/// Which way [`copy_with_process`] copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// From the other process to us: its pages are pinned for reading.
    FromIt,
    /// From us to the other process: its pages are pinned for writing.
    ToIt,
}

/// `process_vm_readv(2)` or `process_vm_writev(2)` of all of `ours`, and as many bytes from `address` on
/// in the other process. Answers how many bytes it copied.
pub fn copy_with_process(
    pid: u32,
    copying: Copying,
    ours: &Mapping,
    address: usize,
) -> io::Result<usize> {
    let piece = |address| libc::iovec {
        iov_base: ptr::with_exposed_provenance_mut(address),
        iov_len: ours.bytes(),
    };
    let (local, remote) = (piece(ours.address()), piece(address));
    let (local, remote, pid) = (&raw const local, &raw const remote, pid.cast_signed());
    let copied = match copying {
        // SAFETY: the kernel writes to a Mapping, to which no reference exists.
        Copying::FromIt => unsafe { libc::process_vm_readv(pid, local, 1, remote, 1, 0) },
        // SAFETY: the kernel only reads memory of this process. What it writes to in the other one is
        // no memory of ours; the caller means to.
        Copying::ToIt => unsafe { libc::process_vm_writev(pid, local, 1, remote, 1, 0) },
    };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}
