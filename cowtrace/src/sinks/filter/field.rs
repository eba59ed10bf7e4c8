//! What rows can be asked for.

use std::{borrow::Cow, fmt};

use crate::finding::Verdict;

/// Something that a row may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The grade of a finding.
    Verdict,
    /// Names of tasks: of a finding the holder's and the writer's.
    Comm,
    /// Processes.
    Pid,
    /// Threads.
    Tid,
    /// Cgroups by path, where it is known, and by number.
    Cgroup,
    /// Virtual addresses: those of a range are all meant by one.
    Address,
    /// Page frames.
    Pfn,
    /// How many pages.
    Pages,
    /// What write-protected or discarded a page.
    Cause,
    /// The function that asked for a pin.
    Site,
    /// Who the pin belongs to: its sort, and its words.
    Owner,
    /// What is mapped where a page was pinned, by name.
    Vma,
    /// Flags of a pin: `WRITE`, `LONGTERM`.
    Flags,
    /// The sort of an event: `pin`, `fault`.
    Kind,
    /// Functions anywhere in the stacks.
    Stack,
    /// Number of a finding.
    Id,
}

impl Field {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Comm => "comm",
            Self::Pid => "pid",
            Self::Tid => "tid",
            Self::Cgroup => "cgroup",
            Self::Address => "address",
            Self::Pfn => "pfn",
            Self::Pages => "pages",
            Self::Cause => "cause",
            Self::Site => "site",
            Self::Owner => "owner",
            Self::Vma => "vma",
            Self::Flags => "flags",
            Self::Kind => "kind",
            Self::Stack => "stack",
            Self::Id => "id",
        }
    }

    /// Whether its values are numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Pid | Self::Tid | Self::Address | Self::Pfn | Self::Pages | Self::Id)
    }
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A grade.
    Verdict(Verdict),
    /// A number that people write in decimal.
    Number(u64),
    /// One that they write in hexadecimal.
    Address(u64),
    /// Addresses or page frames from one up to, and without, another.
    Range(u64, u64),
    /// Words.
    Text(Cow<'a, str>),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Address(address) | Self::Range(address, _) => write!(f, "{address:#x}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}
