//! The records of some processes as a recording of their own: small enough to send.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use super::{Run, dated, part::Part};
use crate::{
    decode::Records,
    encode::Writer,
    errors,
    event::{Event, Mm, What},
    facts::key,
    source::Batch,
};

/// Writes what a recording has of some processes into a file of the working folder; its path.
pub fn extract(from: &Run, processes: &BTreeSet<u32>) -> anyhow::Result<PathBuf> {
    let path = dated("cowtrace-part");
    extract_to(&path, from, processes)?;
    Ok(path)
}

/// The same into a file that is named.
///
/// Kept are the source's own records, those of the processes, those of others that are about their address spaces,
/// and all unpins: a worker may release what the processes pinned.
pub(super) fn extract_to(to: &Path, from: &Run, processes: &BTreeSet<u32>) -> anyhow::Result<()> {
    let mut recording = from.open()?;
    let mut part = Part::create(to).map_err(|error| errors::recording_create(to, &error))?;
    let mut mms = HashSet::new();
    let mut is_first = true;
    while let Some(batch) = recording.batch() {
        let mut bytes = Batch::new();
        let mut records = Records::new(&batch);
        loop {
            let before = records.rest();
            let Some(event) = records.next() else { break };
            let record = &before[..before.len() - records.rest().len()];
            if event.is_ok_and(|event| is_wanted(&event, processes, &mut mms)) {
                bytes.extend_from_slice(record);
            }
        }
        if std::mem::take(&mut is_first) {
            only(&batch, processes, &mut bytes);
        }
        part.add(&bytes).map_err(|error| errors::recording_write(to, &error))?;
    }
    part.end().map_err(|error| errors::recording_write(to, &error))?;
    Ok(())
}

fn is_wanted(event: &Event, processes: &BTreeSet<u32>, mms: &mut HashSet<Mm>) -> bool {
    // Who ends what others began may be anybody.
    let is_of_all = |what: &What| {
        use What::{Attached, DeviceMap, DeviceUnmap, Unpin};
        matches!(what, Unpin(_) | DeviceMap(_) | DeviceUnmap(_) | Attached(_))
    };
    if event.what.name().is_none() || is_of_all(&event.what) {
        return true;
    }
    let mm = mm(&event.what);
    if processes.contains(&event.task.tgid) {
        mms.extend(mm);
        return true;
    }
    mm.is_some_and(|mm| mms.contains(&mm))
}

/// The address space that an event is about.
fn mm(what: &What) -> Option<Mm> {
    Some(match what {
        What::Fault(fault) => fault.mm,
        What::Pin(pin) | What::PinRest(pin) => pin.mm,
        What::Invalidate(range) => range.mm,
        What::Protect(protect) => protect.mm,
        What::Zap(zap) => zap.mm,
        What::Move { mm, .. }
        | What::Refault { mm, .. }
        | What::Io { mm, .. }
        | What::MmExit { mm } => *mm,
        What::Holder(holder) => holder.mm,
        What::Fork { parent_mm, .. } => *parent_mm,
        What::ForkCopy(copy) => copy.parent_mm,
        What::FileRange(range) => range.mm,
        What::Notifier(notifier) | What::NotifierGone(notifier) => notifier.mm,
        What::Secondary(all) => all.mm,
        _ => return None,
    })
}

/// Tells which processes it is limited to, beside what the trace itself was limited to.
fn only(batch: &[u8], processes: &BTreeSet<u32>, bytes: &mut Batch) {
    let events = || Records::new(batch).filter_map(Result::ok);
    let time = events().next().map_or(0, |event| event.time);
    let before = events().find_map(|event| match event.what {
        What::Fact { key, value } if key == key::FILTER => Some(value),
        _ => None,
    });
    let numbers: Vec<String> = processes.iter().map(u32::to_string).collect();
    let only = format!("what was saved of process {}", numbers.join(", "));
    let text = before.map_or_else(|| only.clone(), |before| format!("{before}, of that {only}"));
    Writer::new(bytes, time).fact(key::FILTER, &text);
}
