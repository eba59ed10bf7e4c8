//! Who pins belong to, in words: the owner that was looked up, and else the driver as the stack tells it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{count, stack, text::task};
use crate::{
    event::{Stack, Task},
    ledger::PinRecord,
    owner::{Kind, Owner},
    trace::Trace,
};

/// What stands for sorts that only a driver knows.
const DRIVER: &str = "driver";

/// An owner, or the function that asked for the pin with its module.
pub fn words(trace: &Trace, pin: &PinRecord) -> Option<String> {
    trace.owner(pin).map(ToString::to_string).or_else(|| stack::driver(trace, &pin.stack))
}

/// The owner that several pins have in common, or how many there are.
pub fn common<'t>(trace: &'t Trace, pins: impl Iterator<Item = &'t PinRecord>) -> Option<String> {
    let owners: Option<BTreeSet<(&str, String)>> =
        pins.map(|pin| trace.owner(pin).map(|one| (one.kind.words(), one.to_string()))).collect();
    let owners = owners?;
    let (kind, first) = owners.first()?;
    Some(match owners.len() {
        1 => first.clone(),
        several => format!("{kind}, {several} owners"),
    })
}

/// Sorts of owners, where many pins are of few stacks.
#[derive(Default)]
pub struct Sorts<'t>(HashMap<&'t Stack, &'static str>);

impl<'t> Sorts<'t> {
    /// The sort that a pin's owner is of.
    pub fn of(&mut self, trace: &'t Trace, pin: &'t PinRecord) -> &'static str {
        if let Some(owner) = trace.owner(pin) {
            return owner.kind.name();
        }
        self.0.entry(&pin.stack).or_insert_with(|| by_stack(trace, &pin.stack))
    }
}

/// The sort that the functions tell that a pin was asked through.
pub fn by_stack(trace: &Trace, stack: &Stack) -> &'static str {
    let names = stack.kernel().iter().filter_map(|address| trace.symbol(0, *address));
    Kind::of_functions(names).map_or(DRIVER, Kind::name)
}

/// What a filter finds an owner by: its sort, and its words; and where none was told, what the pin's stack tells.
pub fn found_by(trace: &Trace, owner: Option<&Owner>, stack: Option<&Stack>) -> Vec<String> {
    match (owner, stack) {
        (Some(owner), _) => vec![owner.kind.name().to_owned(), owner.to_string()],
        (None, Some(stack)) => {
            let sort = by_stack(trace, stack).to_owned();
            [sort].into_iter().chain(stack::driver(trace, stack)).collect()
        }
        (None, None) => Vec::new(),
    }
}

/// What is pinned for an owner.
pub struct Owned<'t> {
    /// A thread that pinned.
    pub task: &'t Task,
    /// Its owner.
    pub owner: &'t Owner,
    /// Page references that are held.
    pub pages: u64,
}

/// The owners that are known, with what is pinned for them now, the largest first.
pub fn owned(trace: &Trace) -> Vec<Owned<'_>> {
    let mut all: BTreeMap<(u32, Kind, &str), Owned> = BTreeMap::new();
    for (pin, pages) in trace.ledger.calls() {
        let Some(owner) = trace.owner(pin) else { continue };
        let new = || Owned { task: &pin.holder, owner, pages: 0 };
        let key = (pin.holder.tgid, owner.kind, &*owner.name);
        let sum = &mut all.entry(key).or_insert_with(new).pages;
        *sum = sum.saturating_add(pages);
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|owned| Reverse(owned.pages));
    all
}

/// Owners that are told one by one.
const ONE_BY_ONE: usize = 16;

/// What is pinned now for owners that are known, a line each.
pub fn lines(trace: &Trace) -> Vec<String> {
    let all = owned(trace);
    let line = |one: &Owned| {
        let pages = count(one.pages, "page");
        format!("still pinned: {pages} of {} for {}", task(one.task), one.owner)
    };
    let more = all.len().saturating_sub(ONE_BY_ONE) as u64;
    let rest = (more > 0).then(|| format!("still pinned: for {}", count(more, "more owner")));
    all.iter().take(ONE_BY_ONE).map(line).chain(rest).collect()
}
