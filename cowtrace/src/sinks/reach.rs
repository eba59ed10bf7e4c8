//! In words: which device finds a page, and where.

use super::text;
use crate::{
    event::{Api, Pfn},
    finding::Finding,
    ledger::PinRecord,
    reach::{Reach, ReachState},
    trace::Trace,
};

/// The device, or what is known of it.
pub fn who(device: &str, api: Api) -> String {
    match (device, api) {
        ("", Api::Iommu) => "a device that was attached before the trace began".to_owned(),
        ("", Api::Dma) => "a device without a name".to_owned(),
        (names, Api::Iommu) if names.contains(", ") => format!("devices {names}"),
        (name, _) => format!("device {name}"),
    }
}

/// A sentence for each device that reaches the old page of a finding, or that this is not known.
pub fn lines(trace: &Trace, finding: &Finding) -> Vec<String> {
    if trace.misses_reach_of(finding) {
        let lost = trace.lost_of_devices();
        return vec![format!(
            "whether a device maps PFN {:#x} is not known: {lost} records of mappings were lost",
            finding.old_pfn
        )];
    }
    let each = finding.reach.iter().map(|reach| sentence(trace, reach, finding.old_pfn));
    each.collect()
}

/// The same behind a line.
pub fn behind(trace: &Trace, finding: &Finding) -> String {
    let lines = lines(trace, finding);
    lines.iter().fold(String::new(), |text, line| text + "; " + line)
}

fn sentence(trace: &Trace, reach: &Reach, pfn: Pfn) -> String {
    let (who, iova) = (who(&reach.device, reach.api), reach.iova);
    let since = text::clock(trace, reach.since);
    let since = since.trim_start();
    match reach.state {
        ReachState::Live => {
            format!("{who} still maps IOVA {iova:#x} to PFN {pfn:#x}, since {since}")
        }
        ReachState::Ended(time) => {
            let until = text::clock(trace, time);
            let until = until.trim_start();
            format!("{who} mapped IOVA {iova:#x} to PFN {pfn:#x} from {since} to {until}")
        }
        ReachState::Unknown => format!(
            "{who} mapped IOVA {iova:#x} to PFN {pfn:#x} at {since}; whether it still does is not known: records of \
             unmaps were lost"
        ),
    }
}

/// What devices reach of a pin, from its first page on.
pub fn of_pin(trace: &Trace, pin: &PinRecord) -> Vec<String> {
    let each = |reach: Reach| {
        let pages = trace.pages_reached(pin, &reach).max(1);
        let end = reach.iova.saturating_add(pages << 12);
        let doubt = if reach.state == ReachState::Unknown { " (or did)" } else { "" };
        let who = who(&reach.device, reach.api);
        format!(
            "{who} finds {} at IOVA {:#x}-{end:#x}{doubt}",
            super::count(pages, "page"),
            reach.iova
        )
    };
    trace.reach_of(pin).into_iter().map(each).collect()
}
