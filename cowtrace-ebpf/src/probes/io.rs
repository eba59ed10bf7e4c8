//! I/O that is submitted for pages which their process has lost: what io_uring takes from a registered
//! buffer it takes from the pages that were pinned.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use cowtrace_common::{
    program::Program,
    wire::{self, kind},
};

use crate::{
    emit::{self, Record},
    kernel,
    scope::Mark,
};

/// `int io_import_fixed(int ddir, struct iov_iter *iter, struct io_mapped_ubuf *imu, u64 buf_addr, size_t len)`
#[fexit(function = "io_import_fixed")]
pub fn io_fixed_exit(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(5) == 0 {
        submitted(&ctx, Program::IoFixedExit, ctx.arg(3), ctx.arg(4), ctx.arg(0));
    }
    0
}

/// `int io_import_reg_buf(struct io_kiocb *req, struct iov_iter *iter, u64 buf_addr, size_t len, int ddir,
/// unsigned issue_flags)`
#[fexit(function = "io_import_reg_buf")]
pub fn io_registered_exit(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(6) == 0 {
        submitted(&ctx, Program::IoRegisteredExit, ctx.arg(2), ctx.arg(3), ctx.arg(4));
    }
    0
}

/// `direction`: 0 (READ, ITER_DEST) where the device writes to memory.
#[inline(always)]
fn submitted(ctx: &FExitContext, program: Program, address: u64, len: u64, direction: i32) {
    // A ring's workers share the address space of the one who set it up.
    let mm = kernel::current_mm(program);
    if !Mark::Lost.may_hold(mm, address, address.wrapping_add(len)) {
        return;
    }
    emit::hit(program);
    if let Some(mut record) = Record::new(program, kind::IO) {
        let to_memory = (direction == 0).into();
        record.body(wire::Io { mm, address, len, to_memory, reserved: 0 });
        record.stacks(ctx);
        record.submit();
    }
}
