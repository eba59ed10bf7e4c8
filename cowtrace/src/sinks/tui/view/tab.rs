//! The tabs, and what the user does in each.

use super::cursor::Cursor;
use crate::{
    event::Event,
    finding::Finding,
    ledger::PinRecord,
    sinks::filter::{Field, Filter, Row as _, Unreadable},
};

/// A subject, in the order of the tab bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// What was found, by groups of what is alike.
    Findings,
    /// What is pinned now, by process and code site.
    Pins,
    /// The newest events, as they came.
    Events,
    /// What secondary MMUs were told.
    Notifiers,
    /// What is watched, and what was lost.
    Probes,
}

/// How deep the user has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All rows, or groups of them.
    List,
    /// The rows of a group.
    Members,
    /// One row, on the whole screen.
    One,
}

/// In which order rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The worst verdict first, of those the most frequent.
    Worst,
    /// What came last comes first.
    Newest,
    /// The most frequent first.
    Frequent,
    /// As it came, the newest last.
    Time,
    /// The most pages first.
    Largest,
    /// The longest pinned first.
    Oldest,
}

impl Order {
    /// Its name, behind "by".
    pub fn name(self) -> &'static str {
        match self {
            Self::Worst => "verdict",
            Self::Newest => "last seen",
            Self::Frequent => "count",
            Self::Time => "time",
            Self::Largest => "pages",
            Self::Oldest => "age",
        }
    }
}

impl Tab {
    /// All, in order.
    pub const ALL: [Self; 5] =
        [Self::Findings, Self::Pins, Self::Events, Self::Notifiers, Self::Probes];

    /// As the tab bar has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Findings => "Findings",
            Self::Pins => "Pins",
            Self::Events => "Events",
            Self::Notifiers => "Notifiers",
            Self::Probes => "Probes",
        }
    }

    /// The deepest level that a group of so many rows leads to: one row is not listed alone.
    pub fn below(self, level: Level, members: usize) -> Level {
        match (self, level) {
            (Self::Findings | Self::Pins, Level::List) if members > 1 => Level::Members,
            _ => Level::One,
        }
    }

    /// Whether it has rows to choose from; else it is lines to scroll.
    pub fn has_rows(self) -> bool {
        matches!(self, Self::Findings | Self::Pins | Self::Events)
    }

    /// Orders to choose from; the first is the usual one.
    pub fn orders(self) -> &'static [Order] {
        match self {
            Self::Findings => &[Order::Worst, Order::Newest, Order::Frequent],
            Self::Pins => &[Order::Largest, Order::Oldest],
            Self::Events | Self::Notifiers | Self::Probes => &[Order::Time],
        }
    }

    /// What its rows can be asked for.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Findings => Finding::FIELDS,
            Self::Pins => PinRecord::FIELDS,
            Self::Events => Event::FIELDS,
            Self::Notifiers | Self::Probes => &[],
        }
    }

    /// Reads a filter for its rows.
    pub fn filter(self, text: &str) -> Result<Filter, Unreadable> {
        Filter::parse(text, self.fields())
    }
}

/// What the user has done in a tab.
#[derive(Clone, Debug)]
pub struct Place {
    /// How deep.
    pub level: Level,
    /// Which rows are listed.
    pub filter: Filter,
    /// Selected at [`Level::List`].
    pub row: Cursor,
    /// Selected at [`Level::Members`].
    pub member: Cursor,
    /// Lines scrolled past, where lines scroll.
    pub scroll: usize,
    order: usize,
}

impl Place {
    /// The list as it is first seen.
    pub fn new() -> Self {
        Self {
            level: Level::List,
            filter: Filter::default(),
            row: Cursor::default(),
            member: Cursor::default(),
            scroll: 0,
            order: 0,
        }
    }

    /// The order of a tab's rows.
    pub fn order(&self, tab: Tab) -> Order {
        let orders = tab.orders();
        orders[self.order % orders.len()]
    }

    /// Takes the next order.
    pub fn reorder(&mut self, tab: Tab) {
        self.order = (self.order + 1) % tab.orders().len();
        self.row = Cursor::default();
    }

    /// Goes to a level, to the beginning of what is there.
    pub fn enter(&mut self, level: Level) {
        self.level = level;
        self.scroll = 0;
    }
}
