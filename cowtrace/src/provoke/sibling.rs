//! A child that only lives: it shares the pages copy-on-write until it is let go.
//!
//! It waits at a pipe, so nothing depends on time. If the parent dies, the pipe
//! closes and the child goes too.

use std::io::{self, PipeReader, PipeWriter, Read as _};

use crate::sys::{self, Child};

/// The living child, as the parent holds it.
#[derive(Debug)]
pub(super) struct Sibling {
    child: Child,
    /// Only the parent has this end: closed, the child's read ends.
    lifeline: PipeWriter,
}

impl Sibling {
    /// Forks; the child writes to none of the caller's pages.
    pub(super) fn fork() -> io::Result<Self> {
        let (until_closed, lifeline) = io::pipe()?;
        let (child, lifeline) = sys::fork_child(lifeline, || wait(until_closed))?;
        Ok(Self { child, lifeline })
    }

    /// Lets the child go and waits for its end: its exit code.
    pub(super) fn finish(self) -> io::Result<i32> {
        drop(self.lifeline);
        self.child.wait()
    }
}

fn wait(mut until_closed: PipeReader) -> i32 {
    i32::from(until_closed.read(&mut [0]).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_lives_until_it_is_let_go() {
        let sibling = Sibling::fork().expect("fork");
        assert_eq!(sibling.finish().expect("wait"), 0);
    }
}
