//! An RDMA device with the pages as a memory region, as an application on InfiniBand or RoCE has them. Soft-RoCE
//! then writes to them, from a queue pair that is connected to itself.
//!
//! Surprise: of other devices nothing is looked at: their queues are their drivers' own.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{Device, arrival, pattern_page};
use crate::{
    provoke::{
        outcome::Data,
        pages::Pages,
        skipped::{skip_on, skipped},
    },
    sys::{self, Loopback, MemoryRegion, Verbs},
};

/// Why hardware is skipped that wants more in a command than the verbs themselves say.
const FOREIGN: &str = "the RDMA device's driver takes data that only its own library has";
/// It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The device, and the region, once there is one.
#[derive(Debug)]
pub(super) struct Rdma {
    // Before the device, of which it is a part.
    loopback: Option<Loopback>,
    verbs: Verbs,
    region: Option<MemoryRegion>,
    /// Address of the region when it was registered: what the device knows it by.
    registered: u64,
}

impl Rdma {
    /// Takes the device that was named, or else the first.
    pub(super) fn open(named: Option<&str>) -> anyhow::Result<Self> {
        let first = || sys::rdma_devices().into_iter().next();
        let device = named.map(str::to_owned).or_else(first);
        let device = device.ok_or_else(|| skipped("there is no RDMA device here"))?;
        let verbs = Verbs::open(&device)
            .map_err(skip_on(&[libc::EINVAL], FOREIGN))
            .with_context(|| format!("cannot open the RDMA device {device}"))?;
        let possible = Loopback::is_possible(&device);
        let loopback = possible.then(|| Loopback::new(&verbs, &device)).transpose();
        let loopback = loopback.context("cannot connect a queue pair to itself")?;
        Ok(Self { loopback, verbs, region: None, registered: 0 })
    }

    fn write(&self, loopback: &Loopback, pages: &Pages, offset: usize) -> anyhow::Result<Data> {
        let region = self.region.context("nothing is registered yet")?;
        let wanted = &pattern_page(offset)[..Loopback::MOST_BYTES];
        loopback.start_write(&self.verbs, wanted, region, self.registered + offset as u64)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = loopback.completed() {
                break status;
            }
            ensure!(begun.elapsed() < PATIENCE, "the device does not finish its write");
            thread::yield_now();
        };
        ensure!(status == 0, "the device's write failed with status {status}");
        Ok(arrival(pages, offset, wanted))
    }
}

impl Device for Rdma {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        let mapping = pages.mapping();
        let _ = sys::raise_memlock_limit(mapping.bytes() as u64);
        let foreign: &[i32] = if self.loopback.is_some() { &[] } else { &[libc::EINVAL] };
        let region = self.verbs.register(mapping).map_err(skip_on(foreign, FOREIGN));
        self.region =
            Some(region.with_context(|| format!("cannot register {} bytes", mapping.bytes()))?);
        self.registered = mapping.address() as u64;
        Ok(())
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        let one = |&offset: &usize| match &self.loopback {
            Some(loopback) => self.write(loopback, pages, offset).context("cannot write by RDMA"),
            None => Ok(Data::None),
        };
        pages.offsets().iter().map(one).collect()
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        let region = self.region.context("nothing is registered yet")?;
        self.verbs.deregister(region).context("cannot deregister the memory region")
    }
}
