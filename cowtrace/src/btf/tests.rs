//! A small BTF, made by hand: what a kernel's looks like, and what happens when it is cut.

use super::*;

/// Types and strings of a BTF being written.
#[derive(Default)]
struct Made {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Made {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        if name.is_empty() { 0 } else { at }
    }

    /// A type with what follows it.
    fn put(&mut self, name: &str, kind: u32, count: u32, target: u32, rest: &[u32]) {
        let name = self.name(name);
        for number in [name, kind << 24 | count, target].iter().chain(rest) {
            self.types.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        // Magic and version, header's length, then where types and strings stand and how long they are.
        let header = [0x0001_eb9f, 24, 0, types, types, strings];
        let header = header.iter().flat_map(|number| number.to_le_bytes());
        header.chain(self.types.iter().copied()).chain(self.strings.iter().copied()).collect()
    }
}

/// `struct outer { long first; union { long plain; long other; }; }`, and
/// `int pin(unsigned long, struct outer **)`, and `enum { FOLL_PIN = 0x80000 }`.
fn made() -> Made {
    let mut made = Made::default();
    made.put("long int", INT, 0, 8, &[64]); // 1
    made.put("long unsigned int", INT, 0, 8, &[64]); // 2
    made.put("int", INT, 0, 4, &[32]); // 3
    let [plain, other, first, anonymous] =
        ["plain", "other", "first", ""].map(|name| made.name(name));
    made.put("", UNION, 2, 8, &[plain, 1, 0, other, 1, 0]); // 4
    made.put("outer", STRUCT, 2, 16, &[first, 1, 0, anonymous, 4, 64]); // 5
    made.put("", PTR, 0, 5, &[]); // 6
    made.put("", PTR, 0, 6, &[]); // 7
    made.put("", FUNC_PROTO, 2, 3, &[0, 2, 0, 7]); // 8
    made.put("pin", FUNC, 0, 8, &[]); // 9
    let foll_pin = made.name("FOLL_PIN");
    made.put("", ENUM, 1, 4, &[foll_pin, 0x80000]); // 10
    made
}

#[test]
fn a_member_is_found_also_in_an_anonymous_one() {
    let bytes = made().bytes();
    let btf = Btf::parse(&bytes).expect("BTF");
    assert_eq!(btf.offset("outer", "first"), Some(0));
    assert_eq!(btf.offset("outer", "other"), Some(8));
    assert_eq!(btf.offset("outer", "none"), None);
    assert_eq!(btf.offset("inner", "first"), None);
    assert_eq!(btf.size("outer"), Some(16));
}

#[test]
fn a_prototype_reads_as_the_kernel_writes_it() {
    let bytes = made().bytes();
    let btf = Btf::parse(&bytes).expect("BTF");
    let prototype = btf.prototype("pin");
    assert_eq!(prototype.as_deref(), Some("int pin(unsigned long, struct outer **)"));
    assert_eq!(btf.prototype("unpin"), None);
}

#[test]
fn an_enumerator_has_its_value_wherever_it_is_declared() {
    let bytes = made().bytes();
    let btf = Btf::parse(&bytes).expect("BTF");
    assert_eq!(btf.enumerator("FOLL_PIN"), Some(0x80000));
    assert_eq!(btf.enumerator("FOLL_GET"), None);
}

#[test]
fn what_is_left_for_aya_has_the_numbers_that_it_had() {
    let mut made = made();
    made.put("btf_trace_fork", TYPEDEF, 0, 7, &[]); // 11
    made.put("unpin", FUNC, 0, 8, &[]); // 12
    let whole = made.bytes();
    let names = ["pin", "btf_trace_fork", "outer", "none"].map(str::to_owned).into();
    let left = Btf::parse(&whole).expect("BTF").only(&names);
    assert!(aya::Btf::parse(&left, aya::Endianness::default()).is_ok());
    let left = Btf::parse(&left).expect("BTF");
    let left_over: Vec<_> = (left.types.iter().enumerate())
        .filter_map(|(id, found)| Some((id, found.kind, left.name(found.name)?)))
        .filter(|(.., name)| !name.is_empty())
        .collect();
    assert_eq!(left_over, [(9, FUNC, "pin"), (11, TYPEDEF, "btf_trace_fork")]);
    assert_eq!(left.types.len(), 12, "what stands behind the last of them is not needed");
}

#[test]
fn a_cut_btf_is_none_or_knows_less() {
    let whole = made().bytes();
    for len in 0..whole.len() {
        if let Some(btf) = Btf::parse(&whole[..len]) {
            let offset = btf.offset("outer", "other");
            assert!(offset.is_none_or(|offset| offset == 8), "cut at {len}: {offset:?}");
            let _ = (btf.prototype("pin"), btf.enumerator("FOLL_PIN"));
        }
    }
    assert!(Btf::parse(b"\x7fELF").is_none());
}
