//! Names for the addresses in stacks, found while the process may still be there.
//!
//! A process's mappings are kept from the first record that it wrote, so that its frames have names
//! also when it has exited by the time that a later record of it is read.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use blazesym::{
    helper::read_elf_build_id,
    symbolize::{
        Input, Sym, Symbolized, Symbolizer,
        source::{Elf, Source},
    },
};
use hashbrown::{HashMap, HashSet};

use super::Batch;
use crate::{
    encode::Writer,
    event::{Event, What},
    facts::key,
    kallsyms::Kallsyms,
    maps,
    privileges::opener::Opener,
};

/// Processes whose mappings are kept, and addresses that are known to have been named: bounds on
/// memory. Beyond them everything is forgotten and found anew.
const PROCESSES: usize = 4096;
const ADDRESSES: usize = 1 << 18;
/// Files whose build ids are told.
const BINARIES: usize = 4096;
/// Files that are kept open for their symbols.
const OPENED: usize = 128;

/// A file mapped executable.
struct Mapped {
    start: u64,
    end: u64,
    offset: u64,
    path: PathBuf,
}

/// The names, and what they are found from.
pub struct Symbols {
    kallsyms: Kallsyms,
    symbolizer: Symbolizer,
    mappings: HashMap<u32, Vec<Mapped>>,
    told: HashSet<(u32, u64)>,
    binaries: HashSet<PathBuf>,
    /// Files that the symbolizer has read: device and inode.
    read: HashSet<(u64, u64)>,
}

impl Symbols {
    /// Nothing told yet.
    pub fn new(kallsyms: Kallsyms) -> Self {
        Self {
            kallsyms,
            symbolizer: Symbolizer::new(),
            mappings: HashMap::new(),
            told: HashSet::new(),
            binaries: HashSet::new(),
            read: HashSet::new(),
        }
    }

    /// The kernel's function that an address is in.
    pub fn function(&self, address: u64) -> Option<&str> {
        self.kallsyms.function(address)
    }

    /// Writes the names that an event needs and that were not told before.
    pub fn tell(&mut self, event: &Event, opener: &Opener, names: &mut Batch) {
        if self.told.len() > ADDRESSES {
            self.told.clear();
        }
        let mut writer = Writer::new(names, event.time);
        self.kernel(event, &mut writer);
        self.user(event, opener, &mut writer);
    }

    fn kernel(&mut self, event: &Event, writer: &mut Writer) {
        // A notifier's operations name the secondary MMU: `kvm_mmu_notifier_ops`.
        let ops = match &event.what {
            What::Notifier(notifier) => std::slice::from_ref(&notifier.ops),
            What::Secondary(all) => &all.ops,
            _ => &[],
        };
        for address in event.stack.kernel().iter().chain(ops) {
            if self.told.insert((0, *address))
                && let Some(name) = self.kallsyms.describe(*address)
            {
                writer.symbol(0, *address, &name);
            }
        }
    }

    fn user(&mut self, event: &Event, opener: &Opener, writer: &mut Writer) {
        let tgid = event.task.tgid;
        for (depth, address) in event.stack.user().iter().enumerate() {
            if !self.told.insert((tgid, *address)) {
                continue;
            }
            // Behind the innermost frame an address is where a call returns to, which may already be
            // the next line or function.
            let within = if depth == 0 { *address } else { address.saturating_sub(1) };
            if let Some(name) = self.describe((tgid, within), opener, writer) {
                writer.symbol(tgid, *address, &name);
            }
        }
    }

    fn describe(
        &mut self,
        (tgid, address): (u32, u64),
        opener: &Opener,
        writer: &mut Writer,
    ) -> Option<String> {
        let mapped = self.mapped(tgid, address, opener)?;
        let (offset, path) = (address - mapped.start + mapped.offset, mapped.path.clone());
        let range = (mapped.start, mapped.end);
        let binary = path.file_name().unwrap_or_default().display().to_string();
        let unnamed = format!("{binary}+{offset:#x}");
        // What is mapped, never what its path names: in a container that is another file, if any, and whoever is traced
        // may choose it.
        let Ok(mapping) = opener.binary(tgid, range) else {
            return Some(unnamed);
        };
        self.keep_few(&mapping);
        let file = PathBuf::from(format!("/proc/self/fd/{}", mapping.as_raw_fd()));
        if self.binaries.len() < BINARIES && self.binaries.insert(path.clone()) {
            tell_build_id(&path, &file, writer);
        }
        let input = Input::FileOffset(offset);
        let found = self.symbolizer.symbolize_single(&Source::Elf(Elf::new(file)), input);
        Some(match found {
            Ok(Symbolized::Sym(sym)) => format!("{} [{binary}]", name(&sym)),
            _ => unnamed,
        })
    }

    /// The symbolizer keeps each file that it has read open, with its symbols: an agent would run out of descriptors.
    fn keep_few(&mut self, file: &File) {
        let Ok(found) = file.metadata() else { return };
        if self.read.len() >= OPENED && !self.read.contains(&(found.dev(), found.ino())) {
            self.symbolizer = Symbolizer::new();
            self.read.clear();
        }
        self.read.insert((found.dev(), found.ino()));
    }

    /// The file mapped at an address; the process's mappings are read again if there was none.
    fn mapped(&mut self, tgid: u32, address: u64, opener: &Opener) -> Option<&Mapped> {
        let known = |mappings: &[Mapped]| {
            mappings.iter().position(|mapped| (mapped.start..mapped.end).contains(&address))
        };
        let found = self.mappings.get(&tgid).and_then(|mappings| known(mappings));
        if found.is_none() {
            let read = read_mappings(opener.maps(tgid).ok()?)?;
            if self.mappings.len() >= PROCESSES {
                self.mappings.clear();
            }
            self.mappings.insert(tgid, read);
        }
        let mappings = self.mappings.get(&tgid)?;
        found.or_else(|| known(mappings)).and_then(|index| mappings.get(index))
    }
}

/// Tells which build a file is: who has its debug information, but not the machine, finds it by that.
fn tell_build_id(path: &Path, file: &Path, writer: &mut Writer) {
    // One without, or one that is gone, stays a name.
    if let Ok(Some(id)) = read_elf_build_id(file) {
        let id = id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        writer.fact(&format!("{}{}", key::BINARY, path.display()), &id);
    }
}

/// `function+0x12`, or `function (file:line)` where there is debug information.
fn name(sym: &Sym) -> String {
    match sym.code_info.as_deref() {
        Some(code) => {
            let file = code.file.display();
            code.line.map_or_else(
                || format!("{} ({file})", sym.name),
                |line| format!("{} ({file}:{line})", sym.name),
            )
        }
        None => format!("{}+{:#x}", sym.name, sym.offset),
    }
}

/// The executable mappings of files, `None` if the process is gone: of one that is just exiting the list is
/// there and empty, which must not replace what was read before.
fn read_mappings(maps: File) -> Option<Vec<Mapped>> {
    let text = io::read_to_string(maps).ok()?;
    let mappings: Vec<_> = text.lines().filter_map(maps::mapping).filter_map(binary).collect();
    (!mappings.is_empty()).then_some(mappings)
}

/// A mapping that frames can be in: of a file, executable.
fn binary(mapping: maps::Mapping) -> Option<Mapped> {
    let maps::Mapping { range, permissions, offset, name } = mapping;
    let is_one = permissions.contains('x') && name.starts_with('/');
    is_one.then(|| Mapped { start: range.start, end: range.end, offset, path: name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_executable_file_is_left_out() {
        let binary = |line| maps::mapping(line).and_then(binary);
        assert!(binary("7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0     [stack]").is_none());
        assert!(binary("7f0000000000-7f0000001000 r--p 00000000 08:01 12    /lib/x.so").is_none());
        assert!(binary("7f0000000000-7f0000001000 r-xp 00000000 00:00 0").is_none());
        assert!(binary("7f0000000000-7f0000001000 r-xp 00000000 08:01 12    /lib/x.so").is_some());
    }
}
