//! One run of a case: pages, what pinned them, and what is known of them.
//!
//! Promise: the steps of the header of `provoke.rs`, in that order.

use std::thread;

use anyhow::{Context as _, anyhow, ensure};

use super::{
    Args, Case, DeviceKind, Outcome, Writer,
    device::{Device, Pin},
    event::Aftermath,
    outcome,
    pages::{Pages, STORED_AGAIN},
};
use crate::sys::{self, Protection};

/// Pages that are pinned.
pub(super) struct Scene {
    case: Case,
    pages: Pages,
    device: Box<dyn Device>,
    pin: Pin,
    /// Where the mapping was when it was pinned.
    address: usize,
    pfns: Vec<u64>,
    kinds: Vec<&'static str>,
    aftermath: [Aftermath; 2],
}

impl Scene {
    /// Makes and pins the pages.
    pub(super) fn pin(args: &Args, case: Case) -> anyhow::Result<Self> {
        ensure!(!args.tail || case.device == DeviceKind::IoUring, "--tail is for io-uring only");
        let pin = case.device.pin()?;
        let mut device = case.device.prepare(args)?;
        let pages = Pages::map(case.page, args.pages, case.is_large())?.with_tail(args.tail);
        pages.touch()?;
        let before = case.event.before_pin()?;
        device.pin(&pages)?;
        let (address, pfns) = (pages.mapping().address(), pages.pfns()?);
        let kinds = outcome::kinds(&pfns);
        let aftermath = [before, Aftermath::default()];
        Ok(Self { case, pages, device, pin, address, pfns, kinds, aftermath })
    }

    /// Lets the event happen.
    pub(super) fn happen(&mut self) -> anyhow::Result<()> {
        let read_only = self.case.device == DeviceKind::IoUringRo;
        if read_only {
            self.pages.protect(Protection::Read)?;
        }
        self.aftermath[1] = self.case.event.happen(&mut self.pages)?;
        if read_only {
            self.pages.protect(Protection::ReadWrite)?;
        }
        Ok(())
    }

    /// Stores, measures, has the device use its pin, and unpins: an outcome for each measured page.
    pub(super) fn measure(mut self, args: &Args) -> anyhow::Result<Vec<Outcome>> {
        let (pages, tid) = store(self.pages, args.writer)?;
        self.pages = pages;
        let after = self.pages.pfns()?;
        let data = self.device.deliver(&self.pages)?;
        args.hold.into_iter().for_each(thread::sleep);
        let outcomes = self.outcomes(tid, &after, &data);
        self.aftermath.into_iter().try_for_each(Aftermath::end)?;
        self.device.unpin()?;
        Ok(outcomes)
    }

    /// vfio unpins the zero page as soon as the device has it (873aefb376bb). From 6.2 on a long-term pin
    /// for reading is never of that page.
    fn held(&self, page_kind: &str) -> Pin {
        let given_back = self.case.device == DeviceKind::VfioRo && page_kind == "zero";
        if given_back { Pin::None } else { self.pin }
    }

    fn outcomes(&self, tid: u32, after: &[u64], data: &[outcome::Data]) -> Vec<Outcome> {
        let measured = self.pfns.iter().zip(after).zip(data).zip(&self.kinds);
        let all = self.pages.offsets().iter().copied().zip(measured);
        let outcome = |(offset, (((&pfn_before, &pfn_after), &data), &page_kind))| Outcome {
            case: self.case,
            pid: std::process::id(),
            tid,
            holder: self.device.holder(),
            address: self.address + offset,
            new_address: self.pages.mapping().address() + offset,
            iova: self.device.iova(offset),
            pfn_before,
            pfn_after,
            data,
            pin: self.held(page_kind),
            pages: self.pages.base_pages(),
            page_kind,
        };
        all.map(outcome).collect()
    }
}

/// Stores in each measured page; the thread that did.
fn store(pages: Pages, writer: Writer) -> anyhow::Result<(Pages, u32)> {
    let store = move || {
        pages.store_in_each(STORED_AGAIN);
        (pages, sys::thread_id())
    };
    match writer {
        Writer::Main => Ok(store()),
        Writer::Thread => thread::Builder::new()
            .spawn(store)
            .context("cannot start a thread")?
            .join()
            .map_err(|_| anyhow!("the thread that stores panicked")),
    }
}
