//! The user's terminal, lent to the guest and given back whatever happens.
//!
//! A small guard process waits on a pipe that we hold. When the pipe closes, be
//! it because we are done or because we were killed, it restores the terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// Restores the settings given as `$0`, and leaves the full-screen view unless a
/// line says that the guest's command ended by itself. It is in a process group
/// of its own, so that no Ctrl-C reaches it, and must not be stopped for setting
/// the terminal.
const GUARD: &str = r#"
trap '' TTOU HUP INT TERM
read -r _ || printf '\033[?1049l\033[?25h' >/dev/tty
stty "$0" </dev/tty
"#;

/// A terminal whose settings are known.
pub struct Terminal {
    settings: String,
}

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

impl Terminal {
    /// The terminal on our stdin.
    pub fn open() -> Result<Self> {
        ensure!(
            io::stdin().is_terminal() && io::stdout().is_terminal(),
            "-it needs a terminal, and stdin or stdout is none: leave -it out"
        );
        Ok(Self { settings: stty(&["-g"])? })
    }

    /// Hands every key to the guest until the value is dropped.
    pub fn raw(&self) -> Result<Raw> {
        let size = parse_size(&stty(&["size"])?);
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, &self.settings])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the terminal's guard")?;
        let held = guard.stdin.take();
        let raw = Raw { held, guard, size };
        stty(&["raw", "-echo"])?;
        Ok(raw)
    }
}

/// A terminal in raw mode.
pub struct Raw {
    held: Option<ChildStdin>,
    guard: Child,
    size: Size,
}

impl Raw {
    /// Gives the terminal back as the guest's command left its screen.
    pub fn give_back(mut self) {
        if let Some(guard) = &mut self.held {
            let _ = guard.write_all(b"\n");
        }
    }

    /// Its size when it was taken.
    pub fn size(&self) -> Size {
        self.size
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.held.take());
        let _ = self.guard.wait();
    }
}

fn stty(arguments: &[&str]) -> Result<String> {
    process::text(Command::new("stty").args(arguments).stdin(Stdio::inherit()))
}

/// `stty size` prints rows, then columns; a terminal that knows neither says 0.
fn parse_size(text: &str) -> Size {
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok().filter(|&n| n > 0));
    Size {
        rows: numbers.next().flatten().unwrap_or(24),
        columns: numbers.next().flatten().unwrap_or(80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_does_not_know_its_size_is_24_by_80() {
        assert_eq!(parse_size("50 132"), Size { rows: 50, columns: 132 });
        assert_eq!(parse_size("0 0"), Size { rows: 24, columns: 80 });
    }
}
