//! The rows that a tab lists.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::{
    cursor::Home,
    selected::Selected,
    tab::{Level, Order, Place, Tab},
    tail::{Numbered, Tail},
};
use crate::{
    event::Time,
    finding::Finding,
    ledger::PinRecord,
    sinks::{
        filter::Filter,
        group::{Group, groups},
        stack,
    },
    trace::Trace,
};

/// A call that pinned, with the page references that it still holds.
#[derive(Clone, Debug)]
pub struct Pinned<'t> {
    /// The call.
    pub pin: &'t Rc<PinRecord>,
    /// Page references.
    pub pages: u64,
}

/// Calls of a process through the same function, with the same flags, of what is mapped under one name.
#[derive(Clone, Debug)]
pub struct Holder<'t> {
    /// The function that asked for the pins, with its module.
    pub site: Option<String>,
    /// What is mapped where they are, by name, if that is known; empty for anonymous memory.
    pub vma: Option<Rc<str>>,
    /// The calls, in the order of the tab.
    pub pins: Vec<Pinned<'t>>,
}

impl Holder<'_> {
    /// Page references of all of them.
    pub fn pages(&self) -> u64 {
        self.pins.iter().fold(0, |pages, pinned| pinned.pages.saturating_add(pages))
    }

    /// When the first of them was taken.
    pub fn since(&self) -> Time {
        self.pins.iter().map(|pinned| pinned.pin.time).min().unwrap_or(0)
    }
}

/// The rows.
#[derive(Clone, Debug)]
pub enum Rows<'t> {
    /// Of findings that are alike.
    Groups(Vec<Group<'t>>),
    /// Findings.
    Findings(Vec<&'t Finding>),
    /// Of pins by who holds them.
    Holders(Vec<Holder<'t>>),
    /// Pins.
    Pins(Vec<Pinned<'t>>),
    /// Events.
    Events(Vec<&'t Numbered>),
}

impl<'t> Rows<'t> {
    /// Those of a tab's first level.
    pub fn list(tab: Tab, place: &Place, trace: &'t Trace, tail: &'t Tail) -> Self {
        let filter = &place.filter;
        match tab {
            Tab::Pins => Self::Holders(holders(trace, filter, place.order(tab))),
            Tab::Events => {
                let takes = |numbered: &&Numbered| filter.takes(trace, &numbered.event);
                Self::Events(tail.events().filter(takes).collect())
            }
            Tab::Findings | Tab::Notifiers | Tab::Probes => {
                let takes = |finding: &&Finding| filter.takes(trace, *finding);
                let findings: Vec<_> = trace.findings.iter().filter(takes).collect();
                let mut groups = groups(trace, &findings);
                match place.order(tab) {
                    Order::Newest => groups.sort_by_key(|group| Reverse(group.times().1)),
                    Order::Frequent => groups.sort_by_key(|group| Reverse(group.findings.len())),
                    _ => {}
                }
                Self::Groups(groups)
            }
        }
    }

    /// Those of the group that is a row.
    pub fn members(&self, index: usize) -> Rows<'t> {
        match self {
            Self::Groups(groups) => Self::Findings(
                groups.get(index).map_or_else(Vec::new, |group| group.findings.clone()),
            ),
            Self::Holders(holders) => {
                Self::Pins(holders.get(index).map_or_else(Vec::new, |holder| holder.pins.clone()))
            }
            other => other.clone(),
        }
    }

    /// How many members a row has; one that is no group has itself.
    pub fn size(&self, index: usize) -> usize {
        match self {
            Self::Groups(groups) => groups.get(index).map_or(0, |group| group.findings.len()),
            Self::Holders(holders) => holders.get(index).map_or(0, |holder| holder.pins.len()),
            _ => 1,
        }
    }

    /// One of them.
    pub fn select(self, index: usize) -> Selected<'t> {
        match self {
            Self::Groups(mut groups) => Selected::Group(groups.swap_remove(index)),
            Self::Findings(findings) => Selected::Finding(findings[index]),
            Self::Holders(mut holders) => Selected::Holder(holders.swap_remove(index)),
            Self::Pins(mut pins) => Selected::Pin(pins.swap_remove(index)),
            Self::Events(events) => Selected::Event(events[index]),
        }
    }

    /// Their keys.
    pub fn keys(&self) -> Vec<u64> {
        match self {
            Self::Groups(groups) => groups.iter().map(|group| hashed(&group.kind)).collect(),
            Self::Findings(findings) => findings.iter().map(|finding| finding.id as u64).collect(),
            Self::Holders(holders) => holders.iter().map(key_of_holder).collect(),
            Self::Pins(pins) => pins.iter().map(|pinned| pinned.pin.call).collect(),
            Self::Events(events) => events.iter().map(|numbered| numbered.number).collect(),
        }
    }

    /// Where the cursor is if the user does not move it.
    pub fn home(&self) -> Home {
        match self {
            Self::Findings(_) | Self::Events(_) => Home::Bottom,
            Self::Groups(_) | Self::Holders(_) | Self::Pins(_) => Home::Top,
        }
    }

    /// Whether a row, or a member of it, meets a filter.
    pub fn meets(&self, index: usize, filter: &Filter, trace: &Trace) -> bool {
        let any = |findings: &[&Finding]| findings.iter().any(|row| filter.takes(trace, *row));
        let any_pin = |pins: &[Pinned]| pins.iter().any(|row| filter.takes(trace, &**row.pin));
        match self {
            Self::Groups(groups) => any(&groups[index].findings),
            Self::Findings(findings) => any(&findings[index..=index]),
            Self::Holders(holders) => any_pin(&holders[index].pins),
            Self::Pins(pins) => any_pin(&pins[index..=index]),
            Self::Events(events) => filter.takes(trace, &events[index].event),
        }
    }

    /// The first row since a time, where rows stand by time.
    pub fn since(&self, time: Time) -> Option<usize> {
        match self {
            Self::Findings(findings) => findings.iter().position(|row| row.broken_at >= time),
            Self::Events(events) => events.iter().position(|row| row.event.time >= time),
            Self::Groups(_) | Self::Holders(_) | Self::Pins(_) => None,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Groups(groups) => groups.len(),
            Self::Findings(findings) => findings.len(),
            Self::Holders(holders) => holders.len(),
            Self::Pins(pins) => pins.len(),
            Self::Events(events) => events.len(),
        }
    }

    /// The level that they are of.
    pub fn level(&self) -> Level {
        match self {
            Self::Findings(_) | Self::Pins(_) => Level::Members,
            Self::Groups(_) | Self::Holders(_) | Self::Events(_) => Level::List,
        }
    }
}

fn key_of_holder(holder: &Holder) -> u64 {
    let first = holder.pins.first().map(|pinned| (pinned.pin.holder.tgid, pinned.pin.gup_flags));
    hashed(&(first, &holder.site, &holder.vma))
}

fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Live pins by process, flags, function and what is mapped.
fn holders<'t>(trace: &'t Trace, filter: &Filter, order: Order) -> Vec<Holder<'t>> {
    let mut sites: HashMap<&crate::event::Stack, Option<String>> = HashMap::new();
    let mut holders: BTreeMap<_, Vec<Pinned>> = BTreeMap::new();
    for (pin, pages) in trace.ledger.calls() {
        if !filter.is_empty() && !filter.takes(trace, &**pin) {
            continue;
        }
        let site = sites.entry(&pin.stack).or_insert_with(|| stack::driver(trace, &pin.stack));
        let vma = trace.vma_name(pin).cloned();
        let key = (pin.holder.tgid, pin.gup_flags, site.clone(), vma);
        holders.entry(key).or_default().push(Pinned { pin, pages });
    }
    let mut holders: Vec<_> =
        holders.into_iter().map(|((_, _, site, vma), pins)| Holder { site, vma, pins }).collect();
    let age = |pinned: &Pinned| (pinned.pin.time, pinned.pin.call);
    for holder in &mut holders {
        match order {
            Order::Oldest => holder.pins.sort_by_key(age),
            _ => holder.pins.sort_by_key(|pinned| (Reverse(pinned.pages), age(pinned))),
        }
    }
    match order {
        Order::Oldest => holders.sort_by_key(|holder| (holder.since(), Reverse(holder.pages()))),
        _ => holders.sort_by_key(|holder| (Reverse(holder.pages()), holder.since())),
    }
    holders
}
