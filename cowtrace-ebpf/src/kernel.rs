//! Every read of kernel memory, and every difference between kernels that a read has to know.
//!
//! Offsets come from the running kernel's BTF through a frozen array (see `cowtrace_common::setting`),
//! so a wrong one is refused at load, not read.

mod table;

use aya_ebpf::{
    helpers::{
        bpf_get_current_task, bpf_probe_read_kernel_buf, bpf_probe_read_kernel_str_bytes,
        generated::bpf_probe_read_kernel,
    },
    macros::map,
    maps::Array,
};
use cowtrace_common::{
    program::Program,
    setting::{Field, Setting},
    wire::{DEVICE_NAME, page_bit},
};

pub use self::table::{Mapped, Pte};
use crate::emit;

/// Byte offsets by [`Field`].
#[unsafe(no_mangle)]
static OFFSETS: [u32; Field::ALL.len()] = [0; Field::ALL.len()];

/// Numbers by [`Setting`].
#[unsafe(no_mangle)]
static SETTINGS: [u64; Setting::COUNT] = [0; Setting::COUNT];

/// VM_SHARED; the same bit in all versions.
pub const VM_SHARED: u64 = 8;

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
    /// The page table's entry that the pointer at `field` points to.
    fn entry(self, field: Field) -> Pte;
    /// The address itself.
    fn address(self) -> u64;
}

/// A pointer that the verifier has a type for: plain loads, checked at load time and safe at run time
/// (the JIT turns a fault into 0). But never through NULL: Debian's 5.10 loses the fault table of a program that
/// calls functions of its own, and a load that faults then is an oops.
#[derive(Clone, Copy)]
pub struct Typed(pub *const u8);

/// Any address: reads go through `bpf_probe_read_kernel`.
#[derive(Clone, Copy)]
pub struct Untyped(pub u64);

impl Untyped {
    /// What lies at `field`, inside.
    #[inline(always)]
    pub fn part(self, field: Field) -> Self {
        Self(self.0 + offset(field) as u64)
    }

    /// What this lies in, at `field`.
    #[inline(always)]
    pub fn whole(self, field: Field) -> Self {
        Self(self.0 - offset(field) as u64)
    }
}

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
    fn entry(self, field: Field) -> Pte {
        // SAFETY: as in `follow`; a pte_t is a struct of one number. A fault's entry is never NULL.
        Pte(unsafe { self.follow(field).0.cast::<u64>().read_volatile() })
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
    fn entry(self, field: Field) -> Pte {
        Pte::at(self.read(field))
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }
}

/// The number at an address; 0 where it cannot be read: the helper clears what it could not fill, so its
/// answer is not asked for. A branch for each read would have the verifier go both ways each time.
#[inline(always)]
pub fn read_at<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address itself and writes to `value` alone.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const core::ffi::c_void,
        );
    }
    value
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

/// Where `struct page` 0 stands, once it was read.
#[map]
static VMEMMAP: Array<u64> = Array::with_max_entries(1, 0);

/// Where `struct page` 0 stands. A variable, since KASLR moves it, that stays as it is after the boot.
#[inline(always)]
pub fn vmemmap() -> u64 {
    let Some(known) = VMEMMAP.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a number of the map; all writers write the same.
    unsafe {
        if *known == 0 {
            *known = read_at(setting(Setting::VmemmapBase));
        }
        *known
    }
}

/// Where the kernel has the bytes of a page.
#[inline(always)]
pub fn page_address(pfn: u64) -> u64 {
    let base: u64 = read_at(setting(Setting::PageOffsetBase));
    base + (pfn << setting(Setting::PageShift))
}

/// The `struct page` of a PFN.
#[inline(always)]
pub fn page_of(pfn: u64) -> u64 {
    vmemmap() + (pfn << setting(Setting::PageStructShift))
}

/// The PFN of a `struct page`.
#[inline(always)]
pub fn pfn_of(page: u64) -> u64 {
    page.wrapping_sub(vmemmap()) >> setting(Setting::PageStructShift)
}

/// Whether all references to a page are those of page tables. Then it is neither pinned nor held otherwise, be it
/// small or the first of a large folio: of that one counts more references than its own mappings explain. In other
/// pages of a large folio the count is 0, and they are not told to be.
#[inline(always)]
pub fn is_only_mapped<P: Pointer>(page: P) -> bool {
    if page.address() == 0 {
        return false;
    }
    let references: i32 = page.read(Field::PageReferences);
    let mappings = page.read::<i32>(Field::PageMappings) + 1;
    references > 0 && references <= mappings && references < PIN_BIAS as i32
}

/// Whether the kernel's own test calls a page maybe-pinned, for one that hardly ever is: it asks no more than it has to.
/// `address` is the page's as a number.
#[inline(always)]
pub fn is_maybe_pinned<P: Pointer>(page: P, address: impl FnOnce() -> u64) -> bool {
    let flags: u64 = page.read(Field::PageFlags);
    let references: i32 = page.read(Field::PageReferences);
    // The references of a folio are counted in its first page; in the others the count is 0.
    if references != 0 && flags & setting(Setting::PgHead) == 0 {
        return references as u32 >= PIN_BIAS;
    }
    let folio = head(address(), page.number(Field::PageHead));
    read_at::<i32>(folio + setting(Setting::FolioPins)) > 0
}

/// The name of a device, as far as it is kept.
#[inline(always)]
pub fn device_name<P: Pointer>(device: P) -> [u8; DEVICE_NAME] {
    let object = Untyped(device.address() + offset(Field::DeviceObject) as u64);
    let mut name = [0; DEVICE_NAME];
    let from: u64 = object.read(Field::ObjectName);
    // SAFETY: the helper checks the address itself and writes to `name` alone. A name that cannot be read is empty.
    let _ = unsafe { bpf_probe_read_kernel_str_bytes(from as *const u8, &mut name) };
    name
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
    /// First `struct page` of a large folio; 0 for a small one.
    pub folio: u64,
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
        let mut state = Self::small(page);
        // The references of a folio are counted in its first page; in the others the count is 0.
        if state.references == 0 || state.bits & page_bit::LARGE != 0 {
            state.large(from.number(field));
        }
        state.test()
    }

    /// The same of a page by its address.
    #[inline(always)]
    pub fn of(page: u64) -> Self {
        let mut state = Self::small(Untyped(page));
        if state.references == 0 || state.bits & page_bit::LARGE != 0 {
            state.large(page);
        }
        state.test()
    }

    /// What stands in the page itself.
    #[inline(always)]
    fn small<P: Pointer>(page: P) -> Self {
        let mappings: i32 = page.read(Field::PageMappings);
        let references: i32 = page.read(Field::PageReferences);
        let flags: u64 = page.read(Field::PageFlags);
        let mut bits = page_bit::KNOWN;
        if flags & setting(Setting::PgHead) != 0 {
            bits |= page_bit::LARGE;
        }
        Self {
            bits: bits | flag_bits(flags) as u32,
            references,
            mappings: mappings + 1,
            pins: (references as u32 / PIN_BIAS) as i32,
            folio: 0,
        }
    }

    /// What the first page of its folio says, if it is a large one.
    #[inline(always)]
    fn large(&mut self, page: u64) {
        let info: u64 = Untyped(page).read(Field::PageHead);
        if info & 1 == 0 && self.bits & page_bit::LARGE == 0 {
            return;
        }
        self.folio = head(page, info);
        let flags: u64 = Untyped(self.folio).read(Field::PageFlags);
        self.bits = page_bit::KNOWN | page_bit::LARGE | flag_bits(flags) as u32;
        self.bits |= order(folio_pages(self.folio)) << page_bit::ORDER_SHIFT;
        self.references = Untyped(self.folio).read(Field::PageReferences);
        self.pins = read_at(self.folio + setting(Setting::FolioPins));
    }

    #[inline(always)]
    fn test(mut self) -> Self {
        if self.pins > 0 {
            self.bits |= page_bit::MAYBE_PINNED;
        }
        self
    }

    /// Page bits that tell whose it is: wanted only for a record, so not read with the counts. `page` is the
    /// page itself; of a large folio only the first one knows.
    #[inline(always)]
    pub fn kind(self, page: u64) -> u32 {
        page_kind(if self.folio == 0 { page } else { self.folio }) as u32
    }

    /// Whether the kernel's own test calls it maybe-pinned.
    #[inline(always)]
    pub fn maybe_pinned(self) -> bool {
        self.bits & page_bit::MAYBE_PINNED != 0
    }

    /// Counts the mappings of all pages of a large folio, in place of those of the one.
    #[inline(always)]
    pub fn count_mappings<const HUGETLB: bool>(&mut self, program: Program) {
        if self.folio != 0 {
            self.mappings = folio_mappings::<HUGETLB>(program, self.folio);
        }
    }

    /// References that neither mappings nor the swap cache explain, nor a CPU's batch of pages that are
    /// about to be put on an LRU list.
    #[inline(always)]
    pub fn extra_references(self) -> i32 {
        let pages = 1 << (self.bits >> page_bit::ORDER_SHIFT);
        let cached = if self.bits & page_bit::SWAPCACHE != 0 { pages } else { 0 };
        let batched = self.bits & (page_bit::ON_LRU | page_bit::HUGETLB) == 0;
        self.references - self.mappings - cached - batched as i32
    }
}

/// Page bits by the flags of a page.
///
/// Like [`page_kind`] a function that the verifier looks at once: the ways through it do not multiply with what follows.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn flag_bits(flags: u64) -> u64 {
    let mut bits = 0;
    if flags & setting(Setting::PgLru) != 0 {
        bits |= page_bit::ON_LRU;
    }
    if flags & setting(Setting::PgSwapcache) != 0 {
        bits |= page_bit::SWAPCACHE;
    }
    bits.into()
}

/// Pages of a large folio.
#[inline(always)]
pub fn folio_pages(folio: u64) -> u32 {
    read_at(folio + setting(Setting::FolioPages))
}

/// log2 of a power of two, by counting: a loop would have the verifier go on from each way out of it.
#[inline(always)]
fn order(pages: u32) -> u32 {
    pages.wrapping_sub(1).count_ones() & 31
}

/// Mappings of all pages of a large folio together.
#[inline(always)]
fn folio_mappings<const HUGETLB: bool>(program: Program, folio: u64) -> i32 {
    let whole = setting(Setting::FolioMappings);
    if whole != 0 {
        return read_at::<i32>(folio + whole) + 1;
    }
    // As total_mapcount() up to 6.1: the folio as a whole, and each page; where both are in use each
    // page is counted once too often (PG_double_map, in the second page's flags).
    let mut count: i32 = read_at::<i32>(folio + setting(Setting::EntireMappings)) + 1;
    if HUGETLB {
        return count;
    }
    let shift = setting(Setting::PageStructShift);
    let second: u64 = Untyped(folio + (1 << shift)).read(Field::PageFlags);
    let twice = second & setting(Setting::PgDoubleMap) != 0;
    let pages = folio_pages(folio);
    let Some(words) = emit::scratch(program as u32) else {
        return count;
    };
    // Read many at once: each step costs the verifier of 5.10 a comparison with all before it.
    let mut first = 0;
    while first < 512 {
        if first >= pages {
            break;
        }
        // SAFETY: words are bytes.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), size_of_val(words))
        };
        if !copy(folio + (u64::from(first) << shift), bytes) {
            return count;
        }
        for page in words.chunks_exact(PAGE_WORDS) {
            // SAFETY: the field lies within the words of one `struct page`. Volatile: where, only the
            // verifier knows.
            let own = unsafe {
                page.as_ptr().byte_add(offset(Field::PageMappings)).cast::<i32>().read_volatile()
            };
            count += own + 1 - twice as i32;
        }
        first += (emit::SCRATCH / PAGE_WORDS) as u32;
    }
    count
}

/// Words of a `struct page` on the kernels that are read so: 64 bytes.
const PAGE_WORDS: usize = 8;

/// Page bits by what a page is mapped from; 0 of no page.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn page_kind(page: u64) -> u64 {
    if page == 0 {
        return 0;
    }
    // Bit 0 of `mapping`: anonymous; bits 0 and 1: KSM (PAGE_MAPPING_FLAGS, all versions).
    let mapping: u64 = Untyped(page).read(Field::PageMapping);
    match mapping & 3 {
        3 => page_bit::KSM.into(),
        1 => page_bit::ANON.into(),
        _ => 0,
    }
}

/// First `struct page` of the folio that a page belongs to, and its pages; 0 pages if it has but one.
#[inline(always)]
pub fn folio_of(page: u64) -> (u64, u32) {
    let (flags, info) = flags_and_head(page);
    if info & 1 == 0 && flags & setting(Setting::PgHead) == 0 {
        return (page, 0);
    }
    let folio = head(page, info);
    (folio, folio_pages(folio))
}

/// Flags of a page, and what tells its head. They lie side by side, and one read costs as much as another.
#[inline(always)]
fn flags_and_head(page: u64) -> (u64, u64) {
    if offset(Field::PageHead) == offset(Field::PageFlags) + 8 {
        let [flags, info] = Untyped(page).read::<[u64; 2]>(Field::PageFlags);
        return (flags, info);
    }
    (Untyped(page).read(Field::PageFlags), Untyped(page).read(Field::PageHead))
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

/// The name of a file whose pages are pinned, where otherwise an address space stands: the even address of its
/// `struct address_space`, and one.
#[inline(always)]
pub fn file_of<P: Pointer>(file: P) -> u64 {
    file.number(Field::FileMapping) | 1
}
