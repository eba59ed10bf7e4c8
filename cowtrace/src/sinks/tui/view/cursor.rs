//! The selected row: by its key, so that it stays selected whatever comes and goes around it.

use crate::sinks::tui::keys::Motion;

/// Which row is selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cursor {
    /// The one that matters most: the newest of rows in the order of time, else the first.
    #[default]
    Home,
    /// The one with this key; if it is gone, the one that stands in its place.
    At {
        /// The key.
        key: u64,
        /// Where it stood when it was chosen.
        index: usize,
    },
}

/// Where [`Cursor::Home`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The first row.
    Top,
    /// The last row.
    Bottom,
}

impl Cursor {
    /// Its index among rows with these keys.
    pub fn index(self, keys: &[u64], home: Home) -> Option<usize> {
        let last = keys.len().checked_sub(1)?;
        Some(match (self, home) {
            (Self::Home, Home::Top) => 0,
            (Self::Home, Home::Bottom) => last,
            (Self::At { key, index }, _) => {
                keys.iter().position(|other| *other == key).unwrap_or(index.min(last))
            }
        })
    }

    /// On a row.
    pub fn on(keys: &[u64], index: usize) -> Self {
        keys.get(index).map_or(Self::Home, |key| Self::At { key: *key, index })
    }

    /// After a motion. Moving on to where new rows come stays with the newest.
    pub fn moved(self, motion: Motion, page: usize, keys: &[u64], home: Home) -> Self {
        let Some(at) = self.index(keys, home) else {
            return self;
        };
        let page = page.max(1);
        let to = match motion {
            Motion::Up => at.saturating_sub(1),
            Motion::PageUp => at.saturating_sub(page),
            Motion::First => 0,
            Motion::Down => at + 1,
            Motion::PageDown => at + page,
            Motion::Last => keys.len(),
        };
        let onward = matches!(motion, Motion::Down | Motion::PageDown | Motion::Last);
        let home_again = match home {
            Home::Bottom => onward && to + 1 >= keys.len(),
            Home::Top => motion == Motion::First,
        };
        if home_again { Self::Home } else { Self::on(keys, to.min(keys.len() - 1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stays_selected_while_others_come_and_go_around_it() {
        let cursor = Cursor::on(&[10, 20, 30], 1);
        assert_eq!(cursor.index(&[5, 10, 20, 30], Home::Top), Some(2));
        assert_eq!(cursor.index(&[20], Home::Bottom), Some(0));
    }

    #[test]
    fn a_row_that_is_gone_leaves_its_place_to_the_next() {
        let cursor = Cursor::on(&[10, 20, 30], 1);
        assert_eq!(cursor.index(&[10, 30, 40], Home::Top), Some(1));
        assert_eq!(cursor.index(&[10], Home::Top), Some(0));
        assert_eq!(cursor.index(&[], Home::Top), None);
    }

    #[test]
    fn the_end_of_rows_by_time_follows_what_comes_and_the_first_of_others_stays_the_first() {
        let keys = [10, 20, 30];
        let up = Cursor::Home.moved(Motion::Up, 9, &keys, Home::Bottom);
        assert_eq!(up, Cursor::At { key: 20, index: 1 });
        assert_eq!(up.moved(Motion::Down, 9, &keys, Home::Bottom), Cursor::Home);
        let last = Cursor::Home.moved(Motion::Last, 9, &keys, Home::Top);
        assert_eq!(last, Cursor::At { key: 30, index: 2 });
        assert_eq!(last.moved(Motion::First, 9, &keys, Home::Top), Cursor::Home);
    }
}
