//! Stacks: shared, since what a pin, a cause and a finding keep of an event is its stack.

use std::{fmt, rc::Rc};

/// Addresses of return, innermost first.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Those in the kernel, then those in the process; none for a record without.
    frames: Option<Rc<[u64]>>,
    /// How many are in the kernel.
    kernel: usize,
}

impl Stack {
    /// Of frames in the kernel and in the process.
    pub fn new(kernel: &[u64], user: &[u64]) -> Self {
        Self::of(kernel.iter().chain(user).copied().collect(), kernel.len())
    }

    /// Of all frames, of which the first `kernel` are in the kernel.
    pub fn of(frames: Rc<[u64]>, kernel: usize) -> Self {
        let kernel = kernel.min(frames.len());
        Self { frames: Some(frames).filter(|frames| !frames.is_empty()), kernel }
    }

    /// In the kernel.
    pub fn kernel(&self) -> &[u64] {
        &self.all()[..self.kernel]
    }

    /// In the process.
    pub fn user(&self) -> &[u64] {
        &self.all()[self.kernel..]
    }

    /// Whether somebody else has it as well.
    pub fn is_shared(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| Rc::strong_count(frames) > 1)
    }

    fn all(&self) -> &[u64] {
        self.frames.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kernel, user) = (self.kernel(), self.user());
        f.debug_struct("Stack").field("kernel", &kernel).field("user", &user).finish()
    }
}
