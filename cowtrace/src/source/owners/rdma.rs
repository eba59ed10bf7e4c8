//! Memory regions of RDMA devices, as `rdma resource show mr` lists them.
//!
//! The kernel tells of each who registered it and how long it is, but not where it begins (`fill_res_mr_entry`). Numbers go
//! up as regions are registered, so that regions alike are told apart by their order.

use std::path::Path;

use super::{
    candidate::{Candidate, Span},
    netlink,
};

/// Without it nobody asks: opening the socket would load the module.
const CLASS: &str = "/sys/class/infiniband";

/// `RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_GET)`, and `..._RES_MR_GET`.
const DEVICES: u16 = (5 << 10) + 1;
const REGIONS: u16 = (5 << 10) + 13;

/// Attributes: `RDMA_NLDEV_ATTR_...`
mod attr {
    pub const DEV_INDEX: u16 = 1;
    pub const DEV_NAME: u16 = 2;
    pub const RES_PID: u16 = 28;
    pub const RES_MR: u16 = 40;
    pub const RES_MR_ENTRY: u16 = 41;
    pub const RES_MRLEN: u16 = 45;
    pub const RES_PDN: u16 = 60;
    pub const RES_MRN: u16 = 62;
}

/// The memory regions that tasks of these numbers have registered; of no number: all.
pub fn candidates(tasks: &[u32]) -> Vec<Candidate> {
    if !Path::new(CLASS).exists() {
        return Vec::new();
    }
    let found = netlink::list(netlink::RDMA, DEVICES, &[]).unwrap_or_default();
    let of_device = |(index, name): (u32, String)| {
        let question = netlink::attribute(attr::DEV_INDEX, index);
        let found = netlink::list(netlink::RDMA, REGIONS, &question).unwrap_or_default();
        regions(&found, index, &name, tasks)
    };
    devices(&found).into_iter().flat_map(of_device).collect()
}

fn devices(list: &[u8]) -> Vec<(u32, String)> {
    let device = |(_, body)| {
        let index = value(body, attr::DEV_INDEX).and_then(netlink::number)?;
        let name = value(body, attr::DEV_NAME)?;
        Some((index, String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()))
    };
    netlink::messages(list).filter_map(device).collect()
}

fn regions(list: &[u8], device: u32, name: &str, tasks: &[u32]) -> Vec<Candidate> {
    let tables = netlink::messages(list).filter_map(|(_, body)| value(body, attr::RES_MR));
    let entries = tables.flat_map(netlink::attributes);
    let entries = entries.filter(|(kind, _)| *kind == attr::RES_MR_ENTRY);
    entries.filter_map(|(_, entry)| region(entry, device, name, tasks)).collect()
}

fn region(entry: &[u8], device: u32, name: &str, tasks: &[u32]) -> Option<Candidate> {
    let number = |kind| value(entry, kind).and_then(netlink::number);
    // The kernel's own have none.
    let pid = number(attr::RES_PID)?;
    if !tasks.is_empty() && !tasks.contains(&pid) {
        return None;
    }
    let bytes = value(entry, attr::RES_MRLEN).and_then(netlink::long)?;
    let region = number(attr::RES_MRN)?;
    let domain = number(attr::RES_PDN).map_or_else(String::new, |pd| format!(", PD {pd}"));
    Some(Candidate {
        name: format!("memory region {region} of {name} ({bytes} bytes{domain})"),
        scope: 0,
        span: Span::Bytes(bytes),
        order: Some((device.into(), region.into())),
        is_whole: true,
    })
}

/// The first attribute of a kind.
fn value(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    netlink::attributes(bytes).find(|(other, _)| *other == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::{
        netlink::tests::{around, message},
        *,
    };

    fn entry(pid: u32, number: u32, bytes: u64) -> Vec<u8> {
        let entry = [
            around(attr::RES_MRLEN, &bytes.to_le_bytes()),
            netlink::attribute(attr::RES_MRN, number),
            netlink::attribute(attr::RES_PDN, 4),
            netlink::attribute(attr::RES_PID, pid),
        ];
        around(attr::RES_MR_ENTRY, &entry.concat())
    }

    #[test]
    fn regions_are_those_of_the_process_in_the_order_of_their_numbers() {
        let table = [entry(7, 3, 4096), entry(8, 4, 4096), entry(7, 9, 100)].concat();
        let list = message(REGIONS, &around(attr::RES_MR, &table));
        let found = regions(&list, 1, "rxe0", &[7]);
        let names: Vec<_> = found.iter().map(|one| &*one.name).collect();
        assert_eq!(
            names,
            [
                "memory region 3 of rxe0 (4096 bytes, PD 4)",
                "memory region 9 of rxe0 (100 bytes, PD 4)"
            ]
        );
        assert!(found[0].order < found[1].order);
        assert_eq!(regions(&list, 1, "rxe0", &[]).len(), 3, "everybody's");
    }

    #[test]
    fn devices_have_names() {
        let body = [netlink::attribute(attr::DEV_INDEX, 2), around(attr::DEV_NAME, b"rxe0\0")];
        let list = [message(DEVICES, &body.concat()), message(DEVICES, b"nonsense")].concat();
        assert_eq!(devices(&list), [(2, "rxe0".to_owned())]);
    }
}
