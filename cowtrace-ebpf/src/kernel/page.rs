//! What a `struct page` and the folio that it is in say: counts, flags, and what the page is of.

use cowtrace_common::{
    program::Program,
    setting::{Field, Setting},
    wire::page_bit,
};

use super::{Pointer, Typed, Untyped, copy, offset, read_at, setting};
use crate::emit;

/// References that one pin adds to a small page (GUP_PIN_COUNTING_BIAS, the same since 5.7).
const PIN_BIAS: u32 = 1024;

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
    let is_first = flags & setting(Setting::PgHead) != 0;
    // The references of a folio are counted in its first page; in the others the count is 0.
    if references != 0 && !is_first {
        return references as u32 >= PIN_BIAS;
    }
    let info = page.number(Field::PageHead);
    // A small page without references is free, or one of slab: what lies where a folio has its pins is another page's.
    let is_large = is_first || info & 1 != 0;
    is_large && read_at::<i32>(head(address(), info) + setting(Setting::FolioPins)) > 0
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
    told_by(page, flags, info)
}

/// The same of an argument, by loads. `page` is its address.
#[inline(always)]
pub fn folio_of_typed(program: Program, argument: Typed, page: u64) -> (u64, u32) {
    let info = emit::number(program, argument.follow(Field::PageHead));
    told_by(page, argument.read(Field::PageFlags), info)
}

#[inline(always)]
fn told_by(page: u64, flags: u64, info: u64) -> (u64, u32) {
    if !tells_large(flags, info) {
        return (page, 0);
    }
    let folio = head(page, info);
    (folio, folio_pages(folio))
}

/// Whether a page belongs to a folio of more than one page.
#[inline(always)]
pub fn is_large(page: u64) -> bool {
    let (flags, info) = flags_and_head(page);
    tells_large(flags, info)
}

#[inline(always)]
fn tells_large(flags: u64, info: u64) -> bool {
    info & 1 != 0 || flags & setting(Setting::PgHead) != 0
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
