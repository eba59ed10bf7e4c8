//! An AF_XDP socket with the pages as its umem. It writes nothing, and unpins
//! dirty all the same, some time after it was closed.

use std::os::fd::OwnedFd;

use anyhow::Context as _;

use super::Device;
use crate::{
    provoke::{outcome::Data, pages::Pages, skipped::skip_on},
    sys,
};

/// The socket, once it has the pages.
#[derive(Debug, Default)]
pub(super) struct Umem(Option<OwnedFd>);

impl Device for Umem {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        let _ = sys::raise_memlock_limit(pages.mapping().bytes() as u64);
        let socket = sys::xdp_umem(pages.mapping())
            .map_err(skip_on(&[libc::EAFNOSUPPORT], "there is no AF_XDP here"))
            .context("cannot register a umem with AF_XDP")?;
        self.0 = Some(socket);
        Ok(())
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        Ok(vec![Data::None; pages.offsets().len()])
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
