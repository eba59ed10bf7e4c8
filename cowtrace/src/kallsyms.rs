//! /proc/kallsyms: which functions and variables the running kernel has, and what an address is.
//!
//! There are some 200,000 of them, kept as long as cowtrace runs: 16 bytes each, and all names in one text. Those of
//! the padding in front of functions, which no address in a stack is in, are left out.

use std::{fmt::Write as _, io::Read};

/// A kernel symbol.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    /// Where in the names its own begins, and how long it is.
    name: (u32, u16),
    /// A function, not data.
    is_text: bool,
}

/// All symbols, by address.
#[derive(Clone, Debug, Default)]
pub struct Kallsyms {
    symbols: Vec<Symbol>,
    /// Names, and behind those that are in a module a tab and `[module]`.
    names: String,
}

impl Kallsyms {
    /// Reads the running kernel's.
    pub fn read() -> std::io::Result<Self> {
        let mut text = String::new();
        std::fs::File::open("/proc/kallsyms")?.read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Parses the text form; lines that are not of it are skipped.
    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            all.take(line);
        }
        all.symbols.sort_by_key(|symbol| symbol.address);
        all.symbols.shrink_to_fit();
        all.names.shrink_to_fit();
        all
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (address, rest) = line.split_once(' ')?;
        let address = u64::from_str_radix(address, 16).ok()?;
        let (kind, name) = rest.split_once(' ')?;
        // objtool gives one to each function where there is room for mitigations (CONFIG_PREFIX_SYMBOLS): 51,000 on 6.12.
        if name.starts_with("__pfx_") {
            return None;
        }
        let is_text = matches!(kind, "t" | "T" | "w" | "W");
        let (at, len) = (u32::try_from(self.names.len()).ok()?, u16::try_from(name.len()).ok()?);
        self.names.push_str(name);
        self.symbols.push(Symbol { address, name: (at, len), is_text });
        Some(())
    }

    fn name(&self, symbol: &Symbol) -> &str {
        let (at, len) = symbol.name;
        &self.names[at as usize..at as usize + usize::from(len)]
    }

    /// Whether addresses are shown at all (kptr_restrict, CAP_SYSLOG).
    pub fn has_addresses(&self) -> bool {
        self.symbols.iter().any(|symbol| symbol.address != 0)
    }

    /// Address of a symbol of the kernel proper.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.symbols
            .iter()
            .find(|symbol| self.name(symbol) == name && symbol.address != 0)
            .map(|symbol| symbol.address)
    }

    /// The function that an address is in.
    pub fn function(&self, address: u64) -> Option<&str> {
        let (symbol, _) = self.symbol_at(address)?;
        let name = self.name(symbol);
        Some(name.split_once('\t').map_or(name, |(name, _)| name))
    }

    /// `name+0x12` or `name+0x12 [module]` for an address in a function, or at the start of data.
    pub fn describe(&self, address: u64) -> Option<String> {
        let (symbol, offset) = self.symbol_at(address)?;
        let name = self.name(symbol);
        let (name, module) = name.split_once('\t').unwrap_or((name, ""));
        let mut text = format!("{name}+{offset:#x}");
        if !module.is_empty() {
            let _ = write!(text, " {module}");
        }
        Some(text)
    }

    /// The symbol that an address belongs to, and how far behind its start it is.
    fn symbol_at(&self, address: u64) -> Option<(&Symbol, u64)> {
        let behind = self.symbols.partition_point(|symbol| symbol.address <= address);
        let mut before = self.symbols[..behind].iter().rev();
        let symbol = before.find(|symbol| symbol.is_text || symbol.address == address)?;
        // eBPF programs and trampolines stand behind modules' functions and have no symbol when they are
        // younger than this list: an address too far from its function is not in it.
        let offset = address.checked_sub(symbol.address).filter(|offset| *offset < 1 << 15)?;
        Some((symbol, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff81000000 T _stext
ffffffff81000100 t do_wp_page
ffffffff81000200 t wp_page_copy.part.0
ffffffffc0000000 t ib_umem_get\t[ib_uverbs]
ffffffffc0000200 d ib_ops\t[ib_uverbs]
not a line
";

    #[test]
    fn the_padding_in_front_of_a_function_has_no_name_of_its_own() {
        let padded = Kallsyms::parse(&TEXT.replace(
            "ffffffff81000200",
            "ffffffff810001f0 t __pfx_wp_page_copy.part.0\nffffffff81000200",
        ));
        assert_eq!(padded.address("__pfx_wp_page_copy.part.0"), None);
        assert_eq!(padded.describe(0xffff_ffff_8100_01f0).as_deref(), Some("do_wp_page+0xf0"));
    }

    #[test]
    fn an_address_is_named_by_the_symbol_before_it() {
        let symbols = Kallsyms::parse(TEXT);
        assert_eq!(symbols.describe(0xffff_ffff_8100_0134).as_deref(), Some("do_wp_page+0x34"));
        assert_eq!(
            symbols.describe(0xffff_ffff_c000_0008).as_deref(),
            Some("ib_umem_get+0x8 [ib_uverbs]")
        );
    }

    #[test]
    fn data_has_a_name_at_its_start_and_none_behind() {
        let symbols = Kallsyms::parse(TEXT);
        assert_eq!(
            symbols.describe(0xffff_ffff_c000_0200).as_deref(),
            Some("ib_ops+0x0 [ib_uverbs]")
        );
        assert_eq!(
            symbols.describe(0xffff_ffff_c000_0208).as_deref(),
            Some("ib_umem_get+0x208 [ib_uverbs]")
        );
    }

    #[test]
    fn an_address_outside_all_symbols_has_no_name() {
        let symbols = Kallsyms::parse(TEXT);
        assert_eq!(symbols.describe(0x1000), None);
        assert_eq!(symbols.describe(0xffff_ffff_9000_0000), None);
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        let symbols = Kallsyms::parse("0000000000000000 t do_wp_page\n");
        assert!(!symbols.has_addresses());
        assert_eq!(symbols.address("do_wp_page"), None);
    }
}
