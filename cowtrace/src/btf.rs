//! The running kernel's own description of its types and functions.
//!
//! aya parses BTF too, but keeps members, prototypes and enumerators to itself; cowtrace needs just
//! these: where a member stands, whether a function has the prototype that a program expects, and
//! what an enumerator's value is. Format: Documentation/bpf/btf.rst in the kernel tree.
//!
//! Bytes from outside: every read is checked, and what is not there is `None`.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Nesting that no real type reaches; bounds the walk through a damaged file.
const DEEP: u32 = 32;

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// Set where a member's offset word also holds a bit-field size.
    kind_flag: bool,
    /// Members, parameters or enumerators that follow.
    count: usize,
    /// The type it refers to, or its size in bytes.
    target: u32,
    /// Where what follows stands.
    rest: usize,
}

/// Parsed BTF of a kernel.
pub struct Btf<'a> {
    bytes: &'a [u8],
    strings: usize,
    types: Vec<Type>,
    structs: HashMap<&'a str, u32>,
    functions: HashMap<&'a str, u32>,
}

impl<'a> Btf<'a> {
    /// Parses `bytes`, the content of /sys/kernel/btf/vmlinux. `None` if this is no BTF of our
    /// byte order, or it is cut.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u32_at(bytes, 0)? & 0xffff != 0xeb9f {
            return None;
        }
        let header = u32_at(bytes, 4)? as usize;
        let first = header.checked_add(u32_at(bytes, 8)? as usize)?;
        let end = first.checked_add(u32_at(bytes, 12)? as usize)?;
        let strings = header.checked_add(u32_at(bytes, 16)? as usize)?;
        // Type 0 is void.
        let void = Type { name: 0, kind: 0, kind_flag: false, count: 0, target: 0, rest: 0 };
        let mut btf = Self {
            bytes,
            strings,
            types: vec![void],
            structs: HashMap::new(),
            functions: HashMap::new(),
        };
        let mut at = first;
        while at < end {
            at = btf.add(at)?;
        }
        Some(btf)
    }

    /// Takes in the type at `at`; where the next one stands.
    fn add(&mut self, at: usize) -> Option<usize> {
        let info = u32_at(self.bytes, at + 4)?;
        let kind = info >> 24 & 0x1f;
        let found = Type {
            name: u32_at(self.bytes, at)?,
            kind,
            kind_flag: info >> 31 != 0,
            count: (info & 0xffff) as usize,
            target: u32_at(self.bytes, at + 8)?,
            rest: at + 12,
        };
        let id = self.types.len() as u32;
        self.types.push(found);
        if let Some(name) = self.name(found.name) {
            match kind {
                STRUCT => self.structs.entry(name).or_insert(id),
                FUNC => self.functions.entry(name).or_insert(id),
                _ => &mut 0,
            };
        }
        let rest = match kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * found.count,
            ENUM | FUNC_PROTO => 8 * found.count,
            _ => 0,
        };
        Some(found.rest + rest)
    }

    /// Byte offset of `member` in `of`, also where it stands in an anonymous member.
    pub fn offset(&self, of: &str, member: &str) -> Option<u32> {
        self.member(*self.structs.get(of)?, member, 0)
    }

    /// Size of a struct in bytes.
    pub fn size(&self, of: &str) -> Option<u32> {
        Some(self.get(*self.structs.get(of)?)?.target)
    }

    /// Prototype of a function in C, without the parameters' names:
    /// `int pin_user_pages_fast(unsigned long, int, unsigned int, struct page **)`.
    pub fn prototype(&self, function: &str) -> Option<String> {
        let proto = self.get(self.get(*self.functions.get(function)?)?.target)?;
        let mut text = self.c(proto.target, DEEP)?;
        if !text.ends_with('*') {
            text.push(' ');
        }
        let _ = write!(text, "{function}(");
        for n in 0..proto.count {
            let separator = if n == 0 { "" } else { ", " };
            let parameter = self.c(u32_at(self.bytes, proto.rest + 8 * n + 4)?, DEEP)?;
            let _ = write!(text, "{separator}{parameter}");
        }
        text.push(')');
        Some(text)
    }

    /// Value of an enumerator, wherever it is declared; enums are searched in order.
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.types.iter().find_map(|found| match found.kind {
            ENUM => (0..found.count).find_map(|n| {
                let at = found.rest + 8 * n;
                (self.name(u32_at(self.bytes, at)?)? == name)
                    .then(|| u32_at(self.bytes, at + 4).map(u64::from))?
            }),
            ENUM64 => (0..found.count).find_map(|n| {
                let at = found.rest + 12 * n;
                (self.name(u32_at(self.bytes, at)?)? == name).then(|| {
                    let low = u64::from(u32_at(self.bytes, at + 4)?);
                    Some(u64::from(u32_at(self.bytes, at + 8)?) << 32 | low)
                })?
            }),
            _ => None,
        })
    }

    /// BTF of functions and typedefs with these names alone, each with the number that it has here; whatever else
    /// stood before the last of them is a nameless forward declaration.
    ///
    /// For aya, which walks all types and compares all functions' names for each program that it loads (0.14,
    /// `id_by_type_name_kind`): that was a fifth of what attaching cost.
    pub fn only(&self, names: &BTreeSet<String>) -> Vec<u8> {
        let is_wanted = |found: &Type| {
            matches!(found.kind, FUNC | TYPEDEF)
                && self.name(found.name).is_some_and(|name| names.contains(name))
        };
        let last = self.types.iter().rposition(is_wanted).unwrap_or(0);
        let (mut types, mut strings) = (Vec::new(), vec![0]);
        for found in &self.types[1..=last] {
            let words = match self.name(found.name).filter(|_| is_wanted(found)) {
                Some(name) => {
                    let at = strings.len() as u32;
                    strings.extend_from_slice(name.as_bytes());
                    strings.push(0);
                    [at, found.kind << 24, found.target]
                }
                None => [0, FWD << 24, 0],
            };
            types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        let (end, more) = (types.len() as u32, strings.len() as u32);
        let header = [0x0001_eb9f, 24, 0, end, end, more];
        let header = header.iter().flat_map(|word| word.to_le_bytes());
        header.chain(types).chain(strings).collect()
    }

    fn get(&self, id: u32) -> Option<&Type> {
        self.types.get(id as usize)
    }

    fn name(&self, offset: u32) -> Option<&'a str> {
        let from = self.bytes.get(self.strings.checked_add(offset as usize)?..)?;
        let end = from.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&from[..end]).ok()
    }

    fn member(&self, id: u32, name: &str, depth: u32) -> Option<u32> {
        let mut of = self.get(id)?;
        for _ in 0..DEEP {
            if !matches!(of.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) {
                break;
            }
            of = self.get(of.target)?;
        }
        if !matches!(of.kind, STRUCT | UNION) || depth > DEEP {
            return None;
        }
        (0..of.count).find_map(|n| {
            let at = of.rest + 12 * n;
            let bits = u32_at(self.bytes, at + 8)?;
            let bytes = if of.kind_flag { bits & 0xff_ffff } else { bits } / 8;
            match self.name(u32_at(self.bytes, at)?)? {
                found if found == name => Some(bytes),
                "" => {
                    bytes.checked_add(self.member(u32_at(self.bytes, at + 4)?, name, depth + 1)?)
                }
                _ => None,
            }
        })
    }

    /// A type as C writes it.
    fn c(&self, id: u32, depth: u32) -> Option<String> {
        if id == 0 {
            return Some("void".to_owned());
        }
        let of = self.get(id)?;
        let depth = depth.checked_sub(1)?;
        let name = self.name(of.name)?;
        Some(match of.kind {
            PTR => {
                let to = self.c(of.target, depth)?;
                if to.ends_with('*') { format!("{to}*") } else { format!("{to} *") }
            }
            STRUCT => format!("struct {name}"),
            UNION => format!("union {name}"),
            ENUM | ENUM64 => format!("enum {name}"),
            CONST => format!("const {}", self.c(of.target, depth)?),
            VOLATILE | RESTRICT | TYPE_TAG => self.c(of.target, depth)?,
            INT => match name {
                "long unsigned int" => "unsigned long",
                "long int" => "long",
                "long long unsigned int" => "unsigned long long",
                "_Bool" => "bool",
                other => other,
            }
            .to_owned(),
            FUNC_PROTO => "function".to_owned(),
            ARRAY => "array".to_owned(),
            _ => name.to_owned(),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests;
