//! How things look. Only the 16 ANSI colours and modifiers, so that the user's own theme decides
//! what red is; and whatever a colour says, a symbol or a word says too.

use ratatui::style::{Color, Modifier, Style};

use crate::finding::Verdict;

/// A title, a name, a key.
pub const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// Labels and rules: there when looked for.
// DIM and not dark grey, which some themes draw as the background.
pub const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
/// The selected row.
pub const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Colours by what they mean.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    colours: bool,
}

impl Palette {
    /// With colours or with modifiers alone.
    pub fn new(colours: bool) -> Self {
        Self { colours }
    }

    /// Without colours where the user asked for that: <https://no-color.org>.
    pub fn from_env() -> Self {
        Self::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// A verdict, by how bad it is.
    pub fn verdict(self, verdict: Verdict) -> Style {
        match verdict {
            Verdict::Lost => self.alarm(),
            Verdict::Diverged | Verdict::RangeInvalidated => self.colour(Color::Red),
            Verdict::StaleRead | Verdict::Snapshot | Verdict::Armed => self.colour(Color::Yellow),
            Verdict::Suspect => self.colour(Color::Magenta),
            Verdict::SuspectGet => self.colour(Color::Blue),
            Verdict::Inconclusive => self.colour(Color::Cyan),
        }
    }

    /// What the user has to know first.
    pub fn alarm(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What the user should know.
    pub fn warning(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// As it should be.
    pub fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

/// A verdict's symbol, one column wide.
pub fn symbol(verdict: Verdict) -> char {
    match verdict {
        Verdict::Lost => '✖',
        Verdict::Diverged => '≠',
        Verdict::RangeInvalidated => '∅',
        Verdict::StaleRead => '«',
        Verdict::Snapshot => '⑂',
        Verdict::Armed => '!',
        Verdict::Suspect => '?',
        Verdict::SuspectGet => '&',
        Verdict::Inconclusive => '~',
    }
}
