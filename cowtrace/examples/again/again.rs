//! The records of a recording, told again and again, each time later: as many as are wanted, of real ones.

use cowtrace::{decode::Records, event::Time, source::recording::Recording};

/// Where `time_ns` stands in a record.
const TIME: std::ops::Range<usize> = 8..16;

/// A recording's records.
#[derive(Debug)]
pub struct Again {
    /// The source's own.
    pub front: Vec<u8>,
    /// How many the kernel wrote.
    pub records: u64,
    rest: Vec<u8>,
    /// Nanoseconds from one telling to the next.
    length: Time,
}

impl Again {
    /// Those of a recording.
    pub fn new(recording: &mut Recording) -> Self {
        let (mut front, mut rest) = (Vec::new(), Vec::new());
        let mut times: Vec<Time> = Vec::new();
        while let Some(batch) = recording.batch() {
            let mut records = Records::new(&batch);
            loop {
                let before = records.rest();
                let Some(event) = records.next() else { break };
                let record = &before[..before.len() - records.rest().len()];
                match event.ok().filter(|event| event.what.name().is_some()) {
                    Some(event) => {
                        times.push(event.time);
                        rest.extend_from_slice(record);
                    }
                    None => front.extend_from_slice(record),
                }
            }
        }
        let (first, last) = (times.iter().min(), times.iter().max());
        let length = last.zip(first).map_or(0, |(last, first)| last - first) + 1_000_000;
        Self { front, records: times.len() as u64, rest, length }
    }

    /// Appends the kernel's records as they would be the `n`th time.
    pub fn tell(&self, n: u64, batch: &mut Vec<u8>) {
        let mut rest = &self.rest[..];
        while let Some(len) = rest.first_chunk().map(|len| u32::from_le_bytes(*len) as usize) {
            let (record, behind) = rest.split_at(len);
            let time = record[TIME].iter().rev().fold(0, |time, byte| time << 8 | u64::from(*byte));
            batch.extend_from_slice(&record[..TIME.start]);
            batch.extend_from_slice(&(time + n * self.length).to_le_bytes());
            batch.extend_from_slice(&record[TIME.end..]);
            rest = behind;
        }
    }
}
