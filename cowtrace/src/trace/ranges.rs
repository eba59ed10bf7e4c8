//! Which finding is about which addresses of a call: of two about one address, the later.

use std::collections::BTreeMap;

/// Ranges that do not overlap, each with the number of a finding.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// By first address: first one behind, and the number.
    by_start: BTreeMap<u64, (u64, usize)>,
}

impl Ranges {
    /// From here on a range has this number.
    pub fn put(&mut self, (start, end): (u64, u64), number: usize) {
        self.cut(start);
        self.cut(end);
        let hidden: Vec<u64> = self.by_start.range(start..end.max(start)).map(first).collect();
        for start in hidden {
            self.by_start.remove(&start);
        }
        if start < end {
            self.by_start.insert(start, (end, number));
        }
    }

    /// What of a range has this number has none from here on.
    pub fn take(&mut self, (start, end): (u64, u64), number: usize) {
        let of_it = |(start, (_, of)): (&u64, &(u64, usize))| (*of == number).then_some(*start);
        let taken: Vec<u64> =
            self.by_start.range(start..end.max(start)).filter_map(of_it).collect();
        for start in taken {
            self.by_start.remove(&start);
        }
    }

    /// The number at an address.
    pub fn at(&self, address: u64) -> Option<usize> {
        let (_, (end, number)) = self.by_start.range(..=address).next_back()?;
        (address < *end).then_some(*number)
    }

    /// What overlaps a range, by address: first address, first one behind, number.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64, usize)> {
        let before = self.by_start.range(..start).next_back();
        let before = before.filter(move |(_, (until, _))| *until > start && start < end);
        let inside = self.by_start.range(start..end.max(start));
        before.into_iter().chain(inside).map(|(start, (end, number))| (*start, *end, *number))
    }

    /// All numbers, by address; one may be there more than once.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.by_start.values().map(|(_, number)| *number)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// Makes two of a range that an address lies within.
    fn cut(&mut self, address: u64) {
        if let Some((_, whole)) = self.by_start.range_mut(..address).next_back()
            && whole.0 > address
        {
            let (end, number) = *whole;
            whole.0 = address;
            self.by_start.insert(address, (end, number));
        }
    }
}

fn first<T>((start, _): (&u64, T)) -> u64 {
    *start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ranges: &Ranges) -> Vec<(u64, u64, usize)> {
        ranges.overlapping(0, u64::MAX).collect()
    }

    #[test]
    fn a_later_one_hides_what_it_covers_and_leaves_both_sides() {
        let mut ranges = Ranges::default();
        ranges.put((10, 50), 1);
        ranges.put((20, 30), 2);
        assert_eq!(all(&ranges), [(10, 20, 1), (20, 30, 2), (30, 50, 1)]);
        assert_eq!(
            [9, 10, 20, 29, 30, 50].map(|at| ranges.at(at)),
            [None, Some(1), Some(2), Some(2), Some(1), None]
        );
        ranges.put((15, 60), 3);
        assert_eq!(all(&ranges), [(10, 15, 1), (15, 60, 3)]);
    }

    #[test]
    fn what_overlaps_is_told_though_it_begins_before() {
        let mut ranges = Ranges::default();
        ranges.put((10, 20), 1);
        ranges.put((30, 40), 2);
        assert_eq!(ranges.overlapping(15, 31).map(|(.., n)| n).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(ranges.overlapping(20, 30).count(), 0);
        assert_eq!(ranges.overlapping(31, 15).count(), 0, "no range at all");
    }

    #[test]
    fn one_that_is_taken_leaves_what_others_have_hidden_of_it() {
        let mut ranges = Ranges::default();
        ranges.put((10, 50), 1);
        ranges.put((20, 30), 2);
        ranges.take((10, 50), 1);
        assert_eq!(all(&ranges), [(20, 30, 2)]);
        ranges.take((10, 50), 2);
        assert!(ranges.is_empty());
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_none() {
        let mut ranges = Ranges::default();
        ranges.put((10, 50), 1);
        ranges.put((40, 20), 2);
        assert_eq!(ranges.at(30), Some(1));
        assert!(ranges.numbers().all(|number| number == 1));
    }
}
