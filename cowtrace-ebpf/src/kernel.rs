//! Every read of kernel memory, and every difference between kernels that a read has to know.
//!
//! Offsets come from the running kernel's BTF through a frozen array (see `cowtrace_common::setting`),
//! so a wrong one is refused at load, not read.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_buf};
use cowtrace_common::{
    setting::{Field, Setting},
    wire::page_bit,
};

/// Byte offsets by [`Field`].
#[unsafe(no_mangle)]
static OFFSETS: [u32; Field::ALL.len()] = [0; Field::ALL.len()];

/// Numbers by [`Setting`].
#[unsafe(no_mangle)]
static SETTINGS: [u64; Setting::COUNT] = [0; Setting::COUNT];

/// References that one pin adds to a small page (GUP_PIN_COUNTING_BIAS, the same since 5.7).
const PIN_BIAS: u32 = 1024;

#[inline(always)]
fn offset(field: Field) -> usize {
    // SAFETY: `Field` has no value beyond the array. Volatile, since the loader writes it.
    unsafe { (&raw const OFFSETS).cast::<u32>().add(field as usize).read_volatile() as usize }
}

/// A number from the user side.
#[inline(always)]
pub fn setting(setting: Setting) -> u64 {
    // SAFETY: `Setting` has no value beyond the array. Volatile, since the loader writes it.
    unsafe { (&raw const SETTINGS).cast::<u64>().add(setting as usize).read_volatile() }
}

/// How a pointer may be read: the verifier knows the types behind fentry and fexit arguments, but
/// nothing about what a kprobe finds in a register.
pub trait Pointer: Copy {
    /// The number at `field`, 0 where memory cannot be read.
    fn read<T: Copy + Default>(self, field: Field) -> T;
    /// The pointer at `field`, known as well as this one.
    fn follow(self, field: Field) -> Self;
    /// The same as a number: the verifier allows no bit operation on what it knows to be a pointer.
    fn number(self, field: Field) -> u64;
    /// The address itself.
    fn address(self) -> u64;
}

/// A pointer that the verifier has a type for: plain loads, checked at load time and safe at run time
/// (the JIT turns a fault into 0).
#[derive(Clone, Copy)]
pub struct Typed(pub *const u8);

/// Any address: reads go through `bpf_probe_read_kernel`.
#[derive(Clone, Copy)]
pub struct Untyped(pub u64);

impl Pointer for Typed {
    #[inline(always)]
    fn read<T: Copy + Default>(self, field: Field) -> T {
        // SAFETY: the verifier accepts the load only where the kernel's BTF has such a member.
        // Volatile, so that LLVM neither joins nor splits loads that BTF checks member by member.
        unsafe { self.0.add(offset(field)).cast::<T>().read_volatile() }
    }

    #[inline(always)]
    fn follow(self, field: Field) -> Self {
        // SAFETY: as in `read`; the verifier gives the loaded pointer the member's type.
        Self(unsafe { self.0.add(offset(field)).cast::<*const u8>().read_volatile() })
    }

    #[inline(always)]
    fn number(self, field: Field) -> u64 {
        read_at(self.0 as u64 + offset(field) as u64)
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }
}

impl Pointer for Untyped {
    #[inline(always)]
    fn read<T: Copy + Default>(self, field: Field) -> T {
        read_at(self.0 + offset(field) as u64)
    }

    #[inline(always)]
    fn follow(self, field: Field) -> Self {
        Self(self.read(field))
    }

    #[inline(always)]
    fn number(self, field: Field) -> u64 {
        self.read(field)
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }
}

/// The number at an address; 0 where it cannot be read.
#[inline(always)]
pub fn read_at<T: Copy + Default>(address: u64) -> T {
    // SAFETY: the helper checks the address itself.
    unsafe { bpf_probe_read_kernel(address as *const T) }.unwrap_or_default()
}

/// Copies kernel memory to `to`; whether that worked.
#[inline(always)]
pub fn copy(from: u64, to: &mut [u8]) -> bool {
    // SAFETY: the helper checks the address itself, and the verifier the destination.
    unsafe { bpf_probe_read_kernel_buf(from as *const u8, to) }.is_ok()
}

/// Address space of the current task; 0 for a kernel thread.
#[inline(always)]
pub fn current_mm() -> u64 {
    // bpf_get_current_task_btf, whose loads would be cheaper, came with 5.11.
    // SAFETY: takes nothing, returns the address of the current task_struct.
    Untyped(unsafe { bpf_get_current_task() }).read(Field::TaskMm)
}

/// Where `struct page` 0 stands. A variable, since KASLR moves it.
#[inline(always)]
pub fn vmemmap() -> u64 {
    read_at(setting(Setting::VmemmapBase))
}

/// A PTE, and what this architecture means by it.
#[derive(Clone, Copy)]
pub struct Pte(pub u64);

impl Pte {
    /// The PTE that stands at an address now.
    #[inline(always)]
    pub fn at(address: u64) -> Self {
        Self(read_at(address))
    }

    #[inline(always)]
    pub fn present(self) -> bool {
        self.0 & setting(Setting::PtePresent) != 0
    }

    #[inline(always)]
    pub fn writable(self) -> bool {
        self.0 & setting(Setting::PteWrite) != 0
    }

    #[inline(always)]
    pub fn pfn(self) -> u64 {
        (self.0 & setting(Setting::PtePfn)) >> setting(Setting::PageShift)
    }
}

/// What the counts of a page said.
#[derive(Clone, Copy, Default)]
pub struct PageState {
    /// See `wire::page_bit`.
    pub bits: u32,
    /// References of the folio.
    pub references: i32,
    /// Mappings of the page.
    pub mappings: i32,
    /// Pins of the folio, exact for a large one.
    pub pins: i32,
}

impl PageState {
    /// Reads the counts of the page that the member `field` of `from` points to, or nothing if that is
    /// NULL.
    #[inline(always)]
    pub fn at<P: Pointer>(from: P, field: Field) -> Self {
        let page = from.follow(field);
        if page.address() == 0 {
            return Self::default();
        }
        let mappings: i32 = page.read(Field::PageMappings);
        let mut state = Self { bits: page_bit::KNOWN, mappings: mappings + 1, ..Self::default() };
        state.references = page.read(Field::PageReferences);
        let flags: u64 = page.read(Field::PageFlags);
        // The references of a folio are counted in its first page; in the others the count is 0.
        if state.references != 0 && flags & setting(Setting::PgHead) == 0 {
            state.pins = (state.references as u32 / PIN_BIAS) as i32;
        } else {
            let page = from.number(field);
            let info: u64 = Untyped(page).read(Field::PageHead);
            if info & 1 != 0 || flags & setting(Setting::PgHead) != 0 {
                state.bits |= page_bit::LARGE;
                let head = head(page, info);
                state.references = Untyped(head).read(Field::PageReferences);
                state.pins = read_at(head + setting(Setting::FolioPins));
            }
        }
        if state.pins > 0 {
            state.bits |= page_bit::MAYBE_PINNED;
        }
        state
    }
}

/// Page bits that tell whose a page is: wanted only for a record, so not part of the counts above.
#[inline(always)]
pub fn page_kind<P: Pointer>(from: P, field: Field) -> u32 {
    let page = from.number(field);
    if page == 0 {
        return 0;
    }
    // Bit 0 of `mapping`: anonymous; bits 0 and 1: KSM (PAGE_MAPPING_FLAGS, all versions).
    let mapping: u64 = Untyped(page).read(Field::PageMapping);
    match mapping & 3 {
        3 => page_bit::KSM,
        1 => page_bit::ANON,
        _ => 0,
    }
}

/// Whether the folio that begins at this `struct page` has more than one page.
#[inline(always)]
pub fn is_large(folio: u64) -> bool {
    let flags: u64 = Untyped(folio).read(Field::PageFlags);
    flags & setting(Setting::PgHead) != 0
}

/// First `struct page` of the folio that `page` belongs to. `info` is the page's `compound_head`
/// (a pointer | 1 in a tail page) or, from 7.x on, its `compound_info`, which with huge-page vmemmap
/// optimisation holds a mask | 1.
#[inline(always)]
fn head(page: u64, info: u64) -> u64 {
    if info & 1 == 0 {
        return page;
    }
    let low = !(info - 1);
    if low & low.wrapping_add(1) == 0 { page & (info - 1) } else { info - 1 }
}
