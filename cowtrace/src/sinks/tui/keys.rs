//! The key table: what a key does, and what the help and the bottom line say of it, in one place.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To another row, or to other lines.
    Move(Motion),
    /// The selected finding on the whole screen, or back.
    Open,
    /// Out of what was opened last; then out of the filter.
    Back,
    /// Type a filter.
    Filter,
    /// Hold what is shown, or let it go on.
    Pause,
    /// The probe table, or back.
    Probes,
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

/// A row of the table.
pub struct Key {
    /// Pressing any of these,
    codes: &'static [KeyCode],
    /// together with these.
    modifiers: KeyModifiers,
    /// What it does.
    pub action: Action,
    /// The keys as the help names them.
    pub name: &'static str,
    /// What it does, for the help.
    pub does: &'static str,
    /// The same in a word for the bottom line; empty: it is not there.
    pub hint: &'static str,
}

#[cfg(test)]
impl Key {
    /// The key presses that it stands for.
    pub fn events(&self) -> impl Iterator<Item = KeyEvent> {
        self.codes.iter().map(|code| KeyEvent::new(*code, self.modifiers))
    }
}

/// All keys, in the order that the help has them. Where one is listed twice, the first row counts.
#[rustfmt::skip] // A table: one row, one line.
pub const KEYS: &[Key] = &[
    row(&[KeyCode::Char('k'), KeyCode::Up], Action::Move(Motion::Up), "k  ↑", "previous finding, or one line up", ""),
    row(&[KeyCode::Char('j'), KeyCode::Down], Action::Move(Motion::Down), "j  ↓", "next finding, or one line down", ""),
    row(&[KeyCode::PageUp], Action::Move(Motion::PageUp), "PgUp", "a screenful up", ""),
    row(&[KeyCode::PageDown], Action::Move(Motion::PageDown), "PgDn", "a screenful down", ""),
    row(&[KeyCode::Char('g'), KeyCode::Home], Action::Move(Motion::First), "g  Home", "first finding", ""),
    row(&[KeyCode::Char('G'), KeyCode::End], Action::Move(Motion::Last), "G  End", "newest finding, and follow those to come", ""),
    row(&[KeyCode::Enter], Action::Open, "enter", "the finding on the whole screen, or back", "open"),
    row(&[KeyCode::Esc], Action::Back, "esc", "back; in the list: clear the filter", "back"),
    row(&[KeyCode::Char('/')], Action::Filter, "/", "show only findings with these words in verdict, process, id or address", "filter"),
    row(&[KeyCode::Char(' ')], Action::Pause, "space", "hold the list as it is, or go on; nothing is missed meanwhile", "pause"),
    row(&[KeyCode::Char('p')], Action::Probes, "p", "what is watched, how it is attached, and what was lost", "probes"),
    row(&[KeyCode::Char('?'), KeyCode::F(1)], Action::Help, "?  F1", "this help", "help"),
    row(&[KeyCode::Char('q')], Action::Quit, "q", "take all probes off and leave", "quit"),
    Key { modifiers: KeyModifiers::CONTROL, ..row(&[KeyCode::Char('c')], Action::Quit, "Ctrl-C", "the same, even while a filter is typed", "") },
];

const fn row(
    codes: &'static [KeyCode],
    action: Action,
    name: &'static str,
    does: &'static str,
    hint: &'static str,
) -> Key {
    Key { codes, modifiers: KeyModifiers::NONE, action, name, does, hint }
}

/// What a key does.
pub fn action(event: KeyEvent) -> Option<Action> {
    // Shift is in the character already, and terminals differ in whether they tell it.
    let modifiers = event.modifiers - KeyModifiers::SHIFT;
    KEYS.iter()
        .find(|key| key.codes.contains(&event.code) && key.modifiers == modifiers)
        .map(|key| key.action)
}
