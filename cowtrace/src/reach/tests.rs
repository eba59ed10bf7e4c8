use expect_test::{Expect, expect};

use super::*;

const DOMAIN: u64 = 0xd0;

fn map(api: Api, iova: u64, pfn: Pfn, pages: u64) -> DeviceMap {
    let device = if api == Api::Dma { "nvme" } else { "" }.into();
    let (physical, bytes) = (pfn << 12, pages << 12);
    DeviceMap { space: DOMAIN, iova, physical, bytes, api, doubtful: false, device }
}

fn unmap(api: Api, iova: u64, pages: u64) -> DeviceUnmap {
    DeviceUnmap { space: DOMAIN, iova, bytes: pages << 12, api }
}

/// What a page is reached by.
fn check(reaches: &Reaches, pfn: Pfn, expected: &Expect) {
    let of = |reach: Reach| format!("{} {:#x} {}", reach.device, reach.iova, reach.state.name());
    let all: Vec<_> = reaches.of(pfn).into_iter().map(of).collect();
    expected.assert_eq(&all.join("\n"));
}

fn with_device() -> Reaches {
    let mut reaches = Reaches::default();
    reaches.attach(&Attached { device: 1, space: DOMAIN, name: "0000:00:03.0".into() }, 1);
    reaches
}

#[test]
fn a_page_in_the_middle_of_a_mapping_is_found_as_far_behind_its_beginning() {
    let mut reaches = with_device();
    reaches.map(&map(Api::Iommu, 0x10_0000, 0x40, 0x1000), 5);
    check(&reaches, 0x3f, &expect![[""]]);
    check(&reaches, 0x42, &expect![["0000:00:03.0 0x102000 live"]]);
    check(&reaches, 0x103f, &expect![["0000:00:03.0 0x10ff000 live"]]);
}

#[test]
fn an_unmap_inside_a_mapping_leaves_what_is_left_and_right_of_it() {
    let mut reaches = with_device();
    reaches.map(&map(Api::Iommu, 0x10_0000, 0x40, 8), 5);
    let ended = reaches.unmap(&unmap(Api::Iommu, 0x10_2000, 3));
    assert_eq!(ended.iter().map(DeviceMap::pfns).collect::<Vec<_>>(), [(0x42, 0x45)]);
    check(&reaches, 0x41, &expect![["0000:00:03.0 0x101000 live"]]);
    check(&reaches, 0x42, &expect![[""]]);
    check(&reaches, 0x45, &expect![["0000:00:03.0 0x105000 live"]]);
}

#[test]
fn what_was_mapped_twice_at_one_address_is_reached_until_both_have_ended() {
    let mut reaches = Reaches::default();
    let (same, once) = (map(Api::Dma, 0x4_0000, 0x40, 1), unmap(Api::Dma, 0x4_0000, 1));
    reaches.map(&same, 5);
    reaches.map(&same, 6);
    assert!(reaches.unmap(&once).is_empty());
    check(&reaches, 0x40, &expect![["nvme 0x40000 live"]]);
    assert_eq!(reaches.unmap(&once).len(), 1);
    check(&reaches, 0x40, &expect![[""]]);
}

#[test]
fn a_domain_that_goes_takes_all_its_mappings_along_and_no_others() {
    let mut reaches = with_device();
    reaches.map(&map(Api::Iommu, 0x10_0000, 0x40, 1), 5);
    reaches.map(&map(Api::Iommu, 0, 0x50, 1), 5);
    reaches.map(&DeviceMap { space: 0xe0, ..map(Api::Iommu, 0, 0x40, 1) }, 6);
    let all = DeviceUnmap { bytes: u64::MAX, ..unmap(Api::Iommu, 0, 0) };
    assert_eq!(reaches.unmap(&all).len(), 2);
    check(&reaches, 0x40, &expect![[" 0x0 live"]]);
}

#[test]
fn a_mapping_over_another_one_says_that_its_end_was_lost() {
    let mut reaches = with_device();
    reaches.map(&map(Api::Iommu, 0x10_0000, 0x40, 2), 5);
    reaches.map(&map(Api::Iommu, 0x10_1000, 0x90, 1), 6);
    check(&reaches, 0x40, &expect![["0000:00:03.0 0x100000 live"]]);
    check(&reaches, 0x41, &expect![[""]]);
    check(&reaches, 0x90, &expect![["0000:00:03.0 0x101000 live"]]);
}

#[test]
fn after_a_loss_nothing_that_was_mapped_before_is_sure_to_be() {
    let mut reaches = with_device();
    reaches.map(&map(Api::Iommu, 0x10_0000, 0x40, 1), 5);
    reaches.doubt();
    reaches.map(&map(Api::Iommu, 0x20_0000, 0x50, 1), 6);
    check(&reaches, 0x40, &expect![["0000:00:03.0 0x100000 unknown"]]);
    check(&reaches, 0x50, &expect![["0000:00:03.0 0x200000 live"]]);
}

#[test]
fn a_domain_is_left_when_its_last_device_is_attached_to_another() {
    let mut reaches = with_device();
    reaches.map(&map(Api::Iommu, 0x10_0000, 0x40, 1), 5);
    let attached = |device, space| Attached { device, space, name: "0000:00:04.0".into() };
    assert_eq!(reaches.attach(&attached(2, DOMAIN), 6), None);
    check(&reaches, 0x40, &expect![["0000:00:03.0, 0000:00:04.0 0x100000 live"]]);
    assert_eq!(reaches.attach(&attached(2, 0xe0), 7), None);
    assert_eq!(reaches.attach(&attached(1, 0xe0), 8), Some(DOMAIN));
    check(&reaches, 0x40, &expect![[""]]);
    assert!(reaches.maps().is_empty());
    reaches.attach(&attached(1, DOMAIN), 9);
    check(&reaches, 0x40, &expect![["0000:00:04.0 0x100000 live"]]);
    assert_eq!(reaches.of(0x40)[0].since, 9);
}

#[test]
fn what_is_told_of_a_keyframe_is_the_same_again() {
    let mut reaches = Reaches::default();
    reaches.map(&map(Api::Dma, 0x4_0000, 0x40, 1), 5);
    reaches.map(&map(Api::Dma, 0x4_0000, 0x40, 1), 6);
    let mut again = Reaches::default();
    reaches.maps().iter().for_each(|(time, map)| again.map(map, *time));
    assert_eq!((again.maps(), again.of(0x40)), (reaches.maps(), reaches.of(0x40)));
}
