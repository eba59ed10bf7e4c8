//! Where the trace is shown. Sinks see only `&Trace`: none decodes or counts on its own.

pub mod budget;
pub mod coherence;
pub mod diff;
pub mod export;
pub mod filter;
pub mod group;
pub mod json;
pub mod metrics;
#[cfg(feature = "agent")]
pub mod otlp;
pub mod owners;
pub mod reach;
pub mod report;
#[cfg(test)]
pub mod schemas;
pub mod stack;
pub mod text;
pub mod tui;

use std::io::{self, Write};

use crate::{
    container::Container,
    event::{Event, Task},
    trace::{Change, Trace},
};

/// `count` and the noun, with its plural s.
pub fn count(count: impl Into<i128>, noun: &str) -> String {
    let count = count.into();
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The container that a task is in, as its cgroup's path tells.
pub fn container(trace: &Trace, task: &Task) -> Option<Container> {
    Container::of(trace.cgroup(task.cgroup)?)
}

/// What is mapped somewhere, in words.
pub fn mapped(vma_name: &str) -> &str {
    if vma_name.is_empty() { "anonymous memory" } else { vma_name }
}

/// The line-oriented forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

impl Format {
    /// A finding was opened, or its pin has ended.
    pub fn change(self, out: &mut dyn Write, trace: &Trace, change: Change) -> io::Result<()> {
        match self {
            Self::Text => text::change(out, trace, change),
            Self::Json => json::change(out, trace, change),
        }
    }

    /// An event as it came, for those who ask for all of them.
    pub fn event(self, out: &mut dyn Write, trace: &Trace, event: &Event) -> io::Result<()> {
        match self {
            Self::Text => text::event(out, trace, event),
            Self::Json => json::event(out, event),
        }
    }

    /// The end.
    pub fn summary(self, out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
        match self {
            Self::Text => text::summary(out, trace),
            Self::Json => json::summary(out, trace),
        }
    }
}
