//! cowtrace's kernel side. Programs filter, read and copy; what a fact means is decided in user
//! space, from the record.
//!
//! `probes` holds the programs by what they see, [`kernel`] every read of a kernel struct, [`emit`]
//! the way of a record into the ring and the counting of what did not fit, [`scope`] what is
//! looked at at all. Everything here has to pass the verifier of 5.10: no `bpf_loop`, no callbacks.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // One AND in emit.rs; aya-ebpf needs the same.

mod emit;
mod holders;
mod kernel;
mod next;
mod orphan;
mod probes {
    mod device;
    mod fault;
    mod gup;
    mod huge;
    mod io;
    mod lineage;
    mod notifier;
    mod protect;
    mod unpin;
    mod zap;
}
mod scope;
mod shed;
mod understudy;
mod variable;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
