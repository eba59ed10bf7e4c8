//! The user's terminal, ours while a [`Screen`] lives.

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;

use super::{
    draw::draw,
    palette::Palette,
    view::{Drawn, View},
};
use crate::trace::Trace;

/// Alternate screen and raw mode. Dropping it gives the terminal back; a panic does so too, before
/// it prints its message where that can be read.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    pub fn enter() -> Result<Self> {
        // Also puts its restoring in front of the panic hook that is there.
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                ratatui::restore(); // Raw mode may be on already.
                Err(error).context("taking the terminal (`cowtrace stream` needs none)")
            }
        }
    }

    /// Shows the state; how much of it there was room for.
    pub fn draw(&mut self, view: &View, trace: &Trace, palette: Palette) -> Result<Drawn> {
        let mut drawn = Drawn::default();
        self.terminal
            .draw(|frame| drawn = draw(frame, view, trace, palette))
            .context("drawing on the terminal")?;
        Ok(drawn)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
