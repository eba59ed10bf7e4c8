//! When the counters are read: each second while there is news, and ever less often while there is none.
//!
//! Promise: where nothing happens, the process sleeps. Surprise: a loss that leaves no record (a program that the
//! kernel skipped) may so be told half a minute late.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// While there is news.
const SECOND: Duration = Duration::from_secs(1);
/// When there has been none for long.
const LONGEST: Duration = Duration::from_secs(32);

/// The next time.
#[derive(Debug)]
pub struct Tick {
    next: Instant,
    pause: Duration,
    /// The longest pause.
    longest: Duration,
    /// Records came, and it has not been quiet since.
    is_busy: bool,
}

impl Tick {
    /// The first is at once. `each_second`: somebody looks on, or counts seconds.
    pub fn new(each_second: bool, now: Instant) -> Self {
        let longest = if each_second { SECOND } else { LONGEST };
        Self { next: now, pause: SECOND, longest, is_busy: false }
    }

    /// Waits for it. Safe to cancel.
    pub async fn reached(&self) {
        sleep_until(self.next).await;
    }

    /// The counters were read, and there was news, or none. Whether it has become quiet with
    /// that after records: counters alone may be news of what was done about the quiet.
    pub fn passed(&mut self, news: bool, now: Instant) -> bool {
        self.pause = if news { SECOND } else { (2 * self.pause).min(self.longest) };
        self.next = now + self.pause;
        !news && std::mem::take(&mut self.is_busy)
    }

    /// Records came.
    pub fn hurry(&mut self, now: Instant) {
        self.is_busy = true;
        if self.pause > SECOND {
            self.pause = SECOND;
            self.next = self.next.min(now + SECOND);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses in seconds of a tick that has no news so often.
    fn pauses(each_second: bool, times: usize) -> Vec<u64> {
        let now = Instant::now();
        let mut tick = Tick::new(each_second, now);
        let mut pause = || {
            tick.passed(false, now);
            tick.next.duration_since(now).as_secs()
        };
        (0..times).map(|_| pause()).collect()
    }

    #[test]
    fn without_news_it_comes_ever_less_often_unless_somebody_looks_on() {
        assert_eq!(pauses(false, 7), [2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(pauses(true, 3), [1, 1, 1]);
    }

    #[test]
    fn it_becomes_quiet_once_until_records_come_again() {
        let now = Instant::now();
        let mut tick = Tick::new(true, now);
        tick.hurry(now);
        let quiet = [true, false, false, true, false].map(|news| tick.passed(news, now));
        assert_eq!(quiet, [false, true, false, false, false]);
        tick.hurry(now);
        assert!(tick.passed(false, now));
    }

    #[test]
    fn whatever_happens_brings_it_back_within_a_second() {
        let now = Instant::now();
        let mut tick = Tick::new(false, now);
        for _ in 0..5 {
            tick.passed(false, now);
        }
        tick.hurry(now);
        assert_eq!(tick.next, now + SECOND);
        let later = now + Duration::from_millis(900);
        tick.hurry(later);
        assert_eq!(tick.next, now + SECOND, "records that do not stop put nothing off");
        tick.passed(true, later);
        assert_eq!(tick.next, later + SECOND);
    }
}
