//! Many pin calls at once, none of which returns before all have begun: more than a kretprobe has room for.
//!
//! Each thread registers a page that is not there yet, and whose fault waits for us.

use std::{
    io::{self, ErrorKind},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};

use crate::sys::{self, Mapping, Uring, Userfault, Watch};

/// Pins a page in each of `threads` threads.
///
/// Fails where a pin call cannot wait for a page (io_uring's on older kernels).
pub(super) fn run(threads: usize) -> Result<()> {
    let mut userfault = Userfault::new().context("cannot have faults wait")?;
    let pages: Vec<Mapping> =
        (0..threads).map(|_| Mapping::new(1)).collect::<Result<_, _>>().context("no memory")?;
    for page in &pages {
        userfault.register(page, Watch::Missing).context("cannot have a page's faults wait")?;
    }
    let addresses: Vec<usize> = pages.iter().map(Mapping::address).collect();
    let pins: Vec<_> = pages.into_iter().map(|page| thread::spawn(move || pin(page))).collect();
    let mut waiting = 0;
    // Whoever has ended has failed before it waited.
    while waiting < threads && !pins.iter().any(JoinHandle::is_finished) {
        match userfault.take_message() {
            Ok(()) => waiting += 1,
            Err(_) => thread::yield_now(),
        }
    }
    for address in addresses {
        userfault.fill(address, &vec![1; sys::page_size()]).context("cannot fill a page")?;
    }
    let pinned =
        pins.into_iter().map(|pin| pin.join().unwrap_or_else(|_| Err(ErrorKind::Other.into())));
    pinned.collect::<Result<(), _>>().context("cannot register a page with io_uring")
}

fn pin(page: Mapping) -> io::Result<()> {
    let done = Uring::new()?.register(&page);
    drop(page);
    done
}
