//! Another process that copies to our pages, or from them (`process_vm_writev`,
//! `process_vm_readv`): it pins them, and then waits for its own memory.
//!
//! Promise: it was forked before the pages existed, so it has none of them.
//!
//! Surprise: its memory is watched by its own userfaultfd, which we hold. The
//! copy goes on when we fill that memory, and then the pin ends with it.

use std::{
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::raw::c_int,
};

use anyhow::{Context as _, bail, ensure};

use super::{Device, arrival, pattern, pattern_page};
use crate::{
    provoke::{
        outcome::Data,
        pages::{Pages, STORED_AGAIN},
        skipped::skip_on,
    },
    sys::{self, Child, Copying, Mapping, Userfault, Watch},
};

/// The kernel pins no more in one go (mm/process_vm_access.c, PVM_MAX_KMALLOC_PAGES).
const MOST_PAGES: usize = 1024;

const GO: i64 = 0;

/// The other process, as we see it.
#[derive(Debug)]
pub(super) struct Remote {
    copying: Copying,
    child: Child,
    requests: PipeWriter,
    answers: PipeReader,
    /// Its memory, while it waits for that.
    memory: Option<Memory>,
}

/// The other process's memory.
#[derive(Debug)]
struct Memory {
    userfault: Userfault,
    address: usize,
    bytes: usize,
}

impl Remote {
    /// Forks the other process.
    pub(super) fn start(copying: Copying) -> anyhow::Result<Self> {
        let ((theirs, requests), (answers, to_us)) = (io::pipe()?, io::pipe()?);
        let us = std::process::id();
        let body = move || {
            // It may be stopped in the middle of its copy when the case turns out to be one for other kernels.
            sys::die_with_parent();
            serve(us, copying, theirs, to_us).map_or(1, |()| 0)
        };
        let (child, (requests, answers)) =
            sys::fork_child((requests, answers), body).context("cannot fork")?;
        Ok(Self { copying, child, requests, answers, memory: None })
    }

    /// Takes its userfaultfd over.
    fn take_userfault(&mut self) -> anyhow::Result<Userfault> {
        let number = receive(&mut self.answers).context("the other process is gone")?;
        let number = as_result(number).map_err(skip_on(
            &[libc::EPERM, libc::ENOSYS],
            "userfaultfd does not stop the kernel here",
        ))?;
        let fd = sys::descriptor_of(self.child.pid(), c_int::try_from(number)?);
        fd.map(Userfault::from).context("cannot take the other process's userfaultfd over")
    }

    /// How the copy ended: bytes, or the error.
    fn result(&mut self) -> anyhow::Result<usize> {
        let result = receive(&mut self.answers).context("the other process is gone")?;
        as_result(result).context("cannot copy between processes")
    }
}

impl Device for Remote {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        let (mapping, bytes) = (pages.mapping(), pages.mapping().bytes());
        ensure!(mapping.pages() <= MOST_PAGES, "at most {MOST_PAGES} pages in one copy");
        send(&mut self.requests, mapping.address())?;
        send(&mut self.requests, bytes)?;
        let mut userfault = self.take_userfault()?;
        let address = receive(&mut self.answers).context("the other process is gone")?;
        send(&mut self.requests, GO)?;
        // Once it has touched its own memory, it has pinned ours.
        let [_, ended] = sys::wait_readable(&userfault, &self.answers)?;
        if ended {
            let copied = self.result()?;
            bail!("the copy of {copied} bytes did not wait");
        }
        userfault.take_message().context("cannot hear of the fault")?;
        self.memory = Some(Memory { userfault, address: usize::try_from(address)?, bytes });
        Ok(())
    }

    fn holder(&self) -> Option<u32> {
        Some(self.child.pid())
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        let memory = self.memory.take().context("the pages are not pinned")?;
        let bytes: Vec<u8> = (0..memory.bytes).map(pattern).collect();
        memory.userfault.fill(memory.address, &bytes).context("cannot fill its memory")?;
        let copied = self.result()?;
        ensure!(copied == memory.bytes, "{copied} bytes were copied");
        let mut firsts = vec![0; pages.mapping().pages()];
        self.answers.read_exact(&mut firsts).context("the other process is gone")?;
        let page = |&offset: &usize| match self.copying {
            Copying::ToIt => arrival(pages, offset, &pattern_page(offset)),
            Copying::FromIt if firsts[offset / sys::page_size()] == STORED_AGAIN => Data::Sync,
            Copying::FromIt => Data::Lost,
        };
        Ok(pages.offsets().iter().map(page).collect())
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        drop(self.requests);
        let code = self.child.wait().context("cannot wait for the other process")?;
        ensure!(code == 0, "the other process ended with {code}");
        Ok(())
    }
}

/// The other process's part. It answers with its userfaultfd, its memory, the result of the copy, and
/// the first byte of each page.
fn serve(
    us: u32,
    copying: Copying,
    mut requests: PipeReader,
    mut answers: PipeWriter,
) -> anyhow::Result<()> {
    let [address, bytes] = [receive(&mut requests)?, receive(&mut requests)?];
    let (address, bytes) = (usize::try_from(address)?, usize::try_from(bytes)?);
    let memory = Mapping::new(bytes / sys::page_size())?;
    let userfault = Userfault::new();
    send(&mut answers, as_number(&userfault, |userfault| i64::from(userfault.number())))?;
    // Ours too until the end: it may be taken over any time from now on.
    let userfault = userfault?;
    userfault.register(&memory, Watch::Missing)?;
    send(&mut answers, memory.address())?;
    receive(&mut requests)?;
    let copied = sys::copy_with_process(us, copying, &memory, address);
    send(&mut answers, as_number(&copied, |&bytes| bytes.cast_signed() as i64))?;
    let firsts = (0..bytes).step_by(sys::page_size()).map(|at| memory.read_byte(at));
    answers.write_all(&firsts.collect::<Vec<_>>())?;
    // The pages were unpinned long ago; this is only so that both end in order.
    requests.read_to_end(&mut Vec::new())?;
    drop(userfault);
    Ok(())
}

/// A number, or a negative errno.
fn as_number<T>(result: &io::Result<T>, number: impl FnOnce(&T) -> i64) -> i64 {
    let errno = |error: &io::Error| -i64::from(error.raw_os_error().unwrap_or(libc::EIO));
    result.as_ref().map_or_else(errno, number)
}

fn as_result(number: i64) -> io::Result<usize> {
    usize::try_from(number).map_err(|_| io::Error::from_raw_os_error(-number as c_int))
}

fn send<T: TryInto<i64>>(to: &mut PipeWriter, number: T) -> anyhow::Result<()> {
    let number = number.try_into().ok().context("a number too large")?;
    Ok(to.write_all(&number.to_ne_bytes())?)
}

fn receive(from: &mut PipeReader) -> anyhow::Result<i64> {
    let mut bytes = [0; size_of::<i64>()];
    from.read_exact(&mut bytes)?;
    Ok(i64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_errors_pass_the_pipe() {
        let (mut from, mut to) = io::pipe().expect("pipe");
        for result in [Ok(42), Err(io::Error::from_raw_os_error(libc::EPERM))] {
            send(&mut to, as_number(&result, |&number| number)).expect("room");
            let received = as_result(receive(&mut from).expect("sent"));
            assert_eq!(
                received.map_err(|error| error.raw_os_error()),
                result.map(|_| 42).map_err(|error| error.raw_os_error())
            );
        }
    }
}
