//! What a recording is kept as: one file, a row of parts, or only the last of them with what a finding seals.

use std::time::Duration;

/// So many bytes on the disk, or so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes.
    Bytes(u64),
    /// Time.
    Time(Duration),
}

impl Limit {
    /// Whether bytes and time that have passed reach it.
    pub fn is_reached(self, bytes: u64, passed: Duration) -> bool {
        match self {
            Self::Bytes(most) => bytes >= most,
            Self::Time(most) => passed >= most,
        }
    }

    /// What is left of it without another one; all of it where the two cannot be compared.
    fn without(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bytes(all), Self::Bytes(part)) => Self::Bytes(all.saturating_sub(part)),
            (Self::Time(all), Self::Time(part)) => Self::Time(all.saturating_sub(part)),
            _ => self,
        }
    }

    /// Divided.
    fn by(self, parts: u32) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes((bytes / u64::from(parts)).max(1)),
            Self::Time(time) => Self::Time(time / parts),
        }
    }
}

/// The plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// When a part has enough and the next one begins; none: it is all one file.
    pub part: Option<Limit>,
    /// Parts that were ended are removed, the oldest first, when there are as many.
    pub keep: Option<Limit>,
    /// How long a finding is followed before what led to it is sealed; none: nothing is sealed.
    pub seal_after: Option<Duration>,
}

/// Parts of a ring: so much of it goes at a time.
const PARTS: u32 = 8;

impl Plan {
    /// A row of parts, of which at most so much is kept, the one that is written included.
    pub fn rotating(part: Limit, keep: Option<Limit>) -> Self {
        let keep = keep.map(|keep| keep.without(part));
        Self { part: Some(part), keep, seal_after: None }
    }

    /// Only the last so much, and what findings seal.
    pub fn ring(limit: Limit, after: Duration) -> Self {
        let plan = Self::rotating(limit.by(PARTS), Some(limit));
        Self { seal_after: Some(after), ..plan }
    }
}
