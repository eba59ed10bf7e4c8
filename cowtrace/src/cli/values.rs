//! Values on the command line: sizes, times, verdicts and filters, as users write them.

use std::time::Duration;

use crate::{
    event::Event,
    finding::{Finding, Verdict},
    sinks::filter::{Filter, Row as _, Unreadable},
    source::recording::Limit,
};

/// A ring's size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBytes(pub u32);

impl Default for RingBytes {
    fn default() -> Self {
        Self(8 << 20)
    }
}

/// A verdict by its name.
pub fn verdict(text: &str) -> Result<Verdict, String> {
    let found = Verdict::ALL.into_iter().find(|verdict| verdict.name() == text);
    let all = Verdict::ALL.map(Verdict::name).join(", ");
    found.ok_or_else(|| format!("verdicts are {all}"))
}

/// A verdict that something may fail on.
pub fn failing(text: &str) -> Result<Verdict, String> {
    match verdict(text)? {
        Verdict::Inconclusive => Err("that is exit status 3, whatever fails".to_owned()),
        verdict => Ok(verdict),
    }
}

/// A filter of findings.
pub fn finding_filter(text: &str) -> Result<Filter, Unreadable> {
    Filter::parse(text, Finding::FIELDS)
}

/// A filter of events.
pub fn event_filter(text: &str) -> Result<Filter, Unreadable> {
    Filter::parse(text, Event::FIELDS)
}

/// A time: `1.5s`, `10m`, `24h`; without a unit, seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("no unit of time: {unit} (ms, s, m and h are)")),
    };
    let number: f64 = number.parse().map_err(|_| format!("no number: {number}"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

/// A time from one to the next.
#[cfg(feature = "agent")]
pub fn period(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| match time {
        Duration::ZERO => Err("more than nothing is wanted".to_owned()),
        time => Ok(time),
    })
}

/// A size: `512K`, `256M`, `10G`; without a unit, bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return Err(format!("no unit of size: {unit} (K, M and G are)")),
    };
    let number: u64 = number.parse().map_err(|_| format!("no whole number: {number}"))?;
    let bytes = number.checked_shl(shift).filter(|bytes| bytes >> shift == number);
    bytes.ok_or_else(|| format!("{text} is too much"))
}

/// A size with its unit, `M` among them in capitals, since `m` is a minute; or a time.
pub fn limit(text: &str) -> Result<Limit, String> {
    let limit = match text.chars().last() {
        Some('K' | 'k' | 'M' | 'G' | 'g') => Limit::Bytes(bytes(text)?),
        Some('s' | 'm' | 'h') => Limit::Time(duration(text)?),
        _ => return Err("a size (256M, 10G) or a time (30s, 10m, 24h) is wanted".to_owned()),
    };
    match limit {
        // A part has at least the facts; less is a slip of the finger.
        Limit::Bytes(..1_048_576) => Err(format!("{text} is too little: 1M is the least")),
        Limit::Time(time) if time < Duration::from_secs(1) => {
            Err(format!("{text} is too little: 1s is the least"))
        }
        limit => Ok(limit),
    }
}

/// The size of the kernel's ring.
pub fn ring_bytes(text: &str) -> Result<RingBytes, String> {
    match u32::try_from(bytes(text)?) {
        // The kernel takes a power of two of whole pages.
        Ok(bytes) if bytes.is_power_of_two() && bytes >= 4096 => Ok(RingBytes(bytes)),
        _ => Err("the ring takes a power of two from 4K to 2G, as 512K or 64M".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_units_and_refuse_nonsense() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("").is_err());
    }

    #[test]
    fn a_ring_is_a_power_of_two() {
        assert_eq!(ring_bytes("64M"), Ok(RingBytes(64 << 20)));
        assert!(ring_bytes("3M").is_err());
        assert!(ring_bytes("1K").is_err());
        assert!(ring_bytes("4G").is_err());
        assert!(ring_bytes("99999999999999999999G").is_err());
    }

    #[test]
    fn a_limit_is_a_size_or_a_time() {
        assert_eq!(limit("256M"), Ok(Limit::Bytes(256 << 20)));
        assert_eq!(limit("10m"), Ok(Limit::Time(Duration::from_mins(10))));
        assert!(limit("10").is_err() && limit("10K").is_err() && limit("1ms").is_err());
    }
}
