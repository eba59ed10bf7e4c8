//! How things look. Only the 16 ANSI colours and modifiers unless the user asks for others, so that the terminal's
//! own theme decides what red is; and whatever a colour says, a symbol or a word says too.

use ratatui::style::{Color, Modifier, Style};

use crate::finding::Verdict;

/// A title, a name, a key.
pub const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// Labels and rules: there when looked for.
// DIM and not dark grey, which some themes draw as the background.
pub const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
/// The selected row.
pub const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Styles by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    colours: bool,
    alarm: Style,
    warning: Style,
    good: Style,
    verdicts: [Style; Verdict::ALL.len()],
}

impl Palette {
    /// With colours or with modifiers alone.
    pub fn new(colours: bool) -> Self {
        let colour = |colour| if colours { Style::new().fg(colour) } else { Style::new() };
        let alarm = colour(Color::Red).add_modifier(Modifier::BOLD);
        let verdict = |verdict| match verdict {
            Verdict::Lost => alarm,
            Verdict::Diverged | Verdict::RangeInvalidated => colour(Color::Red),
            Verdict::StaleRead | Verdict::Snapshot | Verdict::Armed => colour(Color::Yellow),
            Verdict::Suspect => colour(Color::Magenta),
            Verdict::SuspectGet => colour(Color::Blue),
            Verdict::Inconclusive => colour(Color::Cyan),
        };
        Self {
            colours,
            alarm,
            warning: colour(Color::Yellow).add_modifier(Modifier::BOLD),
            good: colour(Color::Green),
            verdicts: Verdict::ALL.map(verdict),
        }
    }

    /// A verdict, by how bad it is.
    pub fn verdict(&self, verdict: Verdict) -> Style {
        let place = Verdict::ALL.iter().position(|other| *other == verdict);
        place.map_or(Style::new(), |place| self.verdicts[place])
    }

    /// What the user has to know first.
    pub fn alarm(&self) -> Style {
        self.alarm
    }

    /// What the user should know.
    pub fn warning(&self) -> Style {
        self.warning
    }

    /// As it should be.
    pub fn good(&self) -> Style {
        self.good
    }

    /// Gives something another style: `bold red`, `#ff8800 on black`.
    pub fn restyle(&mut self, what: &str, style: &str) -> Result<(), String> {
        let style = styled(style, self.colours)?;
        let verdicts = Verdict::ALL.iter().zip(&mut self.verdicts);
        let verdict = verdicts.into_iter().find(|(verdict, _)| verdict.name() == what);
        let place = match (what, verdict) {
            (_, Some((_, place))) => place,
            ("alarm", _) => &mut self.alarm,
            ("warning", _) => &mut self.warning,
            ("good", _) => &mut self.good,
            _ => {
                let names = Verdict::ALL.map(Verdict::name).join(", ");
                return Err(format!("\"{what}\" has no style: alarm, warning, good, {names} have"));
            }
        };
        *place = style;
        Ok(())
    }
}

/// A style in words: modifiers, a colour, `on` and a background.
fn styled(text: &str, colours: bool) -> Result<Style, String> {
    let (mut style, mut background) = (Style::new(), false);
    for word in text.split_whitespace() {
        let modifier = match word {
            "bold" => Modifier::BOLD,
            "dim" => Modifier::DIM,
            "italic" => Modifier::ITALIC,
            "underlined" => Modifier::UNDERLINED,
            "reversed" => Modifier::REVERSED,
            _ => Modifier::empty(),
        };
        if !modifier.is_empty() {
            style = style.add_modifier(modifier);
        } else if word == "on" {
            background = true;
        } else {
            let colour: Color = word.parse().map_err(|_| {
                format!("no colour \"{word}\": red, light-blue, 208 or #ff8800, behind bold, dim, italic, underlined or reversed")
            })?;
            style = match (colours, background) {
                (false, _) => style,
                (true, false) => style.fg(colour),
                (true, true) => style.bg(colour),
            };
        }
    }
    Ok(style)
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
