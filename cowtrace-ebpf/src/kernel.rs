//! Every read of kernel memory, and every difference between kernels that a read has to know.
//!
//! Offsets come from the running kernel's BTF through a frozen array (see `cowtrace_common::setting`),
//! so a wrong one is refused at load, not read.

mod page;
mod table;

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_task, bpf_get_current_task_btf, bpf_get_func_arg, bpf_get_smp_processor_id,
        bpf_probe_read_kernel_buf, bpf_probe_read_kernel_str_bytes,
        generated::bpf_probe_read_kernel,
    },
};
use cowtrace_common::{
    program::Program,
    setting::{Field, Setting},
    wire::DEVICE_NAME,
};

use crate::{emit, variable::Variable};

pub use self::{
    page::{PageState, folio_of, folio_of_typed, is_large, is_maybe_pinned, is_only_mapped},
    table::{Mapped, Pte},
};

/// Byte offsets by [`Field`].
#[unsafe(no_mangle)]
static OFFSETS: [u32; Field::ALL.len()] = [0; Field::ALL.len()];

/// Numbers by [`Setting`].
#[unsafe(no_mangle)]
static SETTINGS: [u64; Setting::COUNT] = [0; Setting::COUNT];

/// VM_SHARED; the same bit in all versions.
pub const VM_SHARED: u64 = 8;

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
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address itself and writes to `value` alone, all of it, be it zeroes; any bytes are
    // one of the numbers that are read.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const core::ffi::c_void,
        );
        value.assume_init()
    }
}

/// Argument `n` of an fentry or fexit program as a number, not by a plain load: the verifier takes no arithmetic on
/// a pointer that it has a type for, and up to 6.18 no load of a pointer to a pointer. Where there is no function
/// for it, it is read like any other memory, which costs 80 instructions.
#[inline(always)]
pub fn argument(ctx: &impl EbpfContext, n: u64) -> u64 {
    if setting(Setting::HasFuncArg) == 0 {
        return read_at(ctx.as_ptr() as u64 + 8 * n);
    }
    let mut value = 0;
    // SAFETY: writes to `value` alone; it fails only for an argument that is not there, which the prototype rules out.
    unsafe { bpf_get_func_arg(ctx.as_ptr(), n as u32, &raw mut value) };
    value
}

/// Copies kernel memory to `to`; whether that worked.
#[inline(always)]
pub fn copy(from: u64, to: &mut [u8]) -> bool {
    // SAFETY: the helper checks the address itself, and the verifier the destination.
    unsafe { bpf_probe_read_kernel_buf(from as *const u8, to) }.is_ok()
}

/// Copies the first `count` words, at most all, to `to`; whether that worked.
#[inline(always)]
pub fn copy_words<const N: usize>(from: u64, to: &mut [u64; N], count: u64) -> bool {
    let bytes = emit::bounded::<0xfff>(8 * count) as usize;
    if bytes > size_of_val(to) {
        return false;
    }
    // SAFETY: words are bytes, and there are as many.
    copy(from, unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), bytes) })
}

/// The current task, where the verifier is told its type.
#[inline(always)]
fn typed_task() -> Option<Typed> {
    // SAFETY: takes nothing, returns the current task_struct.
    (setting(Setting::HasTypedTask) != 0)
        .then(|| Typed(unsafe { bpf_get_current_task_btf() }.cast()))
}

/// The current task.
#[inline(always)]
fn task() -> Untyped {
    // SAFETY: takes nothing, returns the address of the current task_struct.
    Untyped(unsafe { bpf_get_current_task() })
}

/// Address space of the current task; 0 for a kernel thread.
#[inline(always)]
pub fn current_mm(program: Program) -> u64 {
    match typed_task() {
        Some(task) => emit::number(program, task.follow(Field::TaskMm)),
        None => task().read(Field::TaskMm),
    }
}

/// Name of the current task, in words, since LLVM copies and clears bytes in a loop over them. What stands behind its
/// NUL may be left from an earlier one.
///
/// Not by `bpf_get_current_comm`: with the bytes cleared for it that is 400 instructions for what two loads tell.
#[inline(always)]
pub fn comm() -> [u64; 2] {
    match typed_task() {
        // The verifier takes a load of eight from within an array of bytes.
        Some(task) if offset(Field::TaskComm) % 8 == 0 => {
            // SAFETY: both lie within the name.
            [task, Typed(unsafe { task.0.add(8) })].map(|at| at.read::<u64>(Field::TaskComm))
        }
        _ => task().read(Field::TaskComm),
    }
}

/// Where `struct page` 0 stands, once it was read: KASLR moves it, and it stays as it is after the boot.
#[unsafe(no_mangle)]
static VMEMMAP: Variable<u64> = Variable::new(0);

/// Where `struct page` 0 stands.
#[inline(always)]
pub fn vmemmap() -> u64 {
    let known = VMEMMAP.get();
    // SAFETY: see `Variable`; all writers write the same.
    unsafe {
        if known.read_volatile() == 0 {
            known.write_volatile(read_at(setting(Setting::VmemmapBase)));
        }
        known.read_volatile()
    }
}

/// Where the kernel has the bytes of a page.
#[inline(always)]
pub fn page_address(pfn: u64) -> u64 {
    let base: u64 = read_at(setting(Setting::PageOffsetBase));
    base + (pfn << setting(Setting::PageShift))
}

/// NMI, interrupt and softirq that is served, in a preempt count (include/linux/preempt.h). The top bit is x86's "no need
/// to reschedule", and a bottom half that is only disabled counts by twos. Where bits 16 to 23 come to count how often
/// interrupts were disabled, that is taken for one: nothing in a long-term pin unpins so.
const INTERRUPTS: u32 = 0x7fff_0100;

/// Whether an interrupt runs, which has the number of the thread that it interrupted. Two reads: for where it matters.
#[inline(always)]
pub fn is_in_interrupt() -> bool {
    // SAFETY: takes nothing, returns a number.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() } as u32);
    let offsets = setting(Setting::PerCpuOffsets);
    let offset: u64 = if offsets == 0 { 0 } else { read_at(offsets + 8 * cpu) };
    let count: u32 = read_at(offset.wrapping_add(setting(Setting::PreemptCount)));
    count & INTERRUPTS != 0
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

/// The name of a file whose pages are pinned, where otherwise an address space stands: the even address of its
/// `struct address_space`, and one.
#[inline(always)]
pub fn file_of<P: Pointer>(file: P) -> u64 {
    file.number(Field::FileMapping) | 1
}
