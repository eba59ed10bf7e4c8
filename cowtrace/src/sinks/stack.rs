//! Stacks in words, the same in every sink.

use crate::{
    event::Stack,
    finding::{Finding, Told},
    trace::Trace,
};

/// The frames of a stack, kernel first, innermost first. Frames of the probe itself are left out; an
/// address without a name stands as it is.
pub fn lines(trace: &Trace, tgid: u32, stack: &Stack) -> Vec<String> {
    let kernel = kernel_frames(trace, stack).iter().map(|address| name(trace, 0, *address));
    let user = stack
        .user()
        .iter()
        .filter(|address| **address < USER_END)
        .map(|address| name(trace, tgid, *address));
    kernel.chain(user).collect()
}

/// The function that asked for a pin. Without its module: a driver may be one on one kernel and none on another.
pub fn site(trace: &Trace, stack: &Stack) -> Option<String> {
    let frame = asking(trace, stack)?;
    Some(frame.split('+').next().unwrap_or(&frame).to_owned())
}

/// The kernel module that this function is in, `kernel` where it is in none.
pub fn module(trace: &Trace, stack: &Stack) -> Option<String> {
    let frame = asking(trace, stack)?;
    let module = frame.rsplit_once(" [").map(|(_, module)| module.trim_end_matches(']'));
    Some(module.unwrap_or("kernel").to_owned())
}

/// The function that asked, with its module where it is in one.
pub fn driver(trace: &Trace, stack: &Stack) -> Option<String> {
    let frame = asking(trace, stack)?;
    let function = frame.split('+').next()?;
    let module = frame.find(" [").map_or("", |at| &frame[at..]);
    Some(format!("{function}{module}"))
}

/// The frame of the first function behind those of GUP itself.
fn asking(trace: &Trace, stack: &Stack) -> Option<String> {
    const GUP: [&str; 8] = [
        "pin_user_pages",
        "get_user_pages",
        "__gup",
        "internal_get_user",
        "memfd_pin",
        "iov_iter_",
        // Where a kretprobe sees the pin, its own frame stands for all of the kernel.
        "kretprobe_trampoline",
        "arch_rethook_trampoline",
    ];
    let mut frames = lines(trace, 0, stack).into_iter();
    let outside = frames.find(|frame| !GUP.iter().any(|gup| frame.starts_with(gup)))?;
    (!outside.starts_with("0x")).then_some(outside)
}

/// The same of what a finding is about.
pub fn site_of(trace: &Trace, finding: &Finding) -> Option<String> {
    site(trace, of(finding)?)
}

/// From where the pin was asked for that a finding is about, or the reference.
pub fn of(finding: &Finding) -> Option<&Stack> {
    match (&finding.pin, &finding.reference) {
        (Some(pin), _) => Some(&pin.stack),
        (None, Some(reference)) => Some(&reference.stack),
        (None, None) => None,
    }
}

/// The secondary MMUs that were told, by the names of their operations, as far as they are known.
pub fn mmu_names(trace: &Trace, told: &Told) -> Vec<String> {
    told.mmus.iter().map(|ops| name(trace, 0, *ops)).collect()
}

/// The same by the names that users have for them, as the subject of a sentence.
pub fn secondary_mmus(trace: &Trace, told: &Told) -> String {
    let names: Vec<_> = told.mmus.iter().map(|ops| trace.mmu_name(*ops)).collect();
    match names.as_slice() {
        [] => "secondary MMUs, registered before the trace, were".to_owned(),
        [one] => format!("the secondary MMU of {one} was"),
        several => format!("the secondary MMUs of {} were", several.join(" and ")),
    }
}

/// Kernel frames from the probed function on: in front of it stand the program and its trampoline, which
/// have no name if they were loaded after the symbols were read. Where nothing has a name, all.
fn kernel_frames<'a>(trace: &Trace, stack: &'a Stack) -> &'a [u64] {
    let is_kernel = |address: &u64| trace.symbol(0, *address).is_some_and(|name| !is_probe(name));
    let first = stack.kernel().iter().position(is_kernel).unwrap_or(0);
    &stack.kernel()[first..]
}

/// kallsyms names trampolines of ftrace and kprobes by sections of their own from 5.9 on.
fn is_probe(name: &str) -> bool {
    let sections = ["[bpf]", "[__builtin__ftrace]", "[__builtin__kprobes]"];
    name.starts_with("bpf_") || sections.iter().any(|section| name.contains(section))
}

/// No user address is as high, even with five levels of page tables. The kernel follows frame
/// pointers; where a function was built without, it takes whatever stands there for one.
const USER_END: u64 = 1 << 56;

fn name(trace: &Trace, tgid: u32, address: u64) -> String {
    match trace.symbol(tgid, address) {
        Some(name) => name.to_owned(),
        None => format!("{address:#x}"),
    }
}
