//! The user's terminal, ours while a [`Screen`] lives.

use std::{io, mem};

use anyhow::{Context, Result};
use crossterm::{
    clipboard::CopyToClipboard,
    event::{DisableMouseCapture, EnableMouseCapture},
    execute,
};
use ratatui::{
    DefaultTerminal, Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, layout::Rect,
};

use super::{
    draw::draw,
    palette::Palette,
    view::{Drawn, View},
};
use crate::trace::Trace;

/// What a terminal has that does not tell its size.
const USUAL: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };

/// Alternate screen and raw mode. Dropping it gives the terminal back; a panic does so too, before
/// it prints its message where that can be read.
pub struct Screen {
    /// There until it is dropped.
    terminal: Option<DefaultTerminal>,
}

impl Screen {
    /// Takes the terminal.
    pub fn enter(mouse: bool) -> Result<Self> {
        // Also puts its restoring in front of the panic hook that is there.
        let taken = ratatui::try_init().and_then(sized);
        if taken.is_err() {
            ratatui::restore(); // Raw mode may be on already.
        }
        let terminal = taken.context("taking the terminal (`cowtrace stream` needs none)")?;
        if mouse {
            execute!(io::stdout(), EnableMouseCapture).context("asking for the mouse")?;
        }
        Ok(Self { terminal: Some(terminal) })
    }

    /// Shows the state; how much of it there was room for.
    pub fn draw(&mut self, view: &View, trace: &Trace, palette: Palette) -> Result<Drawn> {
        let mut drawn = Drawn::default();
        if let Some(terminal) = &mut self.terminal {
            terminal
                .draw(|frame| drawn = draw(frame, view, trace, palette))
                .context("drawing on the terminal")?;
        }
        Ok(drawn)
    }

    /// Gives a text to the terminal's clipboard, also of one at the other end of ssh.
    pub fn copy(&mut self, text: &str) -> Result<()> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        let copy = CopyToClipboard::to_clipboard_from(text);
        execute!(terminal.backend_mut(), copy).context("writing to the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), DisableMouseCapture);
        // Where the terminal has gone, and standard error with it, `restore` panics, and so does ratatui's own drop.
        let _ = ratatui::try_restore();
        if let Some(mut terminal) = self.terminal.take()
            && terminal.show_cursor().is_err()
        {
            mem::forget(terminal);
        }
    }
}

/// The same terminal. A serial console says that it has no rows and no columns, and would stay blank.
fn sized(terminal: DefaultTerminal) -> io::Result<DefaultTerminal> {
    if terminal.size()?.area() != 0 {
        return Ok(terminal);
    }
    let options = TerminalOptions { viewport: Viewport::Fixed(USUAL) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?;
    terminal.clear()?;
    Ok(terminal)
}
