//! The programs' own variables: a load, where a map costs a lookup.

use core::cell::UnsafeCell;

/// Data that programs on all CPUs read and write, through its address alone: a word or byte at once, and volatile. (LLVM
/// has no atomic loads for BPF.)
pub struct Variable<T>(UnsafeCell<T>);

// SAFETY: nobody gets a reference to it.
unsafe impl<T> Sync for Variable<T> {}

impl<T> Variable<T> {
    /// What it holds when the programs are loaded.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Where it is.
    #[inline(always)]
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}
