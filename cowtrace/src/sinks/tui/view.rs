//! What the user looks at, and how keys change it. Pure: no clock, no terminal.
//!
//! The view keeps no copy of what it shows, only which of it: drawing reads the [`Trace`]. Two things are its own:
//! the newest events, of which the trace keeps only what they come to, and, while the user pauses, all as it was.

mod cursor;
mod feed;
mod play;
mod prompt;
mod rows;
mod tab;
mod tail;

use std::{collections::BTreeSet, time::Instant};

use crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Position, Rect};

use self::{cursor::Cursor, feed::Meter, prompt::Typed, tab::Place};
pub use self::{
    feed::Feed,
    play::Play,
    prompt::{Ask, Prompt},
    rows::{Holder, Pinned, Rows},
    tab::{Level, Tab},
    tail::{Numbered, Tail},
};
use super::keys::{Action, Keys, Motion};
use crate::{
    event::Event,
    finding::Finding,
    sinks::{filter::Filter, group::Group},
    trace::Trace,
    when::When,
};

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

/// What the user has selected.
#[derive(Clone, Debug)]
pub enum Selected<'t> {
    /// There is nothing.
    Nothing,
    /// Findings that are alike.
    Group(Group<'t>),
    /// A finding.
    Finding(&'t Finding),
    /// Pins that are alike.
    Holder(Holder<'t>),
    /// A pin.
    Pin(Pinned<'t>),
    /// An event.
    Event(&'t Numbered),
}

impl Selected<'_> {
    /// The processes that it is about.
    pub fn processes(&self) -> BTreeSet<u32> {
        let of = |finding: &Finding| {
            let holder = finding.pin.as_ref().map(|pin| pin.holder.tgid);
            let cause = finding.cause.as_ref().map(|cause| cause.task.tgid);
            [Some(finding.writer.tgid), holder, cause].into_iter().flatten()
        };
        match self {
            Self::Nothing => BTreeSet::new(),
            Self::Group(group) => group.findings.iter().flat_map(|finding| of(finding)).collect(),
            Self::Finding(finding) => of(finding).collect(),
            Self::Holder(holder) => {
                holder.pins.iter().map(|pinned| pinned.pin.holder.tgid).collect()
            }
            Self::Pin(pinned) => BTreeSet::from([pinned.pin.holder.tgid]),
            Self::Event(numbered) => BTreeSet::from([numbered.event.task.tgid]),
        }
    }
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

/// Lines that a turn of the wheel moves.
const WHEEL: usize = 3;

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
        let (rows, Some(index)) = self.rows(shown) else {
            return Selected::Nothing;
        };
        match rows {
            Rows::Groups(mut groups) => Selected::Group(groups.swap_remove(index)),
            Rows::Findings(findings) => Selected::Finding(findings[index]),
            Rows::Holders(mut holders) => Selected::Holder(holders.swap_remove(index)),
            Rows::Pins(mut pins) => Selected::Pin(pins.swap_remove(index)),
            Rows::Events(events) => Selected::Event(events[index]),
        }
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

    /// Answers a key.
    pub fn key(&mut self, key: KeyEvent, trace: &Trace) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::Nothing;
        }
        let noticed = self.notice.take().is_some();
        if let Some(mut prompt) = self.prompt.take() {
            if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
                return Effect::Quit;
            }
            match prompt.key(key.code) {
                Typed::More => self.prompt = Some(prompt),
                Typed::Done => return self.take(prompt, trace),
                Typed::Left => {}
            }
            return Effect::Redraw;
        }
        match self.keys.action(key) {
            Some(action) => self.act(action, trace),
            None if noticed => Effect::Redraw,
            None => Effect::Nothing,
        }
    }

    /// Answers the mouse: a click selects, another one opens, the wheel moves.
    pub fn mouse(&mut self, mouse: MouseEvent, trace: &Trace) -> Effect {
        let at = Position { x: mouse.column, y: mouse.row };
        match mouse.kind {
            MouseEventKind::ScrollUp => self.wheel(Motion::Up, trace),
            MouseEventKind::ScrollDown => self.wheel(Motion::Down, trace),
            MouseEventKind::Down(MouseButton::Left) => self.click(at, trace),
            _ => Effect::Nothing,
        }
    }

    fn wheel(&mut self, motion: Motion, trace: &Trace) -> Effect {
        for _ in 0..WHEEL {
            self.go(motion, trace);
        }
        Effect::Redraw
    }

    fn click(&mut self, at: Position, trace: &Trace) -> Effect {
        if let Some(tab) = self.drawn.tabs.iter().position(|tab| tab.contains(at)) {
            return self.act(Action::Tab(tab), trace);
        }
        if !self.drawn.list.contains(at) || !self.lists() {
            return Effect::Nothing;
        }
        let index = self.drawn.first + usize::from(at.y - self.drawn.list.y);
        let (rows, selected) = self.rows(self.shown(trace));
        let keys = rows.keys();
        if selected == Some(index) {
            self.open(trace);
        } else if index < keys.len() {
            self.select(Cursor::on(&keys, index));
        }
        Effect::Redraw
    }

    fn act(&mut self, action: Action, trace: &Trace) -> Effect {
        match action {
            Action::Move(motion) => self.go(motion, trace),
            Action::Tab(number) => self.turn_to(number),
            Action::NextTab => self.turn_to((self.tab as usize + 1) % Tab::ALL.len()),
            Action::LastTab => {
                self.turn_to((self.tab as usize + Tab::ALL.len() - 1) % Tab::ALL.len());
            }
            Action::Open => self.open(trace),
            Action::Back => self.back(trace),
            Action::Filter => self.ask(Ask::Filter),
            Action::Search => self.ask(Ask::Search),
            Action::NextMatch => self.find(true, trace),
            Action::LastMatch => self.find(false, trace),
            Action::Reorder => {
                let tab = self.tab;
                self.place_mut().reorder(tab);
            }
            Action::Time => self.prompt = Some(Prompt::new(Ask::Time, "")),
            Action::StepBack | Action::StepOn => {
                let Some(play) = &mut self.play else { return Effect::Nothing };
                play.step(trace.now, action == Action::StepOn);
                return Effect::Seek;
            }
            Action::Slower | Action::Faster => {
                let Some(play) = &mut self.play else { return Effect::Nothing };
                play.faster(action == Action::Faster);
            }
            Action::Record => return Effect::Record,
            Action::Save => return Effect::Save,
            Action::Pause if self.play.is_some() => {
                self.play.iter_mut().for_each(|play| play.toggle(trace.now));
            }
            Action::Pause => {
                self.held = match self.held {
                    Some(_) => None,
                    None => Some(Box::new((trace.clone(), self.tail.clone()))),
                };
            }
            Action::Copy => return Effect::Copy,
            Action::Help => {
                self.help = !self.help;
                self.help_scroll = 0;
            }
            Action::Quit => return Effect::Quit,
        }
        Effect::Redraw
    }

    /// Whether lines that scroll are on the screen.
    pub fn scrolls(&self) -> bool {
        !self.lists()
    }

    /// Whether rows are on the screen.
    fn lists(&self) -> bool {
        !self.help && self.tab.has_rows() && self.place().level != Level::One
    }

    fn turn_to(&mut self, number: usize) {
        self.help = false;
        self.tab = Tab::ALL[number.min(Tab::ALL.len() - 1)];
    }

    fn go(&mut self, motion: Motion, trace: &Trace) {
        if self.lists() {
            let (rows, _) = self.rows(self.shown(trace));
            let cursor = self.cursor().moved(motion, self.drawn.rows, &rows.keys(), rows.home());
            self.select(cursor);
            return;
        }
        let page = self.drawn.rows.saturating_sub(1).max(1); // One line stays, to read on from.
        let beyond = self.drawn.beyond;
        let scroll = self.scroll_mut();
        let to = match motion {
            Motion::Up => scroll.saturating_sub(1),
            Motion::Down => *scroll + 1,
            Motion::PageUp => scroll.saturating_sub(page),
            Motion::PageDown => *scroll + page,
            Motion::First => 0,
            Motion::Last => beyond,
        };
        *scroll = to.min(beyond);
    }

    fn cursor(&self) -> Cursor {
        let place = self.place();
        if place.level == Level::List { place.row } else { place.member }
    }

    fn select(&mut self, cursor: Cursor) {
        let place = self.place_mut();
        if place.level == Level::List {
            place.row = cursor;
        } else {
            place.member = cursor;
        }
    }

    fn open(&mut self, trace: &Trace) {
        if !self.lists() {
            return self.back(trace);
        }
        let (rows, selected) = self.rows(self.shown(trace));
        let Some(index) = selected else { return };
        let level = self.tab.below(rows.level(), rows.size(index));
        // What is being read must not be replaced by what comes next.
        let here = Cursor::on(&rows.keys(), index);
        let inside = match (rows.level(), level) {
            (Level::List, Level::One) => {
                let members = rows.members(index);
                let keys = members.keys();
                Cursor::on(&keys, Cursor::Home.index(&keys, members.home()).unwrap_or(0))
            }
            (Level::List, _) => Cursor::Home,
            _ => here,
        };
        let place = self.place_mut();
        if place.level == Level::List {
            place.row = here;
        }
        place.member = inside;
        place.enter(level);
    }

    fn back(&mut self, trace: &Trace) {
        if self.help {
            self.help = false;
            return;
        }
        let members = {
            let (trace, tail) = self.shown(trace);
            let list = Rows::list(self.tab, self.place(), trace, tail);
            let row = self.place().row.index(&list.keys(), list.home());
            row.map_or(0, |row| list.size(row))
        };
        let tab = self.tab;
        let place = self.place_mut();
        match place.level {
            Level::List => place.filter = Filter::default(),
            Level::One if tab.below(Level::List, members) == Level::Members => {
                place.enter(Level::Members);
            }
            Level::Members | Level::One => place.enter(Level::List),
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.help = false;
        if !self.tab.has_rows() {
            self.notice = Some("there are no rows here to look for".to_owned());
            return;
        }
        let text = match ask {
            Ask::Filter => self.place().filter.text(),
            Ask::Search | Ask::Time => "",
        };
        self.prompt = Some(Prompt::new(ask, text));
    }

    /// What was typed is to apply.
    fn take(&mut self, mut prompt: Prompt, trace: &Trace) -> Effect {
        if prompt.ask == Ask::Time {
            return self.go_to(prompt, trace);
        }
        let filter = match self.tab.filter(&prompt.text) {
            Ok(filter) => filter,
            Err(wrong) => {
                prompt.wrong = Some(wrong.to_string());
                self.prompt = Some(prompt);
                return Effect::Redraw;
            }
        };
        match prompt.ask {
            Ask::Filter => {
                let place = self.place_mut();
                place.enter(Level::List);
                place.filter = filter;
                place.row = Cursor::Home;
            }
            Ask::Search | Ask::Time => {
                self.search = filter;
                self.find(true, trace);
            }
        }
        Effect::Redraw
    }

    /// Goes to a time: of a recording by reading it up to there, else to the first row since then.
    fn go_to(&mut self, mut prompt: Prompt, trace: &Trace) -> Effect {
        let end = self.play.and_then(|play| play.span).map_or(trace.now, |(_, last)| last);
        let parsed = When::parse(&prompt.text).and_then(|when| {
            when.within(trace, end).ok_or_else(|| "clocks are not known here".to_owned())
        });
        let time = match parsed {
            Ok(time) => time,
            Err(wrong) => {
                prompt.wrong = Some(wrong);
                self.prompt = Some(prompt);
                return Effect::Redraw;
            }
        };
        if let Some(play) = &mut self.play {
            (play.goal, play.speed) = (time, None);
            return Effect::Seek;
        }
        let rows = self.lists().then(|| self.rows(self.shown(trace)).0);
        let cursor = rows.and_then(|rows| Some(Cursor::on(&rows.keys(), rows.since(time)?)));
        match cursor {
            Some(cursor) => self.select(cursor),
            None => self.notice = Some("no row here has a time since then".to_owned()),
        }
        Effect::Redraw
    }

    /// Goes to the next row that was searched for, around the end.
    fn find(&mut self, onward: bool, trace: &Trace) {
        if self.search.is_empty() || !self.lists() {
            self.notice = Some(format!("{} searches rows", self.keys.name(Action::Search)));
            return;
        }
        let shown = self.shown(trace);
        let (rows, selected) = self.rows(shown);
        let (len, from) = (rows.len(), selected.unwrap_or(0));
        let nth = |n: usize| if onward { (from + n) % len } else { (from + len - n) % len };
        let found = (1..=len).map(nth).find(|row| rows.meets(*row, &self.search, shown.0));
        match found {
            Some(row) => self.select(Cursor::on(&rows.keys(), row)),
            None => self.notice = Some(format!("nothing here meets \"{}\"", self.search.text())),
        }
    }
}
