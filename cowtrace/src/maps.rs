//! Lines of `/proc/PID/maps`.

use std::ops::Range;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// Addresses.
    pub range: Range<u64>,
    /// `rw-p`.
    pub permissions: &'a str,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// A path, `[heap]`; empty for anonymous memory.
    pub name: &'a str,
}

/// `7f0000000000-7f0000001000 r-xp 00001000 08:01 1234    /usr/bin/a name`; `None` for any other line.
pub fn mapping(line: &str) -> Option<Mapping<'_>> {
    let number = |text| u64::from_str_radix(text, 16).ok();
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let offset = number(words.next()?)?;
    let name = words.nth(2).unwrap_or_default().trim();
    Some(Mapping { range: number(start)?..number(end)?, permissions, offset, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_range_offset_and_name() {
        let line =
            "55d0c0001000-55d0c0100000 r-xp 00001000 08:01 1234                 /usr/bin/a name";
        let range = 0x55d0_c000_1000..0x55d0_c010_0000;
        let name = "/usr/bin/a name";
        let (permissions, offset) = ("r-xp", 0x1000);
        assert_eq!(mapping(line), Some(Mapping { range, permissions, offset, name }));
    }

    #[test]
    fn anonymous_memory_has_no_name_and_nonsense_is_none() {
        let anonymous = mapping("7f0000000000-7f0000002000 rw-p 00000000 00:00 0 ");
        assert_eq!(
            anonymous.map(|mapping| (mapping.permissions, mapping.name)),
            Some(("rw-p", ""))
        );
        assert_eq!(mapping("nonsense"), None);
        assert_eq!(mapping("7f00-x rw-p 0 00:00 0"), None);
    }
}
