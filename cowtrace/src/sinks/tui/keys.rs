//! The key table: what a key does, and what the help and the bottom line say of it, in one place. The user's
//! configuration may put other keys in place of a row's.

use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To another row, or to other lines.
    Move(Motion),
    /// To a tab, by its number from 0.
    Tab(usize),
    /// To the next tab.
    NextTab,
    /// To the tab before.
    LastTab,
    /// Deeper into the selected row.
    Open,
    /// Out of what was opened last; then out of the filter.
    Back,
    /// Type a filter.
    Filter,
    /// Type what to go to.
    Search,
    /// To the next row that was searched for.
    NextMatch,
    /// To the one before.
    LastMatch,
    /// The rows in another order.
    Reorder,
    /// Hold what is shown, or let it go on; of a recording: play it, or stand still.
    Pause,
    /// Type a time to go to.
    Time,
    /// A part of the recording back.
    StepBack,
    /// A part of the recording on.
    StepOn,
    /// Play half as fast.
    Slower,
    /// Play twice as fast.
    Faster,
    /// Begin a recording, or end it.
    Record,
    /// The processes of the selected row as a recording of their own.
    Save,
    /// The selected row to the clipboard.
    Copy,
    /// The help, or back.
    Help,
    /// Leave.
    Quit,
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// One back.
    Up,
    /// One on.
    Down,
    /// A screenful back.
    PageUp,
    /// A screenful on.
    PageDown,
    /// To the first.
    First,
    /// To the last.
    Last,
}

/// A key with what is held down with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    code: KeyCode,
    modifiers: KeyModifiers,
}

impl Press {
    const fn of(code: KeyCode) -> Self {
        Self { code, modifiers: KeyModifiers::NONE }
    }

    const fn control(c: char) -> Self {
        Self { code: KeyCode::Char(c), modifiers: KeyModifiers::CONTROL }
    }

    /// Whether this is what was pressed. Shift is in a character already, and terminals differ in whether they tell
    /// it.
    fn is(self, event: KeyEvent) -> bool {
        self.code == event.code && self.modifiers == event.modifiers - KeyModifiers::SHIFT
    }

    /// As the help names it.
    fn name(self) -> String {
        let name = NAMED.iter().find(|(code, ..)| *code == self.code);
        let name = match (name, self.code) {
            (Some((_, _, shown)), _) => (*shown).to_owned(),
            (None, KeyCode::Char(c)) => c.to_string(),
            (None, KeyCode::F(n)) => format!("F{n}"),
            (None, code) => format!("{code:?}"),
        };
        if self.modifiers.contains(KeyModifiers::CONTROL) {
            return format!("Ctrl-{}", name.to_uppercase());
        }
        name
    }
}

/// Keys that are no character: code, name in the configuration, name in the help.
const NAMED: [(KeyCode, &str, &str); 14] = [
    (KeyCode::Up, "up", "↑"),
    (KeyCode::Down, "down", "↓"),
    (KeyCode::Left, "left", "←"),
    (KeyCode::Right, "right", "→"),
    (KeyCode::PageUp, "pageup", "PgUp"),
    (KeyCode::PageDown, "pagedown", "PgDn"),
    (KeyCode::Home, "home", "Home"),
    (KeyCode::End, "end", "End"),
    (KeyCode::Enter, "enter", "enter"),
    (KeyCode::Esc, "esc", "esc"),
    (KeyCode::Tab, "tab", "tab"),
    (KeyCode::BackTab, "shift-tab", "shift-tab"),
    (KeyCode::Delete, "delete", "Del"),
    (KeyCode::Char(' '), "space", "space"),
];

impl FromStr for Press {
    type Err = String;

    /// A character, or a name: `q`, `ctrl-c`, `pageup`, `f1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        if let Some((code, ..)) = NAMED.iter().find(|(_, name, _)| *name == lower) {
            return Ok(Self::of(*code));
        }
        let one = |text: &str| {
            let mut letters = text.chars();
            letters.next().filter(|c| letters.next().is_none() && !c.is_control())
        };
        if let Some(c) = lower.strip_prefix("ctrl-").and_then(one) {
            return Ok(Self::control(c));
        }
        if let Some(n) = lower.strip_prefix('f').and_then(|n| n.parse().ok()) {
            return Ok(Self::of(KeyCode::F(n)));
        }
        let names = NAMED.map(|(_, name, _)| name).join(", ");
        one(text).map(|c| Self::of(KeyCode::Char(c))).ok_or_else(|| {
            format!("no key \"{text}\": a character, ctrl- and a character, f1 to f12, or {names}")
        })
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Key {
    /// Any of these does it.
    presses: Vec<Press>,
    /// What it does.
    pub action: Action,
    /// Its name in the configuration.
    pub id: &'static str,
    /// What it does, for the help.
    pub does: &'static str,
    /// The same in a word for the bottom line; empty: it is not there.
    pub hint: &'static str,
}

impl Key {
    /// The keys as the help names them.
    pub fn names(&self) -> String {
        self.presses.iter().map(|press| press.name()).collect::<Vec<_>>().join(" ")
    }

    /// The first of them, for the bottom line; empty: there is none.
    pub fn name(&self) -> String {
        self.presses.first().map_or_else(String::new, |press| press.name())
    }

    /// The key presses that it stands for.
    #[cfg(test)]
    pub fn events(&self) -> impl Iterator<Item = KeyEvent> {
        self.presses.iter().map(|press| KeyEvent::new(press.code, press.modifiers))
    }
}

/// All keys, in the order that the help has them.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

impl Default for Keys {
    #[rustfmt::skip] // A table: one row, one line.
    fn default() -> Self {
        use KeyCode::{
            BackTab, Char, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up,
        };
        use Motion::{First, Last};
        let row = |codes: &[KeyCode], action, id, does, hint| Key {
            presses: codes.iter().copied().map(Press::of).collect(), action, id, does, hint,
        };
        Self(vec![
            row(&[Up, Char('k')], Action::Move(Motion::Up), "up", "previous row, or one line up", ""),
            row(&[Down, Char('j')], Action::Move(Motion::Down), "down", "next row, or one line down", ""),
            row(&[PageUp], Action::Move(Motion::PageUp), "page-up", "a screenful up", ""),
            row(&[PageDown], Action::Move(Motion::PageDown), "page-down", "a screenful down", ""),
            row(&[Home, Char('g')], Action::Move(First), "first", "first row", ""),
            row(&[End, Char('G')], Action::Move(Last), "last", "last row; where rows stand by time, follow those to come", ""),
            row(&[Enter], Action::Open, "open", "into the selected row: the members of a group, then one on the whole screen", "open"),
            row(&[Esc], Action::Back, "back", "back; in a list: clear the filter", "back"),
            row(&[Tab], Action::NextTab, "next-tab", "next tab", ""),
            row(&[BackTab], Action::LastTab, "last-tab", "tab before", ""),
            row(&[Char('1')], Action::Tab(0), "findings", "what was found", ""),
            row(&[Char('2')], Action::Tab(1), "pins", "what is pinned now", ""),
            row(&[Char('3')], Action::Tab(2), "events", "the newest events", ""),
            row(&[Char('4')], Action::Tab(3), "notifiers", "what secondary MMUs were told", ""),
            row(&[Char('5'), Char('p')], Action::Tab(4), "probes", "what is watched, at what cost, and what was lost", ""),
            row(&[Char('f')], Action::Filter, "filter", "list only what meets a filter: comm=nccl* verdict>=diverged", "filter"),
            row(&[Char('/')], Action::Search, "search", "go to what meets a filter, or has these words", "search"),
            row(&[Char('n')], Action::NextMatch, "next-match", "next one that was searched for", ""),
            row(&[Char('N')], Action::LastMatch, "last-match", "the one before", ""),
            row(&[Char('s')], Action::Reorder, "sort", "the rows in another order", "sort"),
            row(&[Char(' ')], Action::Pause, "pause", "hold what is shown, or go on; nothing is missed meanwhile. Of a recording: play it, or stand still", "pause"),
            row(&[Char('t')], Action::Time, "time", "go to a time: +12.5s, 3m ago, 14:03:20 (UTC)", ""),
            row(&[Left], Action::StepBack, "step-back", "a fiftieth of the recording back", ""),
            row(&[Right], Action::StepOn, "step-on", "a fiftieth of the recording on", ""),
            row(&[Char('[')], Action::Slower, "slower", "play half as fast", ""),
            row(&[Char(']')], Action::Faster, "faster", "play twice as fast", ""),
            row(&[Char('r')], Action::Record, "record", "begin a recording in this folder, or end it", ""),
            row(&[Char('w')], Action::Save, "save", "write the processes of the selected row as a recording of their own", ""),
            row(&[Char('y')], Action::Copy, "copy", "copy the selected row as text to the terminal's clipboard (OSC 52)", "copy"),
            row(&[Char('?'), F(1)], Action::Help, "help", "this help", "help"),
            Key { presses: vec![Press::of(Char('q')), Press::control('c')], ..row(&[], Action::Quit, "quit", "take all probes off and leave (Ctrl-C also while typing)", "quit") },
        ])
    }
}

impl Keys {
    /// The rows.
    pub fn rows(&self) -> &[Key] {
        &self.0
    }

    /// What a key does. Where two rows have it, the first one counts.
    pub fn action(&self, event: KeyEvent) -> Option<Action> {
        let row = self.0.iter().find(|key| key.presses.iter().any(|press| press.is(event)));
        row.map(|key| key.action)
    }

    /// The name of the first key for an action.
    pub fn name(&self, action: Action) -> String {
        let row = self.0.iter().find(|key| key.action == action);
        row.map_or_else(String::new, Key::name)
    }

    /// Puts other keys in place of a row's. They are taken from the rows that had them.
    pub fn rebind(&mut self, id: &str, presses: &[String]) -> Result<(), String> {
        let presses =
            presses.iter().map(|press| press.parse()).collect::<Result<Vec<Press>, _>>()?;
        if !self.0.iter().any(|key| key.id == id) {
            let ids: Vec<_> = self.0.iter().map(|key| key.id).collect();
            return Err(format!("nothing is called \"{id}\": there are {}", ids.join(", ")));
        }
        for key in &mut self.0 {
            if key.id == id {
                key.presses.clone_from(&presses);
            } else {
                key.presses.retain(|press| !presses.contains(press));
            }
        }
        Ok(())
    }
}
