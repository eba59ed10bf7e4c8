//! A recording is the same at a time, whichever way the user came there.

use std::path::Path;

use super::{
    keys::Keys,
    player::Player,
    view::{Feed, View},
};
use crate::{event::Time, source::recording::Recording, trace::Trace};

struct Played {
    player: Player,
    trace: Trace,
    view: View,
}

impl Played {
    fn new() -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/inconclusive-6.12.cow");
        let (mut trace, view) = (Trace::default(), View::new(Feed::Replay, Keys::default()));
        let recording = Recording::open(&path).expect("a recording");
        let player = Player::new(recording, &mut trace, &view);
        Self { player, trace, view }
    }

    fn to(&mut self, goal: Time) -> (usize, u64, u64, Time) {
        if goal < self.trace.now {
            self.player.go_back(&mut self.trace, &mut self.view, goal);
        }
        while self.player.has_more(&self.trace, goal) {
            self.player.read(&mut self.trace, &mut self.view, goal);
        }
        let trace = &self.trace;
        let (findings, pages) = (trace.findings.len(), trace.ledger.live_pages());
        (findings, pages, self.view.tail.count(), trace.now)
    }
}

#[test]
fn whichever_way_a_time_is_reached_it_is_the_same() {
    let mut there = Played::new();
    let (first, last) = there.player.span().expect("it has times");
    let times: Vec<_> = (0..=10).map(|n| first + (last - first) / 10 * n).collect();
    let straight: Vec<_> = times.iter().map(|time| Played::new().to(*time)).collect();
    let all = there.to(Time::MAX);
    assert!(all.0 > 0 && straight.iter().any(|(_, pages, ..)| *pages > 0));
    for (time, straight) in times.iter().zip(&straight).rev() {
        assert_eq!(there.to(*time), *straight, "back to {time}");
    }
    assert_eq!(there.to(Time::MAX), all, "and on again");
}
