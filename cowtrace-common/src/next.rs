//! The one form that the ring has and a recording has not.
//!
//! io_uring gives a registered buffer back page by page: 262,144 unpins for 1 GiB, which as whole records no ring has
//! room for. The first of a thread is a record; those that follow it are told in two words, without a header, and
//! the source makes UNPIN records of many pages of them. So nobody behind the source has to know.

use crate::{program::Program, wire::Header};

/// How long behind the record, in nanoseconds, unpins are told so. Then comes another one: name and cgroup are never older.
pub const WITHIN_NS: u64 = 1_000_000;

/// One more small page unpinned by the thread of which the same program told a record last on the same CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextUnpin {
    /// CLOCK_BOOTTIME in nanoseconds.
    pub time_ns: u64,
    /// From the lowest bit: 40 of the PFN, 16 of the CPU, 8 of the program.
    packed: u64,
}

const PFN_BITS: u32 = 40;
const CPU_BITS: u32 = 16;

// What the ring holds is told apart by its length.
const _: () =
    assert!(size_of::<NextUnpin>() == 2 * 8 && size_of::<NextUnpin>() < size_of::<Header>());
const _: () = assert!(Program::ALL.len() <= 1 << (u64::BITS - PFN_BITS - CPU_BITS));

impl NextUnpin {
    /// Packs them. A physical address has at most 52 bits, so a PFN 40; no kernel has 2^16 CPUs.
    #[inline]
    pub const fn new(time_ns: u64, program: Program, cpu: u32, pfn: u64) -> Self {
        let pfn = pfn & ((1 << PFN_BITS) - 1);
        let cpu = (cpu & ((1 << CPU_BITS) - 1)) as u64;
        Self { time_ns, packed: pfn | cpu << PFN_BITS | (program as u64) << (PFN_BITS + CPU_BITS) }
    }

    /// From what the ring holds; `None` if that is of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([time_ns, packed], []) = bytes.as_chunks::<8>() else {
            return None;
        };
        let [time_ns, packed] = [*time_ns, *packed].map(u64::from_ne_bytes);
        Some(Self { time_ns, packed })
    }

    /// As the ring holds it.
    pub const fn to_words(self) -> [u64; 2] {
        [self.time_ns, self.packed]
    }

    /// The page.
    pub const fn pfn(self) -> u64 {
        self.packed & ((1 << PFN_BITS) - 1)
    }

    /// Number of the program that told it.
    pub const fn program(self) -> u16 {
        (self.packed >> (PFN_BITS + CPU_BITS)) as u16
    }

    /// The CPU.
    pub const fn cpu(self) -> u32 {
        (self.packed >> PFN_BITS) as u32 & ((1 << CPU_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_up_to_the_largest() {
        for (program, cpu, pfn) in [
            (Program::UnpinPage, 0, 0),
            (Program::ALL[Program::ALL.len() - 1], u16::MAX.into(), (1 << PFN_BITS) - 1),
            (Program::UnpinFolioAgain, 8191, 0x12_3456_789a),
        ] {
            let next = NextUnpin::new(42, program, cpu, pfn);
            assert_eq!((next.program(), next.cpu(), next.pfn()), (program as u16, cpu, pfn));
        }
    }

    #[test]
    fn only_two_words_are_one() {
        assert_eq!(NextUnpin::from_bytes(&[0; 15]), None);
        assert_eq!(NextUnpin::from_bytes(&[0; 24]), None);
        let next = NextUnpin::new(7, Program::UnpinPage, 3, 9);
        let [time, packed] = next.to_words().map(u64::to_ne_bytes);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&time);
        bytes[8..].copy_from_slice(&packed);
        assert_eq!(NextUnpin::from_bytes(&bytes), Some(next));
    }
}
