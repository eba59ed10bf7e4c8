//! What the user looks at, and how keys change it. Pure: no clock, no terminal.
//!
//! The view keeps no copy of what it shows, only which of it: drawing reads the [`Trace`]. Two things are its own:
//! the newest events, of which the trace keeps only what they come to, and, while the user pauses, all as it was.

mod answer;
mod cursor;
mod feed;
mod play;
mod prompt;
mod rows;
mod selected;
mod tab;
mod tail;

use std::time::Instant;

use ratatui::layout::Rect;

use self::{cursor::Cursor, feed::Meter, tab::Place};
pub use self::{
    feed::Feed,
    play::Play,
    prompt::{Ask, Prompt},
    rows::{Holder, Pinned, Rows},
    selected::Selected,
    tab::{Level, Tab},
    tail::{Numbered, Tail},
};
use super::keys::Keys;
use crate::{event::Event, sinks::filter::Filter, trace::Trace};

/// What the loop does after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changed.
    Nothing,
    /// Something that is shown changed.
    Redraw,
    /// The selected row is wanted on the clipboard.
    Copy,
    /// A recording is to begin, or to end.
    Record,
    /// The processes of the selected row are wanted as a recording.
    Save,
    /// Of the recording another time is wanted than the one it stands at.
    Seek,
    /// The user leaves.
    Quit,
}

/// What was where when last drawn: paging, scrolling and the mouse need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Rows that a screenful has.
    pub rows: usize,
    /// Lines that did not fit: how far it can be scrolled.
    pub beyond: usize,
    /// Where the rows of the list are.
    pub list: Rect,
    /// The first row that is there.
    pub first: usize,
    /// Where the tabs' names are.
    pub tabs: [Rect; Tab::ALL.len()],
}

/// The view.
#[derive(Debug)]
pub struct View {
    /// Where records come from, and whether more come.
    pub feed: Feed,
    /// The keys.
    pub keys: Keys,
    /// The tab that is open.
    pub tab: Tab,
    /// Whether the help is in front of it.
    pub help: bool,
    /// A line being typed.
    pub prompt: Option<Prompt>,
    /// What became of the last key, in a sentence.
    pub notice: Option<String>,
    /// Whether what comes is recorded.
    pub records: bool,
    /// How the recording is played, if it is one.
    pub play: Option<Play>,
    /// The newest events.
    pub tail: Tail,
    /// All as it was when the user paused.
    held: Option<Box<(Trace, Tail)>>,
    places: [Place; Tab::ALL.len()],
    search: Filter,
    /// Lines scrolled past in the help.
    help_scroll: usize,
    meter: Meter,
    drawn: Drawn,
}

impl View {
    /// The findings, the worst selected.
    pub fn new(feed: Feed, keys: Keys) -> Self {
        Self {
            feed,
            keys,
            tab: Tab::Findings,
            help: false,
            prompt: None,
            notice: None,
            records: false,
            play: None,
            tail: Tail::default(),
            held: None,
            places: std::array::from_fn(|_| Place::new()),
            search: Filter::default(),
            help_scroll: 0,
            meter: Meter::default(),
            drawn: Drawn::default(),
        }
    }

    /// An event came.
    pub fn event(&mut self, event: &Event) {
        self.tail.push(event);
    }

    /// What is shown: the trace, or as it was when the user paused.
    pub fn shown<'t>(&'t self, trace: &'t Trace) -> (&'t Trace, &'t Tail) {
        match self.held.as_deref() {
            Some((trace, tail)) => (trace, tail),
            None => (trace, &self.tail),
        }
    }

    /// What the user has done in the open tab.
    pub fn place(&self) -> &Place {
        &self.places[self.tab as usize]
    }

    fn place_mut(&mut self) -> &mut Place {
        &mut self.places[self.tab as usize]
    }

    /// Lines scrolled past.
    pub fn scroll(&self) -> usize {
        if self.help { self.help_scroll } else { self.place().scroll }
    }

    /// The rows of the open tab at its level, and which of them is selected. `trace` is what is shown.
    pub fn rows<'t>(&self, (trace, tail): (&'t Trace, &'t Tail)) -> (Rows<'t>, Option<usize>) {
        let place = self.place();
        let list = Rows::list(self.tab, place, trace, tail);
        let row = place.row.index(&list.keys(), list.home());
        if place.level == Level::List || self.tab == Tab::Events {
            return (list, row);
        }
        let members = list.members(row.unwrap_or(0));
        let member = place.member.index(&members.keys(), members.home());
        (members, member)
    }

    /// What is selected. `trace` is what is shown.
    pub fn selected<'t>(&self, shown: (&'t Trace, &'t Tail)) -> Selected<'t> {
        let place = self.place();
        if let (Tab::Findings, Level::One, Cursor::At { key, .. }) =
            (self.tab, place.level, place.member)
        {
            // What is being read is not replaced, even when a proof makes it one of another group.
            let found = shown.0.findings.iter().find(|finding| finding.id as u64 == key);
            return found.map_or(Selected::Nothing, Selected::Finding);
        }
        let (rows, selected) = self.rows(shown);
        selected.map_or(Selected::Nothing, |index| rows.select(index))
    }

    /// Whether the newest row is always the selected one.
    pub fn follows(&self) -> bool {
        let place = self.place();
        let cursor = if place.level == Level::List { place.row } else { place.member };
        cursor == Cursor::Home && self.held.is_none()
    }

    /// Whether the user paused.
    pub fn paused(&self) -> bool {
        self.held.is_some()
    }

    /// Findings that came since the user paused.
    pub fn held_back(&self, trace: &Trace) -> usize {
        let held = self.held.as_ref().map(|held| held.0.findings.len());
        held.map_or(0, |held| trace.findings.len().saturating_sub(held))
    }

    /// Records a second, once known.
    pub fn rate(&self) -> Option<u64> {
        self.meter.rate
    }

    /// Takes a reading of the record count; whether the rate changed.
    pub fn measure(&mut self, now: Instant, records: u64) -> bool {
        self.meter.read(now, records)
    }

    /// Learns what was where.
    pub fn drawn(&mut self, drawn: Drawn) {
        self.drawn = drawn;
        let scroll = self.scroll_mut();
        *scroll = (*scroll).min(drawn.beyond);
    }

    fn scroll_mut(&mut self) -> &mut usize {
        if self.help { &mut self.help_scroll } else { &mut self.places[self.tab as usize].scroll }
    }
}
