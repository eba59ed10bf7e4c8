//! Empty: it lets `cowtrace` build-depend on this package, so that cargo sees when the programs or
//! the crates they use have changed.
#![no_std]
