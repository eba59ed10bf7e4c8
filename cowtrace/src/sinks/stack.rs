//! Stacks in words, the same in every sink.

use crate::{event::Stack, trace::Trace};

/// The frames of a stack, kernel first, innermost first. Frames of the probe itself are left out; an
/// address without a name stands as it is.
pub fn lines(trace: &Trace, tgid: u32, stack: &Stack) -> Vec<String> {
    let kernel = stack
        .kernel
        .iter()
        .map(|address| name(trace, 0, *address))
        .skip_while(|name| is_probe(name));
    let user = stack
        .user
        .iter()
        .filter(|address| **address < USER_END)
        .map(|address| name(trace, tgid, *address));
    kernel.chain(user).collect()
}

/// No user address is as high, even with five levels of page tables. The kernel follows frame
/// pointers; where a function was built without, it takes whatever stands there for one.
const USER_END: u64 = 1 << 56;

fn name(trace: &Trace, tgid: u32, address: u64) -> String {
    match trace.symbol(tgid, address) {
        // A symbol is a file's word: a crafted one must not reach the terminal as an escape.
        Some(name) => name.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        None => format!("{address:#x}"),
    }
}

/// Programs and trampolines that a stack taken in a probe begins with. Those loaded after the symbols
/// were read have no name.
fn is_probe(name: &str) -> bool {
    name.starts_with("bpf_") || name.starts_with("0x") || name.contains("[bpf]")
}
