//! The probe table: each thing seen, the hooks that can see it in order of preference, and what stays
//! unseen where none exists.
//!
//! Attaching, `doctor`, the recording's preamble, the loss counters, the docs and the tests all
//! loop over [`TABLE`]. A new probe is one row here and one function in cowtrace-ebpf.

pub mod attach;
pub mod kernel;
pub mod settings;

use cowtrace_common::program::Program;

/// A thing seen.
pub struct Probe {
    /// What, in a few words.
    pub sees: &'static str,
    /// Hooks that see it, the best first. All attachments of a hook belong together.
    pub any_of: &'static [&'static [Attachment]],
    /// Whether a run makes sense without it.
    pub need: Need,
    /// What stays unseen without it.
    pub unseen: &'static str,
}

/// How much a thing matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it no verdict holds.
    Always,
    /// The same, on kernels that have this function; others cannot do what it would see.
    Where(&'static str),
    /// Nothing depends on it.
    Extra,
    /// Nothing depends on it, and it is attached only where the command line asks for so much.
    Asked(Devices),
}

impl Need {
    /// Whether it is attached where so much is asked for.
    pub fn is_asked(self, devices: Option<Devices>) -> bool {
        match self {
            Self::Asked(least) => devices >= Some(least),
            _ => true,
        }
    }
}

/// Which mappings for devices are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Devices {
    /// What vfio and iommufd map: the IOMMU API
    Iommu,
    /// That, and what drivers map: the DMA API
    Dma,
}

impl Devices {
    /// Its name on the command line and in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iommu => "iommu",
            Self::Dma => "dma",
        }
    }
}

/// A program at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Which program.
    pub program: Program,
    /// Where.
    pub at: Point,
}

/// A place in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Entry of a function with exactly this prototype, as the kernel's BTF has it.
    Fentry(&'static str),
    /// Its return.
    Fexit(&'static str),
    /// Entry of a function, whatever its arguments: the program does not look at them.
    FentryAny(&'static str),
    /// Its return.
    FexitAny(&'static str),
    /// Entry of a function through a breakpoint, known by its arguments' order in all versions.
    Kprobe(&'static str),
    /// The same where the arguments changed: only on kernels that also have the second function.
    KprobeIf(&'static str, &'static str),
    /// The same where BTF has exactly this prototype, but fentry does not take it (too many arguments).
    KprobeAs(&'static str),
    /// Its return.
    Kretprobe(&'static str),
    /// A tracepoint with BTF.
    Tracepoint(&'static str),
}

impl Point {
    /// Name of the function or tracepoint.
    pub fn function(self) -> &'static str {
        match self {
            Self::Fentry(prototype) | Self::Fexit(prototype) | Self::KprobeAs(prototype) => {
                name_in(prototype)
            }
            Self::FentryAny(name)
            | Self::FexitAny(name)
            | Self::Kprobe(name)
            | Self::KprobeIf(name, _)
            | Self::Kretprobe(name)
            | Self::Tracepoint(name) => name,
        }
    }

    /// The kind of place.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Fentry(_) | Self::FentryAny(_) => "fentry",
            Self::Fexit(_) | Self::FexitAny(_) => "fexit",
            Self::Kprobe(_) | Self::KprobeIf(..) | Self::KprobeAs(_) => "kprobe",
            Self::Kretprobe(_) => "kretprobe",
            Self::Tracepoint(_) => "tp_btf",
        }
    }
}

/// The function's name in a prototype: the word before the parenthesis.
fn name_in(prototype: &'static str) -> &'static str {
    let before = prototype.split('(').next().unwrap_or_default();
    before.rsplit([' ', '*']).next().unwrap_or_default()
}

const fn at(program: Program, at: Point) -> Attachment {
    Attachment { program, at }
}

use Point::{
    Fentry, FentryAny, Fexit, FexitAny, Kprobe, KprobeAs, KprobeIf, Kretprobe, Tracepoint,
};

/// All things seen, in the order in which they are attached: what ends a pin before what begins one, or a
/// pin that came and went in between would seem to live for ever.
pub const TABLE: &[Probe] = &[
    Probe {
        sees: "process forked",
        any_of: &[&[at(Program::Fork, Tracepoint("sched_process_fork"))]],
        need: Need::Always,
        unseen: "forks, and children of the processes that a filter names",
    },
    Probe {
        sees: "address space gone",
        any_of: &[&[at(Program::MmExit, Fentry("void exit_mmap(struct mm_struct *)"))]],
        need: Need::Always,
        unseen: "that an address space died and its number names another",
    },
    Probe {
        sees: "page unpinned",
        any_of: &[&[
            at(Program::UnpinPageAgain, Fentry("void unpin_user_page(struct page *)")),
            at(Program::UnpinPage, Fentry("void unpin_user_page(struct page *)")),
        ]],
        need: Need::Always,
        unseen: "unpins: pins would seem to live for ever",
    },
    Probe {
        sees: "pages unpinned",
        any_of: &[&[
            at(
                Program::UnpinPagesAgain,
                Fentry("void unpin_user_pages(struct page **, unsigned long)"),
            ),
            at(Program::UnpinPages, Fentry("void unpin_user_pages(struct page **, unsigned long)")),
        ]],
        need: Need::Always,
        unseen: "unpins: pins would seem to live for ever",
    },
    Probe {
        sees: "pages unpinned, dirty or not",
        any_of: &[&[
            at(
                Program::UnpinDirtyAgain,
                Fentry("void unpin_user_pages_dirty_lock(struct page **, unsigned long, bool)"),
            ),
            at(
                Program::UnpinDirtyEnter,
                Fentry("void unpin_user_pages_dirty_lock(struct page **, unsigned long, bool)"),
            ),
            at(
                Program::UnpinDirtyExit,
                Fexit("void unpin_user_pages_dirty_lock(struct page **, unsigned long, bool)"),
            ),
        ]],
        need: Need::Always,
        unseen: "unpins: pins would seem to live for ever",
    },
    Probe {
        sees: "range unpinned, dirty or not",
        any_of: &[&[at(
            Program::UnpinRange,
            Fentry("void unpin_user_page_range_dirty_lock(struct page *, unsigned long, bool)"),
        )]],
        need: Need::Where("unpin_user_page_range_dirty_lock"),
        unseen: "unpins of RDMA",
    },
    Probe {
        sees: "folio unpinned",
        any_of: &[&[
            at(
                Program::UnpinFolioAgain,
                Fentry("void unpin_user_folio(struct folio *, unsigned long)"),
            ),
            at(Program::UnpinFolio, Fentry("void unpin_user_folio(struct folio *, unsigned long)")),
        ]],
        need: Need::Where("unpin_user_folio"),
        unseen: "unpins of io_uring and block I/O (6.11 and later)",
    },
    Probe {
        sees: "one folio unpinned",
        any_of: &[&[at(Program::UnpinOneFolio, Fentry("void unpin_folio(struct folio *)"))]],
        need: Need::Where("unpin_folio"),
        unseen: "unpins of udmabuf (6.11 and later)",
    },
    Probe {
        sees: "folios unpinned",
        any_of: &[&[at(
            Program::UnpinFolios,
            Fentry("void unpin_folios(struct folio **, unsigned long)"),
        )]],
        need: Need::Where("unpin_folios"),
        unseen: "unpins of udmabuf and iommufd (6.11 and later)",
    },
    Probe {
        sees: "long-term pin's inner unpins",
        any_of: &[&[
            at(Program::LongtermEnterAgain, FentryAny("__gup_longterm_locked")),
            at(Program::LongtermEnter, FentryAny("__gup_longterm_locked")),
            at(Program::LongtermExitAgain, FexitAny("__gup_longterm_locked")),
            at(Program::LongtermExit, FexitAny("__gup_longterm_locked")),
        ]],
        need: Need::Extra,
        unseen: "that an unpin belongs to a pin call which migrates pages out of movable or CMA memory",
    },
    Probe {
        sees: "pages pinned (fast)",
        any_of: &[
            &[
                at(
                    Program::PinFastAgain,
                    Fexit(
                        "int pin_user_pages_fast(unsigned long, int, unsigned int, struct page **)",
                    ),
                ),
                at(
                    Program::PinFastExit,
                    Fexit(
                        "int pin_user_pages_fast(unsigned long, int, unsigned int, struct page **)",
                    ),
                ),
            ],
            &[
                at(Program::PinEnter, Kprobe("pin_user_pages_fast")),
                at(Program::PinReturn, Kretprobe("pin_user_pages_fast")),
            ],
        ],
        need: Need::Always,
        unseen: "pins of RDMA, of io_uring from 6.2 on, of O_DIRECT from 6.5 on",
    },
    Probe {
        sees: "pages pinned",
        any_of: &[
            &[
                at(
                    Program::PinAgain,
                    Fexit(
                        "long pin_user_pages(unsigned long, unsigned long, unsigned int, struct page **)",
                    ),
                ),
                at(
                    Program::PinExit,
                    Fexit(
                        "long pin_user_pages(unsigned long, unsigned long, unsigned int, struct page **)",
                    ),
                ),
            ],
            &[at(
                Program::PinVmasExit,
                Fexit(
                    "long pin_user_pages(unsigned long, unsigned long, unsigned int, struct page **, struct vm_area_struct **)",
                ),
            )],
            &[
                at(Program::PinEnter, Kprobe("pin_user_pages")),
                at(Program::PinReturn, Kretprobe("pin_user_pages")),
            ],
        ],
        need: Need::Always,
        unseen: "pins of AF_XDP and of older io_uring",
    },
    Probe {
        sees: "pages of another process pinned",
        any_of: &[
            &[at(
                Program::PinRemoteExit,
                Fexit(
                    "long pin_user_pages_remote(struct mm_struct *, unsigned long, unsigned long, unsigned int, struct page **, int *)",
                ),
            )],
            // Up to 6.4 it has seven arguments: no fexit on x86 before 6.6.
            &[
                at(Program::PinRemoteEnter, Kprobe("pin_user_pages_remote")),
                at(Program::PinReturn, Kretprobe("pin_user_pages_remote")),
            ],
        ],
        need: Need::Always,
        unseen: "pins of vfio, vhost and process_vm_readv",
    },
    Probe {
        sees: "pages pinned (unlocked)",
        any_of: &[
            &[at(
                Program::PinUnlockedExit,
                Fexit(
                    "long pin_user_pages_unlocked(unsigned long, unsigned long, struct page **, unsigned int)",
                ),
            )],
            &[
                at(Program::PinUnlockedEnter, Kprobe("pin_user_pages_unlocked")),
                at(Program::PinReturn, Kretprobe("pin_user_pages_unlocked")),
            ],
        ],
        need: Need::Always,
        unseen: "pins of GPU and SCSI drivers that take the mmap lock themselves",
    },
    Probe {
        sees: "pages pinned (locked)",
        any_of: &[
            &[at(
                Program::PinLockedExit,
                Fexit(
                    "long pin_user_pages_locked(unsigned long, unsigned long, unsigned int, struct page **, int *)",
                ),
            )],
            &[
                at(Program::PinEnter, Kprobe("pin_user_pages_locked")),
                at(Program::PinReturn, Kretprobe("pin_user_pages_locked")),
            ],
        ],
        need: Need::Where("pin_user_pages_locked"),
        unseen: "pins of drivers that call pin_user_pages_locked (5.17 and before)",
    },
    Probe {
        sees: "pages pinned (fast only)",
        any_of: &[
            &[at(
                Program::PinFastOnlyExit,
                Fexit(
                    "int pin_user_pages_fast_only(unsigned long, int, unsigned int, struct page **)",
                ),
            )],
            &[
                at(Program::PinEnter, Kprobe("pin_user_pages_fast_only")),
                at(Program::PinReturn, Kretprobe("pin_user_pages_fast_only")),
            ],
        ],
        need: Need::Where("pin_user_pages_fast_only"),
        unseen: "pins of i915 (6.2 and before)",
    },
    Probe {
        sees: "folios of a memfd pinned",
        any_of: &[&[at(
            Program::PinFoliosExit,
            Fexit(
                "long memfd_pin_folios(struct file *, loff_t, loff_t, struct folio **, unsigned int, unsigned long *)",
            ),
        )]],
        need: Need::Where("memfd_pin_folios"),
        unseen: "pins of udmabuf and iommufd (6.11 and later)",
    },
    Probe {
        sees: "pin added to a folio",
        any_of: &[&[at(Program::FolioAddPin, Fentry("void folio_add_pin(struct folio *)"))]],
        need: Need::Where("folio_add_pin"),
        unseen: "pins that block I/O adds to pages it has pinned (6.5 and later)",
    },
    Probe {
        sees: "pins added to a folio",
        any_of: &[&[at(
            Program::FolioAddPins,
            Fexit("int folio_add_pins(struct folio *, unsigned int)"),
        )]],
        need: Need::Where("folio_add_pins"),
        unseen: "pins that iommufd adds to folios it has pinned (6.13 and later)",
    },
    Probe {
        sees: "plain references taken",
        any_of: &[&[at(
            Program::ReferenceExit,
            Fexit("int get_user_pages_fast(unsigned long, int, unsigned int, struct page **)"),
        )]],
        need: Need::Extra,
        unseen: "whose pages are held by plain references: suspects lack their cause",
    },
    Probe {
        sees: "I/O with a registered buffer",
        any_of: &[
            &[at(
                Program::IoRegisteredExit,
                Fexit(
                    "int io_import_reg_buf(struct io_kiocb *, struct iov_iter *, u64, size_t, int, unsigned int)",
                ),
            )],
            &[at(
                Program::IoFixedExit,
                Fexit(
                    "int io_import_fixed(int, struct iov_iter *, struct io_mapped_ubuf *, u64, size_t)",
                ),
            )],
        ],
        need: Need::Extra,
        unseen: "that I/O was submitted for pages after they were lost: one proof less",
    },
    Probe {
        sees: "MMU-notifier invalidation",
        any_of: &[
            &[
                at(
                    Program::InvalidateStart,
                    Fentry(
                        "int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *)",
                    ),
                ),
                at(
                    Program::InvalidateEnd,
                    Fentry("void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *)"),
                ),
            ],
            &[
                at(
                    Program::InvalidateStart,
                    Fentry(
                        "int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *)",
                    ),
                ),
                // `only_end` was dropped in 6.6.
                at(
                    Program::InvalidateEnd,
                    Fentry(
                        "void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *, bool)",
                    ),
                ),
            ],
        ],
        need: Need::Where("__mmu_notifier_invalidate_range_start"),
        unseen: "what secondary MMUs (KVM, on-demand paging, HMM) are told",
    },
    Probe {
        sees: "MMU notifier registered",
        any_of: &[&[at(
            Program::NotifierRegister,
            Fexit("int __mmu_notifier_register(struct mmu_notifier *, struct mm_struct *)"),
        )]],
        need: Need::Where("__mmu_notifier_register"),
        unseen: "which processes have MMU notifiers",
    },
    Probe {
        sees: "interval notifier registered",
        any_of: &[&[at(
            Program::NotifierInsert,
            // Both mmu_interval_notifier_insert and its _locked variant come here.
            Fexit(
                "int __mmu_interval_notifier_insert(struct mmu_interval_notifier *, struct mm_struct *, struct mmu_notifier_subscriptions *, unsigned long, unsigned long, const struct mmu_interval_notifier_ops *)",
            ),
        )]],
        need: Need::Where("__mmu_interval_notifier_insert"),
        unseen: "which processes have interval notifiers (HMM, on-demand paging)",
    },
    Probe {
        sees: "MMU notifier gone",
        any_of: &[&[
            at(
                Program::NotifierUnregister,
                Fexit("void mmu_notifier_unregister(struct mmu_notifier *, struct mm_struct *)"),
            ),
            at(Program::NotifierPut, Fexit("void mmu_notifier_put(struct mmu_notifier *)")),
        ]],
        need: Need::Extra,
        unseen: "that a secondary MMU is no longer told of a process's changes",
    },
    Probe {
        sees: "interval notifier gone",
        any_of: &[&[at(
            Program::NotifierRemove,
            Fentry("void mmu_interval_notifier_remove(struct mmu_interval_notifier *)"),
        )]],
        need: Need::Extra,
        unseen: "that a secondary MMU is no longer told of changes in a range",
    },
    Probe {
        sees: "pages write-protected",
        any_of: &[
            &[at(
                Program::Protect,
                Fentry(
                    "long change_protection(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, unsigned long)",
                ),
            )],
            &[at(
                Program::ProtectProt,
                Fentry(
                    "long change_protection(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, pgprot_t, unsigned long)",
                ),
            )],
            // 5.10 takes no fentry on a function with a struct argument; a kprobe needs no prototype, so it
            // has to be the one of these kernels: `reuse_swap_page` went with 5.18.
            &[at(Program::ProtectEnter, KprobeIf("change_protection", "reuse_swap_page"))],
        ],
        need: Need::Extra,
        unseen: "that mprotect, userfaultfd or NUMA balancing write-protected a page: findings lack their cause",
    },
    Probe {
        sees: "soft-dirty bits cleared",
        any_of: &[&[at(
            Program::ClearRefs,
            Fentry("int clear_refs_test_walk(unsigned long, unsigned long, struct mm_walk *)"),
        )]],
        need: Need::Extra,
        unseen: "that clear_refs write-protected a page: findings lack their cause",
    },
    Probe {
        sees: "written pages searched for",
        any_of: &[&[at(
            Program::PagemapScan,
            Fentry("int pagemap_scan_test_walk(unsigned long, unsigned long, struct mm_walk *)"),
        )]],
        need: Need::Extra,
        unseen: "that PAGEMAP_SCAN write-protected a page: findings lack their cause (6.7 and later)",
    },
    Probe {
        sees: "page unmapped by reclaim",
        any_of: &[
            &[at(
                Program::ReclaimUnmap,
                Fentry(
                    "bool try_to_unmap_one(struct folio *, struct vm_area_struct *, unsigned long, void *)",
                ),
            )],
            &[at(
                Program::ReclaimUnmap,
                Fentry(
                    "bool try_to_unmap_one(struct page *, struct vm_area_struct *, unsigned long, void *)",
                ),
            )],
        ],
        need: Need::Extra,
        unseen: "that reclaim unmapped a pinned page: findings lack their cause",
    },
    Probe {
        sees: "huge page's mapping split",
        any_of: &[
            &[at(
                Program::SplitHuge,
                Fentry(
                    "void __split_huge_pmd(struct vm_area_struct *, pmd_t *, unsigned long, bool)",
                ),
            )],
            &[at(
                Program::SplitHuge,
                Fentry(
                    "void __split_huge_pmd(struct vm_area_struct *, pmd_t *, unsigned long, bool, struct folio *)",
                ),
            )],
            &[at(
                Program::SplitHuge,
                Fentry(
                    "void __split_huge_pmd(struct vm_area_struct *, pmd_t *, unsigned long, bool, struct page *)",
                ),
            )],
        ],
        need: Need::Extra,
        unseen: "that a huge page's mapping was split: findings lack that step",
    },
    Probe {
        sees: "address space copied by fork",
        any_of: &[&[
            at(
                Program::ForkCopyEnter,
                Fentry("int copy_page_range(struct vm_area_struct *, struct vm_area_struct *)"),
            ),
            at(
                Program::ForkCopyExit,
                Fexit("int copy_page_range(struct vm_area_struct *, struct vm_area_struct *)"),
            ),
        ]],
        need: Need::Extra,
        unseen: "which ranges a fork copied, and what that cost",
    },
    Probe {
        sees: "mappings moved (mremap)",
        any_of: &[
            // First: the whole of a split function attaches and sees nothing.
            &[at(Program::MoveVmaEnter, KprobeIf("move_vma", "move_page_tables.part.0"))],
            &[at(
                Program::MoveStructExit,
                Fexit("unsigned long move_page_tables(struct pagetable_move_control *)"),
            )],
            &[at(
                Program::MoveStackExit,
                Fexit(
                    "unsigned long move_page_tables(struct vm_area_struct *, unsigned long, struct vm_area_struct *, unsigned long, unsigned long, bool, bool)",
                ),
            )],
            &[at(
                Program::MoveExit,
                Fexit(
                    "unsigned long move_page_tables(struct vm_area_struct *, unsigned long, struct vm_area_struct *, unsigned long, unsigned long, bool)",
                ),
            )],
        ],
        need: Need::Always,
        unseen: "that pinned pages moved to another address: they would seem to be unmapped",
    },
    Probe {
        sees: "mappings zapped",
        any_of: &[
            &[
                at(
                    Program::ZapAgain,
                    Fentry(
                        "void unmap_page_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct zap_details *)",
                    ),
                ),
                at(
                    Program::Zap,
                    Fentry(
                        "void unmap_page_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct zap_details *)",
                    ),
                ),
            ],
            &[
                at(
                    Program::ZapAgain,
                    Fentry(
                        "void __zap_vma_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct zap_details *)",
                    ),
                ),
                at(
                    Program::Zap,
                    Fentry(
                        "void __zap_vma_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct zap_details *)",
                    ),
                ),
            ],
        ],
        need: Need::Always,
        unseen: "munmap, MADV_DONTNEED and truncation under a pin",
    },
    Probe {
        sees: "huge mappings zapped",
        any_of: &[
            &[at(
                Program::ZapHuge,
                Fentry(
                    "void __unmap_hugepage_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct folio *, zap_flags_t)",
                ),
            )],
            &[at(
                Program::ZapHuge,
                Fentry(
                    "void __unmap_hugepage_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct page *, zap_flags_t)",
                ),
            )],
            &[at(
                Program::ZapHuge,
                Fentry(
                    "void __unmap_hugepage_range(struct mmu_gather *, struct vm_area_struct *, unsigned long, unsigned long, struct page *)",
                ),
            )],
        ],
        need: Need::Where("__unmap_hugepage_range"),
        unseen: "munmap, MADV_DONTNEED and truncation of hugetlb pages under a pin",
    },
    Probe {
        sees: "page mapped again after a zap",
        any_of: &[
            // Where the compiler left all of these functions, no COW break passes through a hook for this.
            &[
                at(
                    Program::RefaultAnonymousAgain,
                    Fexit("vm_fault_t do_anonymous_page(struct vm_fault *)"),
                ),
                at(
                    Program::RefaultAnonymous,
                    Fexit("vm_fault_t do_anonymous_page(struct vm_fault *)"),
                ),
                at(Program::RefaultFileAgain, Fexit("vm_fault_t do_fault(struct vm_fault *)")),
                at(Program::RefaultFile, Fexit("vm_fault_t do_fault(struct vm_fault *)")),
                at(Program::RefaultSwapAgain, Fexit("vm_fault_t do_swap_page(struct vm_fault *)")),
                at(Program::RefaultSwap, Fexit("vm_fault_t do_swap_page(struct vm_fault *)")),
                at(
                    Program::RefaultHugeAgain,
                    Fexit("vm_fault_t do_huge_pmd_anonymous_page(struct vm_fault *)"),
                ),
                at(
                    Program::RefaultHuge,
                    Fexit("vm_fault_t do_huge_pmd_anonymous_page(struct vm_fault *)"),
                ),
                at(
                    Program::RefaultHugetlbAgain,
                    Fexit(
                        "vm_fault_t hugetlb_fault(struct mm_struct *, struct vm_area_struct *, unsigned long, unsigned int)",
                    ),
                ),
                at(
                    Program::RefaultHugetlb,
                    Fexit(
                        "vm_fault_t hugetlb_fault(struct mm_struct *, struct vm_area_struct *, unsigned long, unsigned int)",
                    ),
                ),
            ],
            &[
                at(
                    Program::RefaultAgain,
                    Fexit(
                        "vm_fault_t handle_mm_fault(struct vm_area_struct *, unsigned long, unsigned int, struct pt_regs *)",
                    ),
                ),
                at(
                    Program::Refault,
                    Fexit(
                        "vm_fault_t handle_mm_fault(struct vm_area_struct *, unsigned long, unsigned int, struct pt_regs *)",
                    ),
                ),
            ],
        ],
        need: Need::Always,
        unseen: "which page took the place of a pinned one that was zapped",
    },
    Probe {
        sees: "hugetlb write-protect fault answered",
        any_of: &[
            &[at(Program::HugetlbWpExit, Fexit("vm_fault_t hugetlb_wp(struct vm_fault *)"))],
            // Seven arguments up to 6.9; before 5.19 it was hugetlb_cow.
            &[
                at(
                    Program::HugetlbCowEnter,
                    KprobeAs(
                        "vm_fault_t hugetlb_wp(struct mm_struct *, struct vm_area_struct *, unsigned long, pte_t *, unsigned int, struct folio *, spinlock_t *)",
                    ),
                ),
                at(Program::HugetlbCowReturn, Kretprobe("hugetlb_wp")),
            ],
            &[
                at(
                    Program::HugetlbCowEnter,
                    KprobeAs(
                        "vm_fault_t hugetlb_wp(struct mm_struct *, struct vm_area_struct *, unsigned long, pte_t *, unsigned int, struct page *, spinlock_t *)",
                    ),
                ),
                at(Program::HugetlbCowReturn, Kretprobe("hugetlb_wp")),
            ],
            &[
                at(Program::HugetlbCowEnter, Kprobe("hugetlb_cow")),
                at(Program::HugetlbCowReturn, Kretprobe("hugetlb_cow")),
            ],
        ],
        need: Need::Where("hugetlb_fault"),
        unseen: "COW breaks of hugetlb pages",
    },
    Probe {
        sees: "huge write-protect fault answered",
        any_of: &[&[at(
            Program::HugeWpExit,
            Fexit("vm_fault_t do_huge_pmd_wp_page(struct vm_fault *)"),
        )]],
        need: Need::Extra,
        unseen: "nothing but a count: a PMD-mapped page is reused, or split and then seen page by page",
    },
    Probe {
        sees: "write-protect fault answered",
        any_of: &[
            // Of programs at one place the kernel runs the one attached last first.
            &[
                at(Program::WpFaultAgain, Fexit("vm_fault_t do_wp_page(struct vm_fault *)")),
                at(Program::WpFaultExit, Fexit("vm_fault_t do_wp_page(struct vm_fault *)")),
            ],
            &[
                at(Program::WpFaultEnter, Kprobe("do_wp_page")),
                at(Program::WpFaultReturn, Kretprobe("do_wp_page")),
            ],
        ],
        need: Need::Always,
        unseen: "COW breaks",
    },
    Probe {
        sees: "page copied (second witness)",
        any_of: &[&[at(Program::WpCopyExit, Fexit("vm_fault_t wp_page_copy(struct vm_fault *)"))]],
        need: Need::Extra,
        unseen: "nothing: from 6.12 on compilers inline it into do_wp_page, which is watched",
    },
    Probe {
        sees: "device ceases to reach memory (IOMMU)",
        any_of: &[&[
            at(
                Program::IommuUnmapExit,
                Fexit("size_t iommu_unmap(struct iommu_domain *, unsigned long, size_t)"),
            ),
            at(
                Program::IommuUnmapFastExit,
                Fexit(
                    "size_t iommu_unmap_fast(struct iommu_domain *, unsigned long, size_t, struct iommu_iotlb_gather *)",
                ),
            ),
            at(Program::IommuDomainFree, Fentry("void iommu_domain_free(struct iommu_domain *)")),
        ]],
        need: Need::Asked(Devices::Iommu),
        unseen: "when a device ceases to reach what vfio and iommufd mapped",
    },
    Probe {
        sees: "device attached to an IOMMU domain",
        any_of: &[
            &[at(
                Program::IommuAttachExit,
                Fexit("int __iommu_attach_device(struct iommu_domain *, struct device *)"),
            )],
            &[at(
                Program::IommuReplaceExit,
                Fexit(
                    "int __iommu_attach_device(struct iommu_domain *, struct device *, struct iommu_domain *)",
                ),
            )],
        ],
        need: Need::Asked(Devices::Iommu),
        unseen: "which device reaches what vfio and iommufd mapped",
    },
    Probe {
        sees: "device reaches memory (IOMMU)",
        any_of: &[
            &[at(
                Program::IommuMapGfpExit,
                Fexit(
                    "int iommu_map(struct iommu_domain *, unsigned long, phys_addr_t, size_t, int, gfp_t)",
                ),
            )],
            &[at(
                Program::IommuMapExit,
                Fexit(
                    "int iommu_map(struct iommu_domain *, unsigned long, phys_addr_t, size_t, int)",
                ),
            )],
        ],
        need: Need::Asked(Devices::Iommu),
        unseen: "where devices reach what vfio and iommufd mapped",
    },
    Probe {
        sees: "device ceases to reach memory (DMA)",
        any_of: &[
            &[at(
                Program::DmaUnmap,
                Fentry(
                    "void dma_unmap_phys(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long)",
                ),
            )],
            &[at(
                Program::DmaUnmap,
                Fentry(
                    "void dma_unmap_page_attrs(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long)",
                ),
            )],
        ],
        need: Need::Asked(Devices::Dma),
        unseen: "when a device ceases to reach what its driver mapped",
    },
    Probe {
        sees: "device reaches memory (DMA)",
        any_of: &[
            &[at(
                Program::DmaMapPhysExit,
                Fexit(
                    "dma_addr_t dma_map_phys(struct device *, phys_addr_t, size_t, enum dma_data_direction, unsigned long)",
                ),
            )],
            &[at(
                Program::DmaMapPageExit,
                Fexit(
                    "dma_addr_t dma_map_page_attrs(struct device *, struct page *, size_t, size_t, enum dma_data_direction, unsigned long)",
                ),
            )],
        ],
        need: Need::Asked(Devices::Dma),
        unseen: "where a device reaches what its driver mapped",
    },
    Probe {
        sees: "device reaches lists of memory (DMA)",
        any_of: &[
            &[
                at(
                    Program::DmaUnmapSg,
                    Fentry(
                        "void dma_unmap_sg_attrs(struct device *, struct scatterlist *, int, enum dma_data_direction, unsigned long)",
                    ),
                ),
                at(
                    Program::DmaMapSgExit,
                    Fexit(
                        "int __dma_map_sg_attrs(struct device *, struct scatterlist *, int, enum dma_data_direction, unsigned long)",
                    ),
                ),
            ],
            &[
                at(
                    Program::DmaUnmapSg,
                    Fentry(
                        "void dma_unmap_sg_attrs(struct device *, struct scatterlist *, int, enum dma_data_direction, unsigned long)",
                    ),
                ),
                at(
                    Program::DmaMapSgExit,
                    Fexit(
                        "int dma_map_sg_attrs(struct device *, struct scatterlist *, int, enum dma_data_direction, unsigned long)",
                    ),
                ),
            ],
        ],
        need: Need::Asked(Devices::Dma),
        unseen: "where a device reaches buffers that its driver maps as lists (RDMA, NVMe)",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn attachments() -> impl Iterator<Item = &'static Attachment> {
        TABLE.iter().flat_map(|probe| probe.any_of).flat_map(|hook| *hook)
    }

    #[test]
    fn the_table_names_every_program_and_no_other() {
        let named: BTreeSet<_> = attachments().map(|attachment| attachment.program).collect();
        let all: BTreeSet<_> = Program::ALL.iter().copied().collect();
        assert_eq!(named, all);
    }

    #[test]
    fn a_function_name_is_found_in_its_prototype() {
        assert_eq!(Fexit("struct page *follow(int)").function(), "follow");
        assert_eq!(Fexit("struct page **f(int, char *)").function(), "f");
        for attachment in attachments() {
            let name = attachment.at.function();
            assert!(!name.is_empty() && !name.contains([' ', '*', '(']), "{name:?}");
        }
    }

    #[test]
    fn every_row_says_what_stays_unseen_without_it() {
        for probe in TABLE {
            assert!(!probe.unseen.is_empty() && !probe.any_of.is_empty(), "{}", probe.sees);
        }
    }

    #[test]
    fn no_two_rows_claim_to_see_the_same_thing() {
        let names: BTreeSet<_> = TABLE.iter().map(|probe| probe.sees).collect();
        assert_eq!(names.len(), TABLE.len());
    }
}
