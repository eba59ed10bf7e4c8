//! The numbers that the user side hands to the programs before it loads them.
//!
//! There is no CO-RE from Rust: the user side finds each offset in the running kernel's BTF and puts
//! it into a read-only array. The array is frozen before the verifier sees it, so that the verifier
//! knows each value, prunes what is dead and checks every load against the kernel's types.

/// Where a struct member stands: the struct, and its name there in this or that version.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Struct.
    pub of: &'static str,
    /// Names that it has had, newest last.
    pub names: &'static [&'static str],
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $id:ident = $of:literal . $($name:literal)|+,)*) => {
        /// A struct member that the programs read: index into their array of byte offsets.
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $($(#[doc = $doc])* $id,)*
        }

        impl Field {
            /// All of them, in the order of their indices.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// Struct and names to look up.
            pub const fn member(self) -> Member {
                match self {
                    $(Self::$id => Member { of: $of, names: &[$($name),+] },)*
                }
            }
        }
    };
}

fields! {
    /// The VMA of a fault.
    VmfVma = "vm_fault"."vma",
    /// The address of a fault.
    VmfAddress = "vm_fault"."address",
    /// FAULT_FLAG_*.
    VmfFlags = "vm_fault"."flags",
    /// The PTE at the time of the fault.
    VmfOrigPte = "vm_fault"."orig_pte",
    /// Where the PTE stands.
    VmfPte = "vm_fault"."pte",
    /// The old page, NULL for a zero page or a special mapping.
    VmfPage = "vm_fault"."page",
    /// Address space of a VMA.
    VmaMm = "vm_area_struct"."vm_mm",
    /// First address of a VMA.
    VmaStart = "vm_area_struct"."vm_start",
    /// First address behind a VMA.
    VmaEnd = "vm_area_struct"."vm_end",
    /// VM_*.
    VmaFlags = "vm_area_struct"."vm_flags",
    /// File of a VMA.
    VmaFile = "vm_area_struct"."vm_file",
    /// Where in the file a VMA begins, in pages.
    VmaPgoff = "vm_area_struct"."vm_pgoff",
    /// Pages of a file.
    FileMapping = "file"."f_mapping",
    /// Page flags; a struct of one word from 6.18.
    PageFlags = "page"."flags",
    /// Head of a tail page: pointer | 1, from 7.x on `compound_info`, which may be a mask | 1.
    PageHead = "page"."compound_head"|"compound_info",
    /// References.
    PageReferences = "page"."_refcount",
    /// Mappings, -1 for none.
    PageMappings = "page"."_mapcount",
    /// Mapping; bit 0 is set for anonymous pages, bits 0 and 1 for KSM pages.
    PageMapping = "page"."mapping",
    /// Address space of a task.
    TaskMm = "task_struct"."mm",
    /// Name of a task.
    TaskComm = "task_struct"."comm",
    /// Process of a task.
    TaskTgid = "task_struct"."tgid",
    /// Address space of an invalidation.
    RangeMm = "mmu_notifier_range"."mm",
    /// First address of an invalidation.
    RangeStart = "mmu_notifier_range"."start",
    /// First address behind an invalidation.
    RangeEnd = "mmu_notifier_range"."end",
    /// MMU_NOTIFIER_RANGE_*.
    RangeFlags = "mmu_notifier_range"."flags",
    /// `enum mmu_notifier_event`.
    RangeEvent = "mmu_notifier_range"."event",
    /// Address space of a page-table walk.
    WalkMm = "mm_walk"."mm",
    /// VMA of a page-table walk.
    WalkVma = "mm_walk"."vma",
    /// What the walk's owner gave it.
    WalkPrivate = "mm_walk"."private",
    /// Operations of an MMU notifier.
    NotifierOps = "mmu_notifier"."ops",
    /// Where the PMD stands.
    VmfPmd = "vm_fault"."pmd",
    /// Top of an address space's page table.
    MmPgd = "mm_struct"."pgd",
    /// How many use it: 0 while it is torn down.
    MmUsers = "mm_struct"."mm_users",
    /// What a zap leaves alone; see `Setting::ZapSpares` for how each name says it.
    ZapSpares = "zap_details"."check_mapping"|"even_cows"|"skip_cows",
    /// The VMA that mappings move from; the struct came with 6.15.
    MoveOld = "pagetable_move_control"."old",
    /// Where they move from: counts up while they do.
    MoveOldAddress = "pagetable_move_control"."old_addr",
    /// First address behind.
    MoveOldEnd = "pagetable_move_control"."old_end",
    /// How many bytes there were to move.
    MoveLen = "pagetable_move_control"."len_in",
    /// Where they move to: counts up while they do.
    MoveNewAddress = "pagetable_move_control"."new_addr",
    /// What sort of IOMMU domain it is.
    DomainType = "iommu_domain"."type",
    /// The part of a device that has its name.
    DeviceObject = "device"."kobj",
    /// That name.
    ObjectName = "kobject"."name",
    /// A page of a scatter-gather list, and in its low bits what the entry is.
    SgPage = "scatterlist"."page_link",
    /// Where in that page it begins.
    SgOffset = "scatterlist"."offset",
    /// How long it is.
    SgLength = "scatterlist"."length",
    /// Where the device finds it.
    SgAddress = "scatterlist"."dma_address",
    /// How long what the device finds there is: entries may have been joined.
    SgDeviceLength = "scatterlist"."dma_length",
    /// Who is told of an address space's changes; NULL until the first one registers.
    MmNotifiers = "mm_struct"."notifier_subscriptions",
    /// List of those who are told of the whole address space.
    NotifiersList = "mmu_notifier_subscriptions"."list",
    /// Tree of those who are told of a range; its first word is the root.
    NotifiersTree = "mmu_notifier_subscriptions"."itree",
    /// Where a notifier is in the list; its first word leads to the next.
    NotifierNext = "mmu_notifier"."hlist",
    /// Address space of a notifier.
    NotifierMm = "mmu_notifier"."mm",
    /// Where an interval notifier is in the tree: its range too.
    IntervalNode = "mmu_interval_notifier"."interval_tree",
    /// Operations of an interval notifier.
    IntervalOps = "mmu_interval_notifier"."ops",
    /// Address space of an interval notifier.
    IntervalMm = "mmu_interval_notifier"."mm",
    /// First address of an interval.
    NodeStart = "interval_tree_node"."start",
    /// Last address of an interval.
    NodeLast = "interval_tree_node"."last",
}

impl Field {
    /// Whether programs that read it are for some kernels only, so that others may lack it.
    pub const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::MoveOld
                | Self::MoveOldAddress
                | Self::MoveOldEnd
                | Self::MoveLen
                | Self::MoveNewAddress
                | Self::DomainType
                | Self::SgDeviceLength
                // No kernel without CONFIG_MMU_NOTIFIER has secondary MMUs.
                | Self::MmNotifiers
                | Self::NotifiersList
                | Self::NotifiersTree
                | Self::NotifierNext
                | Self::NotifierMm
                | Self::IntervalNode
                | Self::IntervalOps
                | Self::IntervalMm
                | Self::NodeStart
                | Self::NodeLast
        )
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $id:ident,)*) => {
        /// A number that is no offset: index into the programs' second array.
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Setting {
            $($(#[doc = $doc])* $id,)*
        }

        impl Setting {
            /// How many there are.
            pub const COUNT: usize = [$(Self::$id),*].len();
        }
    };
}

settings! {
    /// Bits of a PTE that are set if it is present.
    PtePresent,
    /// Bits of a PTE that are set if it is writable.
    PteWrite,
    /// Bits of a PTE that hold the PFN, already shifted by the page size.
    PtePfn,
    /// log2 of the page size.
    PageShift,
    /// log2 of `sizeof(struct page)`.
    PageStructShift,
    /// Address of the kernel variable that holds where `struct page` 0 stands.
    VmemmapBase,
    /// The mask of PG_head in page flags.
    PgHead,
    /// Where the pin count of a large folio stands, from its first `struct page`.
    FolioPins,
    /// Where the number of pages of a large folio stands, from its first `struct page`.
    FolioPages,
    /// Where the mappings of a large folio stand, all pages together; 0 where they are not counted so
    /// (before 6.8).
    FolioMappings,
    /// Where, on such a kernel, the mappings of the folio as a whole stand.
    EntireMappings,
    /// The mask of PG_lru in page flags.
    PgLru,
    /// The mask of PG_swapcache in page flags.
    PgSwapcache,
    /// The mask of PG_double_map in page flags; 0 from 6.2 on.
    PgDoubleMap,
    /// Address of the kernel variable that holds where physical address 0 is mapped.
    PageOffsetBase,
    /// Address of the kernel's array of what to add to a per-CPU variable's address, by CPU; 0: there is one CPU.
    PerCpuOffsets,
    /// Address of the per-CPU variable that says whether an interrupt runs.
    PreemptCount,
    /// Levels of the page table: 4 or 5.
    PageTableLevels,
    /// How `Field::ZapSpares` says that only a file's pages go: see [`zap_spares`].
    ZapSpares,
    /// FAULT_FLAG_UNSHARE; 0 before 5.19.
    FaultUnshare,
    /// 1 where `unpin_user_pages*` may call `unpin_user_page` (5.12 and before).
    NestedUnpins,
    /// FOLL_LONGTERM.
    FollLongterm,
    /// Not 0: short-term pins are told like all others.
    TellShortTerm,
    /// cowtrace itself, never traced.
    OwnTgid,
    /// Not 0: only processes in the map `TRACED`, and their children.
    FilterTgids,
    /// Not 0: only tasks in the cgroups in the map `CGROUPS`.
    FilterCgroups,
    /// Name to compare with, first half; compared only under the mask.
    FilterComm,
    /// Second half.
    FilterCommRest,
    /// Which bits of the first half count; 0: none.
    FilterCommMask,
    /// Second half.
    FilterCommRestMask,
    /// Not 0: the map `SHED` tells which work is left out to keep a budget; else programs do not ask it.
    Sheds,
    /// Not 0: a task may be preempted inside the kernel, so that programs need their understudies.
    Preemptible,
    /// Size of an entry of a scatter-gather list.
    SgBytes,
    /// Not 0: there is `bpf_get_func_arg` (5.17 and later).
    HasFuncArg,
    /// Not 0: there is `bpf_get_current_task_btf` (5.11 and later).
    HasTypedTask,
}

/// Work that is left out to keep a budget, in this order: the number of stages that are is what the map `SHED` holds.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Records that no verdict on a long-term pin needs.
    Events = 1,
    /// Who holds a page for a moment.
    Holders = 2,
    /// What brings a loss about, and from where.
    Causes = 3,
}

impl Stage {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::Events, Self::Holders, Self::Causes];
}

/// Values of [`Setting::ZapSpares`].
pub mod zap_spares {
    /// `check_mapping`, a pointer: set (5.17 and before).
    pub const IF_POINTER: u64 = 0;
    /// `even_cows`, a bool: not set.
    pub const UNLESS_FLAG: u64 = 1;
    /// `skip_cows`, a bool: set (7.x).
    pub const IF_FLAG: u64 = 2;
}
