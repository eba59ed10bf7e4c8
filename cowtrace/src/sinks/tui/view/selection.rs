//! The selected finding: by its number, so that it stays selected whatever is listed around it.

use crate::{finding::Finding, sinks::tui::keys::Motion};

/// Which finding is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Whichever is the newest.
    Newest,
    /// The one with this number; the newest while that one is not listed.
    Finding(usize),
}

impl Selection {
    /// Its index among those listed.
    pub fn index(self, listed: &[&Finding]) -> Option<usize> {
        let last = listed.len().checked_sub(1)?;
        match self {
            Self::Newest => Some(last),
            // They are in the order of their numbers.
            Self::Finding(id) => {
                Some(listed.binary_search_by_key(&id, |finding| finding.id).unwrap_or(last))
            }
        }
    }

    /// The selection after a motion. Moving on to the end follows what comes; moving back stays.
    pub fn moved(self, motion: Motion, rows: usize, listed: &[&Finding]) -> Self {
        let Some(at) = self.index(listed) else {
            return self;
        };
        let page = rows.max(1);
        let to = match motion {
            Motion::Up => at.saturating_sub(1),
            Motion::PageUp => at.saturating_sub(page),
            Motion::First => 0,
            Motion::Down => at + 1,
            Motion::PageDown => at + page,
            Motion::Last => listed.len(),
        };
        let onward = matches!(motion, Motion::Down | Motion::PageDown | Motion::Last);
        if onward && to + 1 >= listed.len() {
            return Self::Newest;
        }
        Self::Finding(listed[to.min(listed.len() - 1)].id)
    }
}
