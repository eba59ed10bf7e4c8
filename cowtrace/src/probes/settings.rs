//! The numbers for the programs, from the running kernel's BTF and symbols.

use std::fs;

use cowtrace_common::setting::{Field, Setting, zap_spares};

use crate::{btf::Btf, errors, event::Comm, facts::key, kallsyms::Kallsyms};

/// What limits a run to some tasks. All given ones have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This process and the children it will have; children of the tracer itself for `-- CMD`.
    pub tgid: Option<u32>,
    /// Tasks of this name; a `*` at the end stands for any rest.
    pub comm: Option<String>,
    /// Tasks in this cgroup or in one that was below it at the start.
    pub cgroup: Option<Cgroup>,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Cgroup v2 ids, which are the inodes of the directories: its own and of those below it.
    pub ids: Vec<u64>,
    /// Its path below the root.
    pub path: String,
}

impl Filter {
    /// In words; none if nothing is limited.
    pub fn describe(&self) -> Option<String> {
        let parts = [
            self.tgid.map(|tgid| format!("process {tgid} and its children")),
            self.comm.as_ref().map(|comm| format!("tasks named {comm}")),
            self.cgroup.as_ref().map(|cgroup| format!("cgroup {}", cgroup.path)),
        ];
        let given: Vec<_> = parts.into_iter().flatten().collect();
        (!given.is_empty()).then(|| given.join(", "))
    }
}

/// Both arrays, ready to be written into the programs' read-only data.
pub struct Settings {
    /// Byte offsets by [`Field`].
    pub offsets: [u32; Field::ALL.len()],
    /// Numbers by [`Setting`].
    pub numbers: [u64; Setting::COUNT],
}

impl Settings {
    /// Finds all of them, or says which one this kernel does not have.
    pub fn find(btf: &Btf, kallsyms: &Kallsyms, filter: &Filter) -> anyhow::Result<Self> {
        let mut offsets = [0; Field::ALL.len()];
        for (offset, field) in offsets.iter_mut().zip(Field::ALL) {
            let member = field.member();
            let found = member.names.iter().find_map(|name| btf.offset(member.of, name));
            *offset = match found {
                Some(found) => found,
                None if field.is_optional() => 0,
                None => return Err(errors::no_member(&member)),
            };
        }
        let mut settings = Self { offsets, numbers: [0; Setting::COUNT] };
        settings.architecture();
        settings.pages(btf, kallsyms)?;
        settings.interrupts(btf, kallsyms)?;
        settings.zaps(btf);
        settings.calls(btf);
        settings.filter(filter);
        Ok(settings)
    }

    /// Has short-term pins told like all others, or only counted.
    #[must_use]
    pub fn telling_short_term(mut self, tell: bool) -> Self {
        self.set(Setting::TellShortTerm, tell.into());
        self
    }

    /// Has programs ask what is shed, or not.
    #[must_use]
    pub fn shedding(mut self, may: bool) -> Self {
        self.set(Setting::Sheds, may.into());
        self
    }

    /// Has programs tell their understudies what they saw, or not.
    #[must_use]
    pub fn preemptible(mut self, may: bool) -> Self {
        self.set(Setting::Preemptible, may.into());
        self
    }

    fn set(&mut self, setting: Setting, number: u64) {
        self.numbers[setting as usize] = number;
    }

    /// What x86-64 means by the bits of a PTE (arch/x86/include/asm/pgtable_types.h).
    fn architecture(&mut self) {
        self.set(Setting::PtePresent, 1);
        self.set(Setting::PteWrite, 1 << 1);
        self.set(Setting::PtePfn, 0x000f_ffff_ffff_f000);
        self.set(Setting::PageShift, 12);
        // Without the flag the kernel runs with four, whatever the CPU can do (setup_clear_cpu_cap).
        let five = fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| has_flag(&info, "la57"));
        self.set(Setting::PageTableLevels, if five { 5 } else { 4 });
    }

    fn pages(&mut self, btf: &Btf, kallsyms: &Kallsyms) -> anyhow::Result<()> {
        let page = btf.size("page").filter(|size| size.is_power_of_two());
        let page = u64::from(page.ok_or_else(|| errors::no_type("struct page"))?);
        self.set(Setting::PageStructShift, page.ilog2().into());
        let base = kallsyms.address("vmemmap_base");
        self.set(Setting::VmemmapBase, base.ok_or_else(|| errors::no_variable("vmemmap_base"))?);
        let offset = kallsyms.address("page_offset_base");
        let offset = offset.ok_or_else(|| errors::no_variable("page_offset_base"))?;
        self.set(Setting::PageOffsetBase, offset);
        for (setting, flag) in [
            (Setting::PgHead, "PG_head"),
            (Setting::PgLru, "PG_lru"),
            (Setting::PgSwapcache, "PG_swapcache"),
        ] {
            let bit = btf.enumerator(flag).ok_or_else(|| errors::no_type(flag))?;
            self.set(setting, 1 << bit);
        }
        let double_map = btf.enumerator("PG_double_map");
        self.set(Setting::PgDoubleMap, double_map.map_or(0, |bit| 1 << bit));
        self.folios(btf, page)?;
        // The bit came with 5.19; before, no fault is an unshare.
        self.set(Setting::FaultUnshare, btf.enumerator("FAULT_FLAG_UNSHARE").unwrap_or(0));
        // unpin_user_page_range_dirty_lock came with 5.13 and, with it, loops that do not nest.
        let nested = btf.prototype("unpin_user_page_range_dirty_lock").is_none();
        self.set(Setting::NestedUnpins, nested.into());
        self.set(Setting::FollLongterm, foll_longterm(btf));
        self.set(Setting::SgBytes, btf.size("scatterlist").unwrap_or(0).into());
        Ok(())
    }

    fn interrupts(&mut self, btf: &Btf, kallsyms: &Kallsyms) -> anyhow::Result<()> {
        let offsets = kallsyms.address("__per_cpu_offset");
        self.set(Setting::PerCpuOffsets, offsets.unwrap_or(0));
        let count = preempt_count(btf, kallsyms);
        self.set(Setting::PreemptCount, count.ok_or_else(errors::no_preempt_count)?);
        Ok(())
    }

    fn folios(&mut self, btf: &Btf, page: u64) -> anyhow::Result<()> {
        let pins = folio_pins(btf, page).ok_or_else(|| errors::no_type("a folio's pin count"))?;
        self.set(Setting::FolioPins, pins);
        let pages =
            folio_pages(btf, page).ok_or_else(|| errors::no_type("a folio's page count"))?;
        self.set(Setting::FolioPages, pages);
        if let Some(offset) = btf.offset("folio", "_large_mapcount") {
            self.set(Setting::FolioMappings, offset.into());
        } else {
            let entire = btf.offset("page", "compound_mapcount");
            let entire = entire.ok_or_else(|| errors::no_type("a folio's mapping count"))?;
            self.set(Setting::EntireMappings, page + u64::from(entire));
        }
        Ok(())
    }

    fn zaps(&mut self, btf: &Btf) {
        let has = |name| btf.offset("zap_details", name).is_some();
        self.set(
            Setting::ZapSpares,
            if has("check_mapping") {
                zap_spares::IF_POINTER
            } else if has("even_cows") {
                zap_spares::UNLESS_FLAG
            } else {
                zap_spares::IF_FLAG
            },
        );
    }

    /// Helper functions that spare the programs slower reads where the kernel has them.
    fn calls(&mut self, btf: &Btf) {
        for (setting, function) in [
            (Setting::HasFuncArg, "BPF_FUNC_get_func_arg"),
            (Setting::HasTypedTask, "BPF_FUNC_get_current_task_btf"),
        ] {
            self.set(setting, btf.enumerator(function).is_some().into());
        }
    }

    fn filter(&mut self, filter: &Filter) {
        self.set(Setting::OwnTgid, std::process::id().into());
        self.set(Setting::FilterTgids, filter.tgid.is_some().into());
        self.set(Setting::FilterCgroups, filter.cgroup.is_some().into());
        if let Some(comm) = &filter.comm {
            let (want, mask) = comm_pattern(comm);
            let [want, mask] = [want, mask].map(halves);
            self.set(Setting::FilterComm, want[0]);
            self.set(Setting::FilterCommRest, want[1]);
            self.set(Setting::FilterCommMask, mask[0]);
            self.set(Setting::FilterCommRestMask, mask[1]);
        }
    }
}

/// Whether the first CPU of /proc/cpuinfo has a flag.
fn has_flag(info: &str, flag: &str) -> bool {
    let flags = info.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|word| word == flag))
}

/// A variable of its own, and from 6.2 to 6.14 a member of one.
fn preempt_count(btf: &Btf, kallsyms: &Kallsyms) -> Option<u64> {
    kallsyms.address("__preempt_count").or_else(|| {
        Some(kallsyms.address("pcpu_hot")? + u64::from(btf.offset("pcpu_hot", "preempt_count")?))
    })
}

/// Where a large folio's page count stands, counted from its first `struct page`.
fn folio_pages(btf: &Btf, page: u64) -> Option<u64> {
    // 6.15 and later; 6.1 to 6.14; before, in the second page.
    btf.offset("folio", "_nr_pages")
        .or_else(|| btf.offset("folio", "_folio_nr_pages"))
        .map(u64::from)
        .or_else(|| Some(page + u64::from(btf.offset("page", "compound_nr")?)))
}

/// Where a large folio's pin count stands, counted from its first `struct page`.
fn folio_pins(btf: &Btf, page: u64) -> Option<u64> {
    // 6.1 and later; 5.18 to 6.0 had it in the second page, 5.7 to 5.17 in the third.
    btf.offset("folio", "_pincount")
        .map(u64::from)
        .or_else(|| Some(page + u64::from(btf.offset("page", "compound_pincount")?)))
        .or_else(|| Some(2 * page + u64::from(btf.offset("page", "hpage_pinned_refcount")?)))
}

/// The bytes to compare a comm with, and which of them count.
fn comm_pattern(comm: &str) -> ([u8; 16], [u8; 16]) {
    let prefix = comm.strip_suffix('*');
    let text = prefix.unwrap_or(comm).as_bytes();
    // The kernel keeps 15 bytes and a NUL.
    let len = text.len().min(15);
    let mut want = Comm::default().0;
    want[..len].copy_from_slice(&text[..len]);
    let counted = if prefix.is_some() { len } else { len + 1 };
    let mut mask = [0; 16];
    mask[..counted].fill(0xff);
    (want, mask)
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(bytes);
    [whole as u64, (whole >> 64) as u64]
}

/// FOLL_LONGTERM: an enumerator from 6.3 on, before a #define.
fn foll_longterm(btf: &Btf) -> u64 {
    btf.enumerator("FOLL_LONGTERM").unwrap_or(0x10000)
}

/// Facts that the rules need and only this kernel's BTF can tell.
pub fn facts(btf: &Btf) -> Vec<(&'static str, String)> {
    // FOLL_* are enumerators from 6.3 on and were renumbered then; before they were #defines.
    let foll = |name, before: u64| btf.enumerator(name).unwrap_or(before).to_string();
    let exclusive = if btf.enumerator("PG_anon_exclusive").is_some() { "yes" } else { "no" };
    // 84209e87c696 (6.2) leaves no trace in BTF. The same version took this enumerator away.
    let unshares = btf.enumerator("FAULT_FLAG_UNSHARE").is_some();
    let reads = if unshares && btf.enumerator("VM_FAULT_WRITE").is_none() { "yes" } else { "no" };
    // 4eae4efa2c29 (5.12) leaves no trace in BTF; this function came a version later.
    let range = btf.prototype("unpin_user_page_range_dirty_lock");
    let hugetlb = if range.is_some() { "yes" } else { "no" };
    vec![
        (key::HUGETLB_FORK, hugetlb.to_owned()),
        (key::FOLL_WRITE, foll("FOLL_WRITE", 0x1)),
        (key::FOLL_LONGTERM, foll_longterm(btf).to_string()),
        (key::FOLL_FORCE, foll("FOLL_FORCE", 0x10)),
        (key::ANON_EXCLUSIVE, exclusive.to_owned()),
        (key::READS_UNSHARE, reads.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, comm: &[u8; 16]) -> bool {
        let (want, mask) = comm_pattern(pattern);
        (0..16).all(|n| (want[n] ^ comm[n]) & mask[n] == 0)
    }

    #[test]
    fn a_flag_is_a_whole_word_of_the_flags() {
        let info = "processor\t: 0\nmodel name\t: la57\nflags\t\t: fpu la57 sse\n";
        assert!(has_flag(info, "la57"));
        assert!(!has_flag(info, "la5") && !has_flag("flags\t\t: fpu\n", "la57"));
    }

    #[test]
    fn a_name_matches_itself_and_nothing_longer() {
        assert!(matches("nccl", b"nccl\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert!(!matches("nccl", b"nccl-worker\0\0\0\0\0"));
    }

    #[test]
    fn a_star_stands_for_any_rest() {
        assert!(matches("nccl*", b"nccl\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert!(matches("nccl*", b"nccl-worker\0\0\0\0\0"));
        assert!(!matches("nccl*", b"ncc\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn a_name_longer_than_the_kernel_keeps_is_compared_as_far_as_it_is_kept() {
        assert!(matches("a-name-of-twenty-bytes", b"a-name-of-twent\0"));
    }
}
