//! What the source told about host, kernel and run: the rules ask here, never the machine.

use std::collections::BTreeMap;

/// Key of a fact. The keys are part of the recording format.
pub mod key {
    /// cowtrace's own version.
    pub const VERSION: &str = "cowtrace";
    /// Name of the host.
    pub const HOST: &str = "host";
    /// `uname -r`.
    pub const KERNEL: &str = "kernel";
    /// `uname -m`.
    pub const MACHINE: &str = "machine";
    /// Which build of cowtrace, where the build knew; absent else.
    pub const BUILD: &str = "cowtrace.build";
    /// `uname -v`.
    pub const KERNEL_BUILD: &str = "kernel.build";
    /// CRC-32 of the kernel's BTF, hexadecimal: two kernels with the same one have the same types and functions.
    pub const BTF: &str = "kernel.btf_crc32";
    /// Bytes of a page.
    pub const PAGE_SIZE: &str = "page_size";
    /// CLOCK_REALTIME at CLOCK_BOOTTIME 0, nanoseconds.
    pub const BOOT: &str = "clock.boot_realtime_ns";
    /// The same as clocks had it later, once CLOCK_REALTIME was set. [`BOOT`] stays as it was: it tells which run this is.
    pub const BOOT_SINCE: &str = "clock.boot_realtime_since_ns";
    /// CLOCK_BOOTTIME when the last probe was attached, nanoseconds.
    pub const STARTED: &str = "clock.started_ns";
    /// CLOCK_BOOTTIME when the trace ended, nanoseconds. A recording without it was not ended by cowtrace.
    pub const ENDED: &str = "clock.ended_ns";
    /// When it was known last that the end of a pin may have been lost, CLOCK_BOOTTIME. A reader makes it, and keyframes
    /// tell it.
    pub const ENDS_LOST: &str = "lost.ends_ns";
    /// Since when the books may hold pins whose ends were lost. The same.
    pub const HELD_SINCE: &str = "lost.held_since_ns";
    /// Bit of FOLL_WRITE.
    pub const FOLL_WRITE: &str = "foll.write";
    /// Bit of FOLL_LONGTERM.
    pub const FOLL_LONGTERM: &str = "foll.longterm";
    /// Bit of FOLL_FORCE.
    pub const FOLL_FORCE: &str = "foll.force";
    /// PFN of the zero page.
    pub const ZERO_PFN: &str = "zero_pfn";
    /// `yes` where pinned anonymous pages are exclusive and never copied (5.19 and later).
    pub const ANON_EXCLUSIVE: &str = "feature.anon_exclusive";
    /// `yes` where a fork copies pinned hugetlb pages for the child (5.12 and later), else `no`.
    pub const HUGETLB_FORK: &str = "feature.hugetlb_fork_copies";
    /// `yes` where a long-term pin for reading, too, first gives the process a page of its own in a private
    /// mapping (6.2 and later), else `no`.
    pub const READS_UNSHARE: &str = "feature.longterm_reads_unshare";
    /// Prefix of facts, a path behind it: the build id of a file that is in stacks, hexadecimal.
    pub const BINARY: &str = "build_id:";
    /// What limits the run to some processes; absent: nothing does.
    pub const FILTER: &str = "filter";
    /// Which mappings for devices are watched, `iommu` or `dma`; absent: none.
    pub const DEVICE_MAPS: &str = "device_maps";
    /// That an audit has not looked at all pages.
    pub const AUDIT: &str = "audit";
    /// `nr_foll_pin_acquired` − `nr_foll_pin_released` before the first probe was attached.
    pub const VMSTAT_START: &str = "vmstat.pins.start";
    /// The same after the last one was detached.
    pub const VMSTAT_END: &str = "vmstat.pins.end";
    /// CLOCK_BOOTTIME that a part of a recording begins at, nanoseconds: what was found before and is closed is not in
    /// it.
    pub const PART_FROM: &str = "part.from_ns";
    /// CLOCK_BOOTTIME at which a part ends that the next one goes on from, nanoseconds.
    pub const PART_UNTIL: &str = "part.until_ns";
    /// A recording that is not whole says so here.
    pub const DAMAGE: &str = "recording.damage";
}

/// The facts so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    texts: BTreeMap<String, String>,
    foll: Foll,
}

/// This kernel's FOLL_* that rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Foll {
    write: i64,
    longterm: i64,
    force: i64,
}

impl Default for Foll {
    /// Those of most kernels.
    fn default() -> Self {
        Self { write: 1, longterm: 0x100, force: 8 }
    }
}

impl<K: Into<String>> FromIterator<(K, String)> for Facts {
    fn from_iter<I: IntoIterator<Item = (K, String)>>(facts: I) -> Self {
        let mut all = Self::default();
        facts.into_iter().for_each(|(key, value)| all.set(key.into(), value));
        all
    }
}

impl Facts {
    /// Takes a fact in; a later one replaces an earlier one.
    pub fn set(&mut self, key: String, value: String) {
        let flag = match key.as_str() {
            key::FOLL_WRITE => Some(&mut self.foll.write),
            key::FOLL_LONGTERM => Some(&mut self.foll.longterm),
            key::FOLL_FORCE => Some(&mut self.foll.force),
            _ => None,
        };
        if let (Some(flag), Ok(number)) = (flag, value.parse()) {
            *flag = number;
        }
        self.texts.insert(key, value);
    }

    /// A fact's text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    /// A fact does not hold any more.
    pub fn clear(&mut self, key: &str) {
        self.texts.remove(key);
    }

    /// A fact's number, decimal.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    /// CLOCK_REALTIME at CLOCK_BOOTTIME 0, nanoseconds, as clocks show it now: one that was wrong at first was set since.
    pub fn boot(&self) -> Option<i64> {
        self.number(key::BOOT_SINCE).or_else(|| self.number(key::BOOT))
    }

    /// All, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Build ids of the files in stacks, by path.
    pub fn binaries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(key, id)| Some((key.strip_prefix(key::BINARY)?, id)))
    }

    /// Whether the run's kernel keeps pinned anonymous pages exclusive.
    pub fn anon_exclusive(&self) -> bool {
        self.text(key::ANON_EXCLUSIVE) == Some("yes")
    }

    /// Whether the run's kernel copies pinned hugetlb pages for a child, as it does any other.
    pub fn forks_copy_hugetlb(&self) -> bool {
        self.text(key::HUGETLB_FORK) != Some("no")
    }

    /// Whether what a pin holds of a private mapping is the process's own page, not the file's or the zero page.
    pub fn pins_own_page(&self, gup_flags: u32) -> bool {
        let reads_unshare = self.text(key::READS_UNSHARE) == Some("yes");
        self.is_write(gup_flags) || (reads_unshare && self.is_longterm(gup_flags))
    }

    /// Whether a pin lets the device write.
    pub fn is_write(&self, gup_flags: u32) -> bool {
        i64::from(gup_flags) & self.foll.write != 0
    }

    /// Whether a pin is kept for as long as its holder likes.
    pub fn is_longterm(&self, gup_flags: u32) -> bool {
        i64::from(gup_flags) & self.foll.longterm != 0
    }

    /// A pin's flags by name, `WRITE|LONGTERM`; `-` for none that is known.
    pub fn flag_names(&self, gup_flags: u32) -> String {
        let known = [
            (self.is_write(gup_flags), "WRITE"),
            (self.is_longterm(gup_flags), "LONGTERM"),
            (i64::from(gup_flags) & self.foll.force != 0, "FORCE"),
        ];
        let names: Vec<_> = known.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if names.is_empty() { "-".to_owned() } else { names.join("|") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS_FOR_LONG: u32 = 0x100;
    const WRITES: u32 = 1;

    #[test]
    fn a_long_pin_for_reading_is_of_the_processs_own_page_only_where_the_kernel_unshares() {
        let mut facts = Facts::default();
        assert!(facts.pins_own_page(WRITES) && !facts.pins_own_page(READS_FOR_LONG));
        facts.set(key::READS_UNSHARE.to_owned(), "yes".to_owned());
        assert!(facts.pins_own_page(READS_FOR_LONG));
        assert!(!facts.pins_own_page(0), "a short pin for reading may be of the file's page");
    }
}
