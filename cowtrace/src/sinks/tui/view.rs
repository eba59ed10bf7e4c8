//! What the user looks at, and how keys change it. Pure: no clock, no terminal.
//!
//! The view keeps no copy of what it shows, only which of it: drawing reads the [`Trace`].

mod feed;
mod filter;
mod selection;

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

pub use self::{feed::Feed, filter::Filter};
use self::{feed::Meter, selection::Selection};
use super::keys::{self, Action, Motion};
use crate::{finding::Finding, trace::Trace};

/// What the loop does after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changed.
    Nothing,
    /// Something that is shown changed.
    Redraw,
    /// The user leaves.
    Quit,
}

/// What fills the screen between header and bottom line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The list, with the selected finding below.
    Findings,
    /// One finding.
    Finding,
    /// The probe table.
    Probes,
    /// The help.
    Help,
}

/// How much there was room for when last drawn: paging and scrolling need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Rows that a screenful has.
    pub rows: usize,
    /// Lines that did not fit: how far it can be scrolled.
    pub beyond: usize,
}

/// The view.
#[derive(Debug)]
pub struct View {
    /// Where records come from, and whether more come.
    pub feed: Feed,
    /// What fills the screen.
    pub page: Page,
    /// Which findings are listed.
    pub filter: Filter,
    /// A filter being typed.
    pub typing: Option<String>,
    /// Lines scrolled past, on the pages that scroll.
    pub scroll: usize,
    /// How many findings there were when the user paused.
    held: Option<usize>,
    /// Where `Back` leads from probes and help.
    behind: Page,
    selection: Selection,
    meter: Meter,
    drawn: Drawn,
}

impl View {
    /// The list, following the newest.
    pub fn new(feed: Feed) -> Self {
        Self {
            feed,
            page: Page::Findings,
            filter: Filter::default(),
            typing: None,
            scroll: 0,
            held: None,
            behind: Page::Findings,
            selection: Selection::Newest,
            meter: Meter::default(),
            drawn: Drawn::default(),
        }
    }

    /// The findings listed, oldest first.
    pub fn listed<'t>(&self, trace: &'t Trace) -> Vec<&'t Finding> {
        let count = self.held.unwrap_or(usize::MAX).min(trace.findings.len());
        trace.findings[..count].iter().filter(|finding| self.filter.takes(finding)).collect()
    }

    /// Index of the selected one among those listed.
    pub fn selected(&self, listed: &[&Finding]) -> Option<usize> {
        self.selection.index(listed)
    }

    /// Whether the newest finding is always the selected one.
    pub fn follows(&self) -> bool {
        self.selection == Selection::Newest && self.held.is_none()
    }

    /// Whether the user paused.
    pub fn paused(&self) -> bool {
        self.held.is_some()
    }

    /// Findings that came since the user paused.
    pub fn held_back(&self, trace: &Trace) -> usize {
        self.held.map_or(0, |held| trace.findings.len().saturating_sub(held))
    }

    /// Records a second, once known.
    pub fn rate(&self) -> Option<u64> {
        self.meter.rate
    }

    /// Takes a reading of the record count; whether the rate changed.
    pub fn measure(&mut self, now: Instant, records: u64) -> bool {
        self.meter.read(now, records)
    }

    /// Learns what there was room for.
    pub fn drawn(&mut self, drawn: Drawn) {
        self.drawn = drawn;
        self.scroll = self.scroll.min(drawn.beyond);
    }

    /// Answers a key.
    pub fn key(&mut self, key: KeyEvent, trace: &Trace) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::Nothing;
        }
        let action = keys::action(key);
        match self.typing.take() {
            // Only Ctrl-C: `q` is a letter here.
            Some(_) if action == Some(Action::Quit) && key.code != KeyCode::Char('q') => {
                Effect::Quit
            }
            Some(text) => self.type_filter(text, key),
            None => action.map_or(Effect::Nothing, |action| self.act(action, trace)),
        }
    }

    fn type_filter(&mut self, mut text: String, key: KeyEvent) -> Effect {
        match key.code {
            KeyCode::Enter => self.filter = Filter::parse(&text),
            KeyCode::Esc => self.filter = Filter::default(),
            KeyCode::Backspace if text.is_empty() => {}
            code => {
                match code {
                    KeyCode::Backspace => drop(text.pop()),
                    KeyCode::Char(c) => text.push(c),
                    _ => {}
                }
                self.typing = Some(text);
            }
        }
        Effect::Redraw
    }

    fn act(&mut self, action: Action, trace: &Trace) -> Effect {
        match action {
            Action::Move(motion) => self.go(motion, trace),
            Action::Open => self.open(trace),
            Action::Back => self.back(),
            Action::Filter => self.start_filter(),
            Action::Pause => self.held = self.held.is_none().then_some(trace.findings.len()),
            Action::Probes => self.toggle(Page::Probes),
            Action::Help => self.toggle(Page::Help),
            Action::Quit => return Effect::Quit,
        }
        Effect::Redraw
    }

    fn go(&mut self, motion: Motion, trace: &Trace) {
        if self.page == Page::Findings {
            self.selection = self.selection.moved(motion, self.drawn.rows, &self.listed(trace));
            return;
        }
        let page = self.drawn.rows.saturating_sub(1).max(1); // One line stays, to read on from.
        let to = match motion {
            Motion::Up => self.scroll.saturating_sub(1),
            Motion::Down => self.scroll + 1,
            Motion::PageUp => self.scroll.saturating_sub(page),
            Motion::PageDown => self.scroll + page,
            Motion::First => 0,
            Motion::Last => self.drawn.beyond,
        };
        self.scroll = to.min(self.drawn.beyond);
    }

    fn open(&mut self, trace: &Trace) {
        let listed = self.listed(trace);
        match (self.page, self.selected(&listed)) {
            (Page::Findings, Some(index)) => {
                // What is being read must not be replaced by the next finding.
                self.selection = Selection::Finding(listed[index].id);
                self.show(Page::Finding);
            }
            (Page::Findings, None) => {}
            _ => self.back(),
        }
    }

    fn back(&mut self) {
        match self.page {
            Page::Findings => self.filter = Filter::default(),
            Page::Finding => self.show(Page::Findings),
            Page::Probes | Page::Help => self.show(self.behind),
        }
    }

    /// The bottom line shows what is typed; the list shows what it will do.
    fn start_filter(&mut self) {
        self.show(Page::Findings);
        self.typing = Some(self.filter.text().to_owned());
    }

    fn toggle(&mut self, page: Page) {
        if self.page == page {
            return self.show(self.behind);
        }
        if matches!(self.page, Page::Findings | Page::Finding) {
            self.behind = self.page;
        }
        self.show(page);
    }

    fn show(&mut self, page: Page) {
        self.page = page;
        self.scroll = 0;
    }
}
