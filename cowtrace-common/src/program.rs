//! The eBPF programs by number: the number stands in each record's header and indexes the counters.

/// Numbers and names from one list, so that neither can be forgotten.
macro_rules! programs {
    ($($(#[doc = $doc:literal])* $id:ident = $name:literal,)*) => {
        /// An eBPF program. Its number is part of the wire format: append, never reorder.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Program {
            $($(#[doc = $doc])* $id,)*
        }

        impl Program {
            /// All programs in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// Name of its function in the object.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

programs! {
    /// `do_wp_page` returned.
    WpFaultExit = "wp_fault_exit",
    /// The same without fexit: entry.
    WpFaultEnter = "wp_fault_enter",
    /// The same without fexit: return.
    WpFaultReturn = "wp_fault_return",
    /// `wp_page_copy` returned, where the compiler left it a function.
    WpCopyExit = "wp_copy_exit",
    /// `pin_user_pages_fast` returned.
    PinFastExit = "pin_fast_exit",
    /// `pin_user_pages` (6.5 and later) returned.
    PinExit = "pin_exit",
    /// `pin_user_pages` with `vmas` (6.4 and before) returned.
    PinVmasExit = "pin_vmas_exit",
    /// `pin_user_pages_remote` (6.5 and later) returned.
    PinRemoteExit = "pin_remote_exit",
    /// `pin_user_pages_unlocked` returned.
    PinUnlockedExit = "pin_unlocked_exit",
    /// `pin_user_pages_locked` (5.17 and before) returned.
    PinLockedExit = "pin_locked_exit",
    /// `pin_user_pages_fast_only` (6.2 and before) returned.
    PinFastOnlyExit = "pin_fast_only_exit",
    /// A pin call of the current process begins: (start, nr, flags, pages).
    PinEnter = "pin_enter",
    /// The same with the arguments (start, nr, pages, flags).
    PinUnlockedEnter = "pin_unlocked_enter",
    /// The same with the arguments (mm, start, nr, flags, pages).
    PinRemoteEnter = "pin_remote_enter",
    /// Any of the three returned.
    PinReturn = "pin_return",
    /// A long-term pin's slow path begins: it may unpin and pin again inside.
    LongtermEnter = "longterm_enter",
    /// It ends.
    LongtermExit = "longterm_exit",
    /// `unpin_user_page`.
    UnpinPage = "unpin_page",
    /// `unpin_user_pages`.
    UnpinPages = "unpin_pages",
    /// `unpin_user_pages_dirty_lock` begins.
    UnpinDirtyEnter = "unpin_dirty_enter",
    /// It ends.
    UnpinDirtyExit = "unpin_dirty_exit",
    /// `unpin_user_page_range_dirty_lock`.
    UnpinRange = "unpin_range",
    /// `unpin_user_folio`.
    UnpinFolio = "unpin_folio_pages",
    /// An MMU-notifier invalidation begins.
    InvalidateStart = "invalidate_start",
    /// It ends.
    InvalidateEnd = "invalidate_end",
    /// An MMU notifier was registered.
    NotifierRegister = "notifier_register",
    /// An interval notifier was inserted.
    NotifierInsert = "notifier_insert",
    /// A process was forked.
    Fork = "process_fork",
    /// An address space is torn down.
    MmExit = "mm_exit",
    /// `change_protection` with a `pgprot_t` (5.18 and before) begins.
    ProtectEnter = "protect_enter",
    /// `change_protection` with `mmu_gather` and `pgprot_t` (5.19 to 6.2) begins.
    ProtectProt = "protect_prot",
    /// `change_protection` as of 6.3 begins.
    Protect = "protect",
    /// A write to /proc/PID/clear_refs comes to a VMA.
    ClearRefs = "clear_refs",
    /// `do_wp_page` returned, and the kernel skipped the program that looks at that.
    WpFaultAgain = "wp_fault_again",
    /// `unmap_page_range` (6.19 and before) or `__zap_vma_range` (7.x) begins.
    Zap = "zap",
    /// `__unmap_hugepage_range` begins.
    ZapHuge = "zap_huge",
    /// `move_page_tables` with six arguments (6.7 and before) returned.
    MoveExit = "move_exit",
    /// `move_page_tables` with seven arguments (6.8 to 6.14) returned.
    MoveStackExit = "move_stack_exit",
    /// `move_page_tables` with a struct (6.15 and later) returned.
    MoveStructExit = "move_struct_exit",
    /// `handle_mm_fault` returned.
    Refault = "refault",
    /// `hugetlb_wp` with a `vm_fault` (6.10 and later) returned.
    HugetlbWpExit = "hugetlb_wp_exit",
    /// `hugetlb_cow` (5.18 and before) or `hugetlb_wp` with (mm, vma, address, ptep, …) begins.
    HugetlbCowEnter = "hugetlb_cow_enter",
    /// It returned.
    HugetlbCowReturn = "hugetlb_cow_return",
    /// `do_huge_pmd_wp_page` returned.
    HugeWpExit = "huge_wp_exit",
    /// `memfd_pin_folios` begins and ends with the same arguments, so its return is enough.
    PinFoliosExit = "pin_folios_exit",
    /// `folio_add_pin`.
    FolioAddPin = "add_pin",
    /// `folio_add_pins` returned.
    FolioAddPins = "add_pins",
    /// `unpin_folio`.
    UnpinOneFolio = "unpin_one_folio",
    /// `unpin_folios`.
    UnpinFolios = "unpin_many_folios",
    /// The PAGEMAP_SCAN ioctl comes to a VMA.
    PagemapScan = "pagemap_scan",
    /// Reclaim is about to unmap a page.
    ReclaimUnmap = "reclaim_unmap",
    /// A huge page's mapping is about to be split.
    SplitHuge = "split_huge",
    /// A fork begins to copy a VMA.
    ForkCopyEnter = "fork_copy_enter",
    /// It has copied it.
    ForkCopyExit = "fork_copy_exit",
    /// `move_vma` begins, where the compiler split `move_page_tables`.
    MoveVmaEnter = "move_vma_enter",
    /// `get_user_pages_fast` returned.
    ReferenceExit = "reference_exit",
    /// `io_import_fixed` (6.12 and before) returned.
    IoFixedExit = "io_fixed_exit",
    /// `io_import_reg_buf` (6.15 and later) returned.
    IoRegisteredExit = "io_registered_exit",
    /// Understudy of `PinFastExit`.
    PinFastAgain = "pin_fast_again",
    /// Understudy of `PinExit`.
    PinAgain = "pin_again",
    /// Understudy of `UnpinPage`.
    UnpinPageAgain = "unpin_page_again",
    /// Understudy of `UnpinPages`.
    UnpinPagesAgain = "unpin_pages_again",
    /// Understudy of `UnpinDirtyEnter`.
    UnpinDirtyAgain = "unpin_dirty_again",
    /// Understudy of `UnpinFolio`.
    UnpinFolioAgain = "unpin_folio_again",
    /// Understudy of `Zap`.
    ZapAgain = "zap_again",
    /// Understudy of `Refault`.
    RefaultAgain = "refault_again",
    /// Understudy of `LongtermEnter`.
    LongtermEnterAgain = "longterm_enter_again",
    /// Understudy of `LongtermExit`.
    LongtermExitAgain = "longterm_exit_again",
    /// `do_anonymous_page` returned, where it is a function (6.12 and later).
    RefaultAnonymous = "refault_anonymous",
    /// Its understudy.
    RefaultAnonymousAgain = "refault_anonymous_again",
    /// `do_fault` returned, where it is a function.
    RefaultFile = "refault_file",
    /// Its understudy.
    RefaultFileAgain = "refault_file_again",
    /// `do_swap_page` returned.
    RefaultSwap = "refault_swap",
    /// Its understudy.
    RefaultSwapAgain = "refault_swap_again",
    /// `do_huge_pmd_anonymous_page` returned.
    RefaultHuge = "refault_huge",
    /// Its understudy.
    RefaultHugeAgain = "refault_huge_again",
    /// `hugetlb_fault` returned.
    RefaultHugetlb = "refault_hugetlb",
    /// Its understudy.
    RefaultHugetlbAgain = "refault_hugetlb_again",
    /// `iommu_map` with five arguments (6.2 and before) returned.
    IommuMapExit = "iommu_map_exit",
    /// `iommu_map` with `gfp` (6.3 and later) returned.
    IommuMapGfpExit = "iommu_map_gfp_exit",
    /// `iommu_unmap` returned.
    IommuUnmapExit = "iommu_unmap_exit",
    /// `iommu_unmap_fast` returned.
    IommuUnmapFastExit = "iommu_unmap_fast_exit",
    /// `__iommu_attach_device` with two arguments (6.18 and before) returned.
    IommuAttachExit = "iommu_attach_exit",
    /// `__iommu_attach_device` with the old domain (7.x) returned.
    IommuReplaceExit = "iommu_replace_exit",
    /// `iommu_domain_free` begins.
    IommuDomainFree = "iommu_domain_gone",
    /// `dma_map_page_attrs` returned (6.17 and before).
    DmaMapPageExit = "dma_map_page_exit",
    /// `dma_map_phys` returned (6.18 and later).
    DmaMapPhysExit = "dma_map_phys_exit",
    /// `dma_unmap_page_attrs`, or from 6.18 on `dma_unmap_phys`, begins.
    DmaUnmap = "dma_unmap",
    /// `dma_map_sg_attrs`, or where it is a function `__dma_map_sg_attrs`, returned.
    DmaMapSgExit = "dma_map_sg_exit",
    /// `dma_unmap_sg_attrs` begins.
    DmaUnmapSg = "dma_unmap_sg",
    /// `mmu_notifier_unregister` returned.
    NotifierUnregister = "notifier_unregister",
    /// `mmu_notifier_put` returned.
    NotifierPut = "notifier_put",
    /// `mmu_interval_notifier_remove` begins.
    NotifierRemove = "notifier_remove",
}

/// Programs that the kernel may skip, each with the one that then sees in its place.
const UNDERSTUDIES: [(Program, Program); 16] = [
    (Program::WpFaultExit, Program::WpFaultAgain),
    (Program::PinFastExit, Program::PinFastAgain),
    (Program::PinExit, Program::PinAgain),
    (Program::UnpinPage, Program::UnpinPageAgain),
    (Program::UnpinPages, Program::UnpinPagesAgain),
    (Program::UnpinDirtyEnter, Program::UnpinDirtyAgain),
    (Program::UnpinFolio, Program::UnpinFolioAgain),
    (Program::Zap, Program::ZapAgain),
    (Program::Refault, Program::RefaultAgain),
    (Program::LongtermEnter, Program::LongtermEnterAgain),
    (Program::LongtermExit, Program::LongtermExitAgain),
    (Program::RefaultAnonymous, Program::RefaultAnonymousAgain),
    (Program::RefaultFile, Program::RefaultFileAgain),
    (Program::RefaultSwap, Program::RefaultSwapAgain),
    (Program::RefaultHuge, Program::RefaultHugeAgain),
    (Program::RefaultHugetlb, Program::RefaultHugetlbAgain),
];

/// By number, a program's understudy, and whose understudy it is: looked up for every record.
const BESIDE: [(Option<Program>, Option<Program>); Program::ALL.len()] = {
    let mut beside = [(None, None); Program::ALL.len()];
    let mut pair = 0;
    while pair < UNDERSTUDIES.len() {
        let (program, understudy) = UNDERSTUDIES[pair];
        beside[program as usize].0 = Some(understudy);
        beside[understudy as usize].1 = Some(program);
        pair += 1;
    }
    beside
};

impl Program {
    /// The program that sees what the kernel made this one skip.
    pub fn understudy(self) -> Option<Self> {
        BESIDE[self as usize].0
    }

    /// The program that this one is the understudy of.
    pub fn stands_in_for(self) -> Option<Self> {
        BESIDE[self as usize].1
    }

    /// Whether an interrupt may call for it while it runs: a finished bio unpins. Such a run is skipped on any
    /// kernel, others only where one task can preempt another inside the kernel.
    pub const fn is_run_by_interrupts(self) -> bool {
        matches!(
            self,
            Self::UnpinPage | Self::UnpinPages | Self::UnpinDirtyEnter | Self::UnpinFolio
        )
    }

    /// Whether unpins that follow one of its records are [told in two words](crate::next). Understudies tell whole
    /// records: the user side compares each with what was told just before it.
    pub const fn tells_next(self) -> bool {
        matches!(self, Self::UnpinPage | Self::UnpinFolio)
    }

    /// Whether it sees that a pin ends, or that what is pinned is mapped elsewhere: without a run of it the
    /// ledger holds what it should not.
    pub fn ends_or_moves_pins(self) -> bool {
        matches!(
            self.stands_in_for().unwrap_or(self),
            Self::UnpinPage
                | Self::UnpinPages
                | Self::UnpinDirtyEnter
                | Self::UnpinDirtyExit
                | Self::UnpinRange
                | Self::UnpinFolio
                | Self::UnpinOneFolio
                | Self::UnpinFolios
                | Self::LongtermEnter
                | Self::LongtermExit
                | Self::MmExit
                | Self::MoveExit
                | Self::MoveStackExit
                | Self::MoveStructExit
                | Self::MoveVmaEnter
        )
    }

    /// Whether it sees that a device reaches pages, or that it ceases to: evidence, on which no verdict hangs.
    pub const fn sees_devices(self) -> bool {
        self as u16 >= Self::IommuMapExit as u16 && self as u16 <= Self::DmaUnmapSg as u16
    }

    /// Of those, whether it sees that a device ceases to.
    pub const fn ends_reach(self) -> bool {
        matches!(
            self,
            Self::IommuUnmapExit
                | Self::IommuUnmapFastExit
                | Self::IommuAttachExit
                | Self::IommuReplaceExit
                | Self::IommuDomainFree
                | Self::DmaUnmap
                | Self::DmaUnmapSg
        )
    }

    /// The program with this number, as a record's header tells it.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}
