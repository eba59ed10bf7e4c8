//! Another NUMA node than the one where the pages are.

use std::fs;

use anyhow::Context as _;

use crate::{
    provoke::{pages::Pages, skipped::skipped},
    sys,
};

/// Asks the kernel to move the measured pages. It refuses for those that are pinned, page by page.
pub(super) fn move_to_another_node(pages: &Pages) -> anyhow::Result<()> {
    let online = fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
    let (mapping, offsets) = (pages.mapping(), pages.offsets());
    let here = sys::nodes_of(mapping, offsets).context("cannot ask for the pages' node")?;
    let other = nodes(&online).find(|node| here.first() != Some(&node.cast_signed()));
    let other = other.ok_or_else(|| skipped("there is one NUMA node only"))?;
    sys::move_pages(mapping, offsets, other).map(|_| ()).context("cannot move the pages")
}

/// `0-1,3` in numbers.
fn nodes(list: &str) -> impl Iterator<Item = u32> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(from.parse().ok()?..=to.parse().ok()?)
    });
    ranges.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_is_of_numbers_and_ranges() {
        assert_eq!(nodes("0-1,3\n").collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(nodes("0").collect::<Vec<_>>(), [0]);
        assert_eq!(nodes("").count(), 0);
    }
}
