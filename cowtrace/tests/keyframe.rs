//! A part of a recording that begins with a keyframe is judged as it is judged within the whole.

use std::{fs, path::Path};

use cowtrace::{
    decode::Records, facts::key, finding::Finding, source::recording::Recording, trace::Trace,
};

/// The records of a recording, each with its bytes.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let mut recording = Recording::open(path).expect("a recording");
    let mut records = Vec::new();
    while let Some(batch) = recording.batch() {
        let mut rest = batch.as_slice();
        while let Some(len) = rest.first_chunk().map(|len| u32::from_le_bytes(*len) as usize) {
            let (record, behind) = rest.split_at(len);
            records.push(record.to_vec());
            rest = behind;
        }
    }
    records
}

fn fold(trace: &mut Trace, bytes: &[u8]) {
    for event in Records::new(bytes) {
        trace.take(event);
    }
}

/// Of what a finding says all that does not depend on how many there were before.
fn says(finding: &Finding) -> String {
    let pin = finding.pin.as_ref().map(|pin| (pin.id, pin.call, pin.place(), pin.holder.tid));
    let cause = finding.cause.as_ref().map(|cause| (cause.kind, cause.time, cause.others));
    format!(
        "{:?} {:?} {} {:#x}+{} {:#x}->{:#x} at {} by {} {pin:?} {cause:?} {:?} {:?} {:?} {:?}",
        finding.verdict,
        finding.how,
        finding.reason,
        finding.address,
        finding.pages,
        finding.old_pfn,
        finding.new_pfn,
        finding.broken_at,
        finding.writer.tid,
        finding.proof,
        finding.unpinned,
        finding.reference,
        finding.reach,
    )
}

/// What a trace has come to since it had so many findings.
fn since(trace: &Trace, findings: usize) -> (Vec<String>, u64, usize, u64, Vec<String>) {
    let ledger = &trace.ledger;
    let said = trace.findings[findings..].iter().map(says).collect();
    (said, ledger.live_pages(), ledger.live_pins(), trace.lost(), trace.unseen())
}

#[test]
fn wherever_a_recording_is_cut_a_keyframe_stands_for_all_before() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut cuts = 0;
    for file in fs::read_dir(folder).expect("the recordings").flatten() {
        if file.path().extension().is_none_or(|extension| extension != "cow") {
            continue;
        }
        let (name, records) = (file.file_name(), records(&file.path()));
        let mut whole = Trace::default();
        for (at, record) in records.iter().enumerate() {
            fold(&mut whole, record);
            // A prime: the cuts fall on each sort of record.
            let here = at % 7 == 0 && whole.is_settled();
            if !here || whole.facts.text(key::STARTED).is_none() {
                continue;
            }
            cuts += 1;
            let (mut part, mut rest) = (Trace::default(), whole.clone());
            fold(&mut part, &whole.keyframe());
            let (of_part, of_whole) = (part.findings.len(), whole.findings.len());
            for record in &records[at + 1..] {
                fold(&mut part, record);
                fold(&mut rest, record);
            }
            let (part, rest) = (since(&part, of_part), since(&rest, of_whole));
            assert_eq!(part, rest, "{name:?} cut behind record {at} of {}", records.len());
        }
    }
    assert!(cuts > 200, "{cuts}");
}

#[test]
fn a_keyframe_of_a_part_that_only_began_is_the_one_that_it_began_with() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let records = records(&folder.join("mprotect-5.10.cow"));
    let mut whole = Trace::default();
    let mut records = records.iter();
    while whole.findings.len() < 2 {
        fold(&mut whole, records.next().expect("there are findings while the pin lives"));
    }
    let mut part = Trace::default();
    fold(&mut part, &whole.keyframe());
    let mut again = Trace::default();
    fold(&mut again, &part.keyframe());
    assert!(part.ledger.live_pins() > 0 && !part.findings.is_empty());
    assert_eq!(again.keyframe(), part.keyframe());
    let said = |trace: &Trace| trace.findings.iter().map(says).collect::<Vec<_>>();
    assert_eq!(said(&again), said(&part));
}
