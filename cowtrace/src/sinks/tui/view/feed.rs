//! Where the records come from, and how fast.

use std::time::Instant;

/// Where records come from, and whether more come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// From the running kernel.
    Live,
    /// They came from the running kernel; it is over.
    Stopped,
    /// From a recording that is being read.
    Replay,
    /// From a recording, all of it.
    Replayed,
}

impl Feed {
    /// Its name in the title.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Stopped => "STOPPED",
            Self::Replay => "READING",
            Self::Replayed => "REPLAY",
        }
    }
}

/// Records a second, from counts read now and then.
#[derive(Debug, Default)]
pub struct Meter {
    /// The rate between the last two readings.
    pub rate: Option<u64>,
    last: Option<(Instant, u64)>,
}

impl Meter {
    /// Takes a reading; whether the rate changed.
    pub fn read(&mut self, now: Instant, records: u64) -> bool {
        let before = self.rate;
        if let Some((then, count)) = self.last.replace((now, records)) {
            let millis = now.saturating_duration_since(then).as_millis().max(1);
            let rate = u128::from(records.saturating_sub(count)) * 1000 / millis;
            self.rate = u64::try_from(rate).ok();
        }
        self.rate != before
    }
}
