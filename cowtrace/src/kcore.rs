//! Kernel memory through /proc/kcore, and what the kernel's own counts say of a page there.
//!
//! An ELF core file whose segments are the kernel's address space, the array of `struct page` included.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use cowtrace_common::setting::{Field, Setting};
use object::{
    LittleEndian,
    elf::{FileHeader64, PT_LOAD},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use crate::{errors, event::Pfn, probes::settings::Settings};

/// Where headers end: a segment for each block of memory, 56 bytes each.
const HEADERS: usize = 1 << 20;
/// References that one pin adds to a small page (GUP_PIN_COUNTING_BIAS).
const PIN_BIAS: u32 = 1024;

/// Kernel memory.
#[derive(Debug)]
pub struct Kcore {
    file: File,
    /// First address, bytes, and where they stand in the file.
    segments: Vec<(u64, u64, u64)>,
}

impl Kcore {
    /// Opens it; root only, and not in lockdown.
    pub fn open() -> anyhow::Result<Self> {
        const PATH: &str = "/proc/kcore";
        let unreadable = |error| errors::no_kcore(&error);
        let file = File::open(PATH).map_err(unreadable)?;
        let mut headers = vec![0; HEADERS];
        let read = file.read_at(&mut headers, 0).map_err(unreadable)?;
        headers.truncate(read);
        let segments = segments(&headers)
            .ok_or_else(|| errors::no_kcore(&io::Error::other("its ELF header does not parse")))?;
        Ok(Self { file, segments })
    }

    /// Fills `to` from an address; an error where nothing is there.
    pub fn read(&self, address: u64, to: &mut [u8]) -> io::Result<()> {
        let last = address.checked_add(to.len() as u64);
        let holds = |(start, bytes, _): &&(u64, u64, u64)| {
            last.is_some_and(|last| *start <= address && last - start <= *bytes)
        };
        let segment = self.segments.iter().find(holds);
        let (start, _, offset) = segment.ok_or(io::ErrorKind::NotFound)?;
        self.file.read_exact_at(to, offset + (address - start))
    }

    fn number(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn segments(headers: &[u8]) -> Option<Vec<(u64, u64, u64)>> {
    let header = FileHeader64::<LittleEndian>::parse(headers).ok()?;
    let segments = header.program_headers(LittleEndian, headers).ok()?.iter();
    let loaded = segments.filter(|segment| segment.p_type(LittleEndian) == PT_LOAD);
    let place = |segment: &object::elf::ProgramHeader64<LittleEndian>| {
        let number = |field: object::U64<LittleEndian>| field.get(LittleEndian);
        (number(segment.p_vaddr), number(segment.p_memsz), number(segment.p_offset))
    };
    Some(loaded.map(place).collect())
}

/// The counts of pages.
pub struct PageCounts<'a> {
    kcore: Kcore,
    settings: &'a Settings,
    vmemmap: u64,
    page_bytes: usize,
}

impl<'a> PageCounts<'a> {
    /// Finds the array of `struct page`.
    pub fn open(settings: &'a Settings) -> anyhow::Result<Self> {
        let kcore = Kcore::open()?;
        let number = |setting: Setting| settings.numbers[setting as usize];
        let vmemmap = kcore.number(number(Setting::VmemmapBase));
        let vmemmap = vmemmap.map_err(|error| errors::no_kcore(&error))?;
        let page_bytes = 1 << number(Setting::PageStructShift);
        Ok(Self { kcore, settings, vmemmap, page_bytes })
    }

    /// Whether the kernel's own test calls each of some consecutive pages maybe-pinned.
    pub fn maybe_pinned(&self, pfn: Pfn, pages: usize) -> io::Result<Vec<bool>> {
        let first = self.vmemmap + pfn * self.page_bytes as u64;
        let mut bytes = vec![0; pages * self.page_bytes];
        self.kcore.read(first, &mut bytes)?;
        let each = bytes.chunks_exact(self.page_bytes).zip(0u64..);
        each.map(|(page, n)| self.test(first + n * self.page_bytes as u64, page)).collect()
    }

    /// As `folio_maybe_dma_pinned()`: a large folio counts its pins, a small one in its references.
    fn test(&self, address: u64, page: &[u8]) -> io::Result<bool> {
        let info = number_in(page, self.offset(Field::PageHead));
        let head =
            number_in(page, self.offset(Field::PageFlags)) & self.number(Setting::PgHead) != 0;
        if info & 1 == 0 && !head {
            let references = number_in(page, self.offset(Field::PageReferences)) as u32;
            return Ok(references.cast_signed() > 0 && references >= PIN_BIAS);
        }
        let folio = if info & 1 == 0 { address } else { folio_of(address, info) };
        let pins = self.kcore.number(folio + self.number(Setting::FolioPins))?;
        Ok(pins as u32 > 0)
    }

    fn offset(&self, field: Field) -> usize {
        self.settings.offsets[field as usize] as usize
    }

    fn number(&self, setting: Setting) -> u64 {
        self.settings.numbers[setting as usize]
    }
}

/// The number at an offset of a `struct page`; fields of 4 bytes are its low half.
fn number_in(page: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    let there = page.get(at..).unwrap_or_default();
    let len = there.len().min(8);
    bytes[..len].copy_from_slice(&there[..len]);
    u64::from_le_bytes(bytes)
}

/// First `struct page` of a tail page's folio: `info` is a pointer | 1 or, from 7.x on with huge-page vmemmap
/// optimisation, a mask | 1.
fn folio_of(page: u64, info: u64) -> u64 {
    let low = !(info - 1);
    if low & low.wrapping_add(1) == 0 { page & (info - 1) } else { info - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_has_no_segments() {
        assert_eq!(segments(b"not an ELF file"), None);
        assert_eq!(segments(&[]), None);
    }

    #[test]
    fn a_tail_page_names_its_folio_by_a_pointer_or_a_mask() {
        let page = 0xffff_ea00_0012_3140;
        assert_eq!(folio_of(page, 0xffff_ea00_0012_0001), 0xffff_ea00_0012_0000);
        assert_eq!(folio_of(page, 0xffff_ffff_ffff_8001), 0xffff_ea00_0012_0000);
    }

    #[test]
    fn a_field_at_the_end_of_a_page_is_read_as_far_as_it_goes() {
        assert_eq!(number_in(&[1, 0, 0, 0, 2, 0, 0, 0], 4), 2);
        assert_eq!(number_in(&[1, 2], 9), 0);
    }
}
