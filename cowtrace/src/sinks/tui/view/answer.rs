//! What keys and the mouse do to the view.

use crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Position;

use super::{Ask, Effect, Level, Prompt, Rows, Tab, View, cursor::Cursor, prompt::Typed};
use crate::{
    sinks::{
        filter::Filter,
        tui::keys::{Action, Motion},
    },
    trace::Trace,
    when::When,
};

/// Lines that a turn of the wheel moves.
const WHEEL: usize = 3;

impl View {
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
                self.forget_end();
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
        self.forget_end();
        self.tab = Tab::ALL[number.min(Tab::ALL.len() - 1)];
    }

    /// Other lines than those that were drawn: how far they can be scrolled is not known before they are.
    fn forget_end(&mut self) {
        self.drawn.beyond = usize::MAX / 2;
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
        self.forget_end();
    }

    fn back(&mut self, trace: &Trace) {
        self.forget_end();
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
        if prompt.ask == Ask::Filter {
            let place = self.place_mut();
            place.enter(Level::List);
            place.filter = filter;
            place.row = Cursor::Home;
        } else {
            self.search = filter;
            self.find(true, trace);
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
