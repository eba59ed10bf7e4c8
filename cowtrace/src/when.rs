//! A time as people write it: since the start, before the end, or by the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{event::Time, facts::key, trace::Trace};

/// A time that somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `+12.5s`: since the trace began.
    SinceStart(Duration),
    /// `3m ago`: before its end.
    BeforeEnd(Duration),
    /// `14:03:20`, UTC: the last time that the clock showed it, in seconds since midnight.
    Clock(u64),
    /// `2026-01-02T14:03:20Z`, nanoseconds since 1970.
    Date(u64),
}

/// What a time can be, for messages.
const FORMS: &str = "+12.5s (since the start), \"3m ago\" (before the end), 14:03:20 (UTC) or \
                     2026-01-02T14:03:20Z";

impl When {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let span = |text: &str| {
            let seconds = text.trim().strip_suffix('s').and_then(|text| text.parse::<f64>().ok());
            let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            seconds.or_else(|| humantime::parse_duration(text.trim()).ok())
        };
        let parsed = if let Some(since) = text.strip_prefix('+') {
            span(since).map(Self::SinceStart)
        } else if let Some(before) = text.strip_suffix("ago") {
            span(before).map(Self::BeforeEnd)
        } else if let Ok(date) = humantime::parse_rfc3339(text) {
            nanos(date).map(Self::Date)
        } else {
            clock(text).map(Self::Clock)
        };
        parsed.ok_or_else(|| format!("no time: \"{text}\"; a time is {FORMS}"))
    }

    /// The time of a trace that ends at `end`. `None`: the trace does not tell what clocks showed.
    pub fn within(self, trace: &Trace, end: Time) -> Option<Time> {
        let number = |key| trace.facts.number(key).map(i64::cast_unsigned);
        let boot = || trace.facts.boot().map(i64::cast_unsigned);
        let ns = |span: Duration| Time::try_from(span.as_nanos()).unwrap_or(Time::MAX);
        match self {
            Self::SinceStart(span) => Some(number(key::STARTED)?.saturating_add(ns(span))),
            Self::BeforeEnd(span) => Some(end.saturating_sub(ns(span))),
            Self::Date(date) => Some(date.saturating_sub(boot()?)),
            Self::Clock(seconds) => {
                const DAY: Time = 86_400_000_000_000;
                let shown = end.checked_add(boot()?)? % DAY;
                Some(end.saturating_sub((shown + DAY - seconds * 1_000_000_000) % DAY))
            }
        }
    }
}

fn nanos(date: SystemTime) -> Option<u64> {
    date.duration_since(UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
}

/// Seconds since midnight of `14:03:20` or `14:03`.
fn clock(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let mut next = |most: u64| {
        let part = parts.next()?;
        part.parse().ok().filter(|number| *number < most)
    };
    let (hours, minutes) = (next(24)?, next(60)?);
    let seconds = if text.matches(':').count() == 2 { next(60)? } else { 0 };
    (text.matches(':').count() <= 2).then_some(hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that booted on 2 January 1970 at 10:00:00 and began to trace 60 s later.
    fn trace() -> Trace {
        let mut trace = Trace::default();
        let boot = (86_400 + 36_000) * 1_000_000_000_u64;
        trace.facts.set(key::BOOT.to_owned(), boot.to_string());
        trace.facts.set(key::STARTED.to_owned(), "60000000000".to_owned());
        trace
    }

    /// Seconds since boot, in a trace that ends 1000 s after boot.
    fn seconds(text: &str) -> Option<f64> {
        let when = When::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let time = when.within(&trace(), 1_000_000_000_000)?;
        Some(Duration::from_nanos(time).as_secs_f64())
    }

    #[test]
    fn times_are_written_in_several_ways() {
        assert_eq!(seconds("+12.5s"), Some(72.5));
        assert_eq!(seconds("+2m"), Some(180.0));
        assert_eq!(seconds("3m ago"), Some(820.0));
        assert_eq!(seconds("90s ago"), Some(910.0));
        assert_eq!(seconds("10:01:40"), Some(100.0));
        assert_eq!(seconds("10:02"), Some(120.0));
        assert_eq!(seconds("1970-01-02T10:00:30Z"), Some(30.0));
    }

    #[test]
    fn a_clock_that_was_set_meanwhile_is_right() {
        let mut set = trace();
        set.facts.set(key::BOOT_SINCE.to_owned(), "5000000000".to_owned());
        let at = When::parse("1970-01-01T00:00:30Z").expect("a time").within(&set, 1);
        assert_eq!(at, Some(25_000_000_000));
    }

    #[test]
    fn a_clock_that_was_not_shown_yet_was_shown_the_day_before() {
        assert_eq!(seconds("10:30:00"), Some(0.0), "before the boot");
        let mut long = trace();
        long.facts.set(key::BOOT.to_owned(), "0".to_owned());
        let end = 2 * 86_400 * 1_000_000_000 + 5;
        let at = When::parse("23:00").expect("a time").within(&long, end);
        assert_eq!(at, Some((86_400 + 23 * 3600) * 1_000_000_000));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is_one() {
        for text in ["", "soon", "+x", "25:00", "10:61", "1:2:3:4", "-5s"] {
            assert!(When::parse(text).is_err_and(|error| error.contains("3m ago")), "{text}");
        }
    }
}
