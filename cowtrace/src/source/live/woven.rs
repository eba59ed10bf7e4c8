//! What the source adds to records, each at its place among them.

use crate::{decode::Records, event::Event, source::Batch};

/// Copies a batch behind what is ready. `tell` is given each event, and writes to the first batch what has to be in
/// front of its record, to the second what belongs right behind it: pages that a pin could not list must be there
/// before the unpins that come with them.
pub fn weave(
    batch: &[u8],
    ready: &mut Batch,
    mut tell: impl FnMut(&Event, &mut Batch, &mut Batch),
) {
    let mut records = Records::new(batch);
    let (mut copied, mut behind) = (0, Batch::new());
    while let Some(event) = records.next() {
        let Ok(event) = event else { continue };
        tell(&event, ready, &mut behind);
        if !behind.is_empty() {
            let end = batch.len() - records.rest().len();
            ready.extend_from_slice(&batch[copied..end]);
            ready.append(&mut behind);
            copied = end;
        }
    }
    ready.extend_from_slice(&batch[copied..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encode::Writer, event::What};

    fn facts(batch: &[u8]) -> Vec<String> {
        let key = |event: Event| match event.what {
            What::Fact { key, .. } => key,
            other => panic!("no fact: {other:?}"),
        };
        Records::new(batch).flatten().map(key).collect()
    }

    #[test]
    fn what_is_added_stands_right_behind_its_record_or_somewhere_in_front() {
        let mut batch = Batch::new();
        for name in ["a", "b", "c"] {
            Writer::new(&mut batch, 1).fact(name, "");
        }
        let mut ready = Batch::new();
        weave(&batch, &mut ready, |event, front, behind| {
            let What::Fact { key, .. } = &event.what else { return };
            match key.as_str() {
                "b" => Writer::new(behind, 1).fact("behind b", ""),
                "c" => Writer::new(front, 1).fact("for c", ""),
                _ => {}
            }
        });
        assert_eq!(facts(&ready), ["a", "b", "behind b", "for c", "c"]);
    }

    #[test]
    fn what_does_not_decode_is_copied_as_it_is() {
        let mut batch = Batch::new();
        Writer::new(&mut batch, 1).fact("a", "");
        batch.extend([1, 2, 3]);
        let mut ready = Batch::new();
        weave(&batch, &mut ready, |_, _, behind| Writer::new(behind, 1).fact("b", ""));
        assert_eq!(facts(&ready), ["a", "b"]);
        assert!(ready.ends_with(&[1, 2, 3]));
    }
}
