//! A stretch of a recording, as `replay --from --to` prints it: a part that stands alone.

use anyhow::Context as _;

use crate::{
    decode::Records,
    encode::Writer,
    event::Time,
    facts::key,
    source::{Batch, recording::Recording},
    trace::Trace,
    when::When,
};

/// Makes a recording begin and end at times. It begins with a keyframe of then, which is made of all that is before.
pub fn limit(
    recording: &mut Recording,
    from: Option<When>,
    to: Option<When>,
) -> anyhow::Result<()> {
    if from.is_none() && to.is_none() {
        return Ok(());
    }
    let (first, last) = recording.times().context("the recording does not tell its times")?;
    let mut trace = Trace::default();
    let facts = recording.batch().unwrap_or_default();
    Records::new(&facts).for_each(|event| drop(trace.take(event)));
    let time = |when: Option<When>| match when {
        Some(when) => {
            let time = when.within(&trace, last);
            time.map(Some).context("the recording does not tell what clocks showed")
        }
        None => Ok(None),
    };
    let (from, to) = (time(from)?, time(to)?);
    anyhow::ensure!(
        to.is_none_or(|to| from.unwrap_or(first) <= to),
        "the end is before the beginning: nothing is between --from and --to"
    );
    recording.seek(from.unwrap_or(0))?;
    let Some((keyframe, now)) = from.map(|from| keyframe(recording, from)) else {
        recording.limit(None, to);
        return Ok(());
    };
    // A keyframe is never cut.
    recording.limit(Some(keyframe), to.map(|to| to.max(now)));
    Ok(())
}

/// A keyframe of a time, with what is left of the batch that the time is in; and the time that it came to.
fn keyframe(recording: &mut Recording, from: Time) -> (Batch, Time) {
    let mut trace = Trace::default();
    while let Some(batch) = recording.batch() {
        let mut records = Records::new(&batch);
        loop {
            let rest = records.rest();
            let Some(event) = records.next() else { break };
            let is_of_it = event.as_ref().is_ok_and(|event| {
                event.time >= from && event.what.name().is_some() && !trace.is_restoring()
            });
            // What is held back is in no keyframe; it is told within a second.
            if is_of_it && trace.is_settled() {
                let mut front = keyframe_of(&trace, from);
                front.extend_from_slice(rest);
                return (front, trace.now);
            }
            trace.take(event);
        }
    }
    (keyframe_of(&trace, from), trace.now)
}

/// A keyframe of a trace, which also tells where parts of the recording are missing since a time.
fn keyframe_of(trace: &Trace, from: Time) -> Batch {
    let mut keyframe = trace.keyframe();
    let missing: Vec<_> = trace.missing_since(from).collect();
    if !missing.is_empty() {
        Writer::new(&mut keyframe, trace.now).fact(key::DAMAGE, &missing.join("; "));
    }
    keyframe
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::finding::Verdict;

    /// When the write of the example came, since the start, and when its page was pinned.
    const WRITE: Duration = Duration::from_micros(184_911);
    const PIN: Duration = Duration::from_micros(176_017);

    /// Events of the kernel in a stretch, each with its time, and the trace as it ended.
    fn stretch(from: Option<Duration>, to: Option<Duration>) -> (Vec<Time>, Trace) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/lost-5.10.cow");
        let mut recording = Recording::open(&file).expect("a recording");
        limit(&mut recording, from.map(When::SinceStart), to.map(When::SinceStart)).expect("times");
        let (mut told, mut trace) = (Vec::new(), Trace::default());
        while let Some(batch) = recording.batch() {
            for event in Records::new(&batch) {
                let event = event.expect("whole records");
                if event.what.name().is_some() && !trace.is_restoring() {
                    told.push(event.time);
                }
                trace.take(Ok(event));
            }
        }
        (told, trace)
    }

    #[test]
    fn stretches_side_by_side_tell_each_event_once() {
        let (whole, _) = stretch(None, None);
        for millis in [0, 60, 74, 176, 184, 190, 240, 1000] {
            let to = Duration::from_millis(millis);
            let (mut both, _) = stretch(None, Some(to));
            both.extend(stretch(Some(to + Duration::from_nanos(1)), None).0);
            assert_eq!(both, whole, "cut at {millis} ms");
        }
    }

    #[test]
    fn a_stretch_knows_what_was_pinned_before_it() {
        let (_, trace) = stretch(Some(WRITE), None);
        assert_eq!(trace.findings.last().map(|finding| finding.verdict), Some(Verdict::Lost));
        assert!(trace.part_from().is_some() && trace.unseen().is_empty());
    }

    #[test]
    fn a_stretch_ends_where_it_is_to_and_misses_nothing_by_that() {
        let (_, trace) = stretch(None, Some(PIN));
        assert_eq!((trace.ledger.live_pins(), trace.findings.len()), (1, 0));
        assert!(trace.goes_on() && trace.unseen().is_empty());
        assert!(trace.facts.text(key::ENDED).is_none());
    }

    #[test]
    fn a_stretch_behind_the_end_is_what_was_held_then() {
        let (told, trace) = stretch(Some(Duration::from_hours(1)), None);
        assert!(told.is_empty() && trace.part_from().is_some());
    }
}
