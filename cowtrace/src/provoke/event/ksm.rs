//! KSM: the pages get a twin of the same content, and ksmd time to find it.
//!
//! Promise: its settings are what they were when this returns.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::Aftermath;
use crate::{
    provoke::{
        pages::{Pages, STORED_FIRST},
        skipped::{skip_on, skipped},
    },
    sys::{Advice, Mapping},
};

/// The first scan may have begun before us, the second notes that a page's content is stable, and the
/// third shares it.
const SCANS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// Has KSM scan everything that is mergeable, the pages and a twin among it.
pub(super) fn share(pages: &Pages) -> anyhow::Result<Aftermath> {
    let why = "this kernel has no KSM";
    let twin = Mapping::new(1).context("cannot map a twin")?;
    twin.write_byte(0, STORED_FIRST);
    twin.advise(Advice::Mergeable).map_err(skip_on(&[libc::EINVAL], why))?;
    pages.mapping().advise(Advice::Mergeable).context("cannot offer the pages to KSM")?;
    let _settings = [set("pages_to_scan", "2000")?, set("sleep_millisecs", "0")?, set("run", "1")?];
    let (wanted, deadline) = (full_scans()? + SCANS, Instant::now() + PATIENCE);
    while full_scans()? < wanted {
        ensure!(Instant::now() < deadline, "ksmd does not scan");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(Aftermath { _twin: Some(twin), ..Aftermath::default() })
}

fn full_scans() -> anyhow::Result<u64> {
    Ok(fs::read_to_string(path("full_scans"))?.trim().parse()?)
}

fn path(name: &str) -> String {
    format!("/sys/kernel/mm/ksm/{name}")
}

/// A setting that goes back to what it was.
struct Setting {
    name: &'static str,
    before: String,
}

fn set(name: &'static str, value: &str) -> anyhow::Result<Setting> {
    let before = fs::read_to_string(path(name)).map_err(|_| skipped("KSM has no settings here"))?;
    fs::write(path(name), value).with_context(|| format!("cannot set {}", path(name)))?;
    Ok(Setting { name, before })
}

impl Drop for Setting {
    fn drop(&mut self) {
        // Nothing is left to do about a failure.
        let _ = fs::write(path(self.name), self.before.trim());
    }
}
