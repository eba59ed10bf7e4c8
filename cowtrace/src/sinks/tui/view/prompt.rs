//! A line that the user types.

use crossterm::event::KeyCode;

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Which rows to list.
    Filter,
    /// Which row to go to.
    Search,
    /// Which time to go to.
    Time,
}

/// The line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What it is for.
    pub ask: Ask,
    /// As typed so far.
    pub text: String,
    /// Why it was not taken.
    pub wrong: Option<String>,
}

/// What a key did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// It goes on.
    More,
    /// The user is content with it.
    Done,
    /// The user wants nothing of it.
    Left,
}

impl Prompt {
    /// With a text to start from.
    pub fn new(ask: Ask, text: &str) -> Self {
        Self { ask, text: text.to_owned(), wrong: None }
    }

    /// A key was pressed.
    pub fn key(&mut self, code: KeyCode) -> Typed {
        match code {
            KeyCode::Enter => return Typed::Done,
            KeyCode::Esc => return Typed::Left,
            KeyCode::Backspace => drop(self.text.pop()),
            KeyCode::Char(c) => self.text.push(c),
            _ => return Typed::More,
        }
        self.wrong = None;
        Typed::More
    }
}
