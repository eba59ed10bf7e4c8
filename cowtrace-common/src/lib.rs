//! What cowtrace's kernel side and user side agree on: the records ([`wire`], [`next`]), the programs
//! ([`program`]) and the numbers that the user side hands to the programs ([`setting`]).
//!
//! No dependencies and no `std`, so that the eBPF crate can use it as it is.
#![no_std]

pub mod next;
pub mod program;
pub mod setting;
pub mod wire;
