//! A recording being played: read up to where the user wants to be, and back again.
//!
//! Going back means a trace as it was: some are kept on the way, and what is between one of them and the goal is read
//! again.

use super::view::{Tail, View};
use crate::{
    decode::Records,
    event::Time,
    source::{
        Batch,
        recording::{Position, Recording},
    },
    trace::Trace,
};

/// Traces that are kept of a recording, spread evenly: each costs what a trace takes.
const KEPT: u64 = 12;

/// The recording, and what is kept of the way through it.
pub struct Player {
    recording: Recording,
    /// The batch that is being folded, and how much of it has been.
    batch: Batch,
    folded: usize,
    kept: Vec<Kept>,
    ended: bool,
}

/// All as it was at a time.
struct Kept {
    position: Position,
    /// What was left of the batch before it.
    rest: Batch,
    trace: Trace,
    tail: Tail,
}

impl Player {
    /// From the beginning: what stands in front, of host and probes, is read.
    pub fn new(recording: Recording, trace: &mut Trace, view: &View) -> Self {
        let (batch, kept) = (Batch::new(), Vec::new());
        let mut player = Self { recording, batch, folded: 0, kept, ended: false };
        player.batch = player.recording.batch().unwrap_or_default();
        let mut records = Records::new(&player.batch);
        loop {
            let front = player.batch.len() - records.rest().len();
            match records.next() {
                Some(Ok(event)) if event.what.name().is_none() => drop(trace.take(Ok(event))),
                _ => {
                    player.folded = front;
                    break;
                }
            }
        }
        player.keep(trace, view);
        player
    }

    /// The first and the last time of the recording, if it tells them.
    pub fn span(&mut self) -> Option<(Time, Time)> {
        self.recording.times()
    }

    /// Whether there is more up to a time.
    pub fn has_more(&self, trace: &Trace, goal: Time) -> bool {
        !self.ended && trace.now < goal
    }

    /// Folds what is left of a batch, or the next one, up to a time.
    pub fn read(&mut self, trace: &mut Trace, view: &mut View, goal: Time) {
        if self.folded == self.batch.len() {
            self.keep(trace, view);
            let Some(batch) = self.recording.batch() else {
                self.ended = true;
                return;
            };
            (self.batch, self.folded) = (batch, 0);
        }
        let mut records = Records::new(&self.batch[self.folded..]);
        for event in records.by_ref() {
            // What a keyframe tells once more is no news.
            if let Ok(event) = &event
                && !trace.is_restoring()
            {
                view.event(event);
            }
            trace.take(event);
            if trace.now >= goal {
                break;
            }
        }
        self.folded = self.batch.len() - records.rest().len();
    }

    /// Goes back to the last trace that is kept of before a time: reading goes on from there.
    pub fn go_back(&mut self, trace: &mut Trace, view: &mut View, to: Time) {
        let kept = self.kept.iter().rposition(|kept| kept.trace.now <= to);
        let Some(kept) = self.kept.get(kept.unwrap_or(0)) else { return };
        (self.batch, self.folded) = (kept.rest.clone(), 0);
        self.recording.resume(kept.position);
        *trace = kept.trace.clone();
        view.tail = kept.tail.clone();
        self.ended = false;
    }

    /// Keeps the trace if the last one that is kept is far behind.
    fn keep(&mut self, trace: &Trace, view: &View) {
        let position = self.recording.position();
        let each = self.recording.bytes() / KEPT;
        let due = self.kept.last().is_none_or(|kept| position.at() >= kept.position.at() + each);
        if due {
            let rest = self.batch[self.folded..].to_vec();
            let (trace, tail) = (trace.clone(), view.tail.clone());
            self.kept.push(Kept { position, rest, trace, tail });
        }
    }
}
