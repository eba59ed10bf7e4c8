//! The user's terminal, ours while a [`Screen`] lives.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    mem,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context, Result};
use crossterm::{
    clipboard::CopyToClipboard,
    event::{DisableMouseCapture, EnableMouseCapture},
    execute,
};
use ratatui::{
    DefaultTerminal, Terminal, TerminalOptions, Viewport,
    backend::{Backend as _, CrosstermBackend},
    layout::Rect,
};
use tokio::io::unix::AsyncFd;

use super::{
    draw::draw,
    palette::Palette,
    view::{Drawn, View},
};
use crate::{sys, trace::Trace};

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

/// The line to the terminal, to learn that it is gone: SIGHUP says so only to the leader of the session, and crossterm,
/// which finds nothing to read then, asks again and again (crossterm#793).
pub struct Line(AsyncFd<OwnedFd>);

impl Line {
    /// The one that keys come from.
    pub fn open() -> Result<Self> {
        let stdin = io::stdin();
        let line = if stdin.is_terminal() {
            stdin.as_fd().try_clone_to_owned()
        } else {
            File::open("/dev/tty").map(OwnedFd::from)
        };
        line.and_then(sys::async_fd).map(Self).context("watching the terminal")
    }

    /// Waits until it is gone. Safe to cancel.
    pub async fn gone(&self) {
        while let Ok(mut ready) = self.0.readable().await
            && !ready.ready().is_read_closed()
        {
            ready.clear_ready(); // A key, which is not for us.
        }
    }
}

/// Whether it failed because there is no terminal any more.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.raw_os_error() == Some(libc::EIO))
}

/// The same terminal. A serial console says that it has no rows and no columns, and would stay blank.
fn sized(terminal: DefaultTerminal) -> io::Result<DefaultTerminal> {
    if terminal.size()?.area() != 0 {
        return Ok(terminal);
    }
    let options = TerminalOptions { viewport: Viewport::Fixed(USUAL) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?;
    // `Terminal::clear` first asks where the cursor is, which not every end of a serial line answers.
    terminal.backend_mut().clear()?;
    Ok(terminal)
}
