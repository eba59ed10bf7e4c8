//! How a recording is played: up to where, and how fast.

use std::time::Duration;

use crate::event::Time;

/// How a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Play {
    /// The first and the last time of the recording, if it tells them.
    pub span: Option<(Time, Time)>,
    /// It is read up to here.
    pub goal: Time,
    /// How much faster than it happened; none: it stands still, or is read as fast as it can be.
    pub speed: Option<f64>,
    /// The speed that it was or would be played at.
    wanted: f64,
}

/// Parts of a recording that a key leads over.
const STEPS: Time = 50;

impl Play {
    /// All of it, as fast as it can be read.
    pub fn new(span: Option<(Time, Time)>) -> Self {
        Self { span, goal: Time::MAX, speed: None, wanted: 1.0 }
    }

    /// Begins to play from `now` on, or stands still.
    pub fn toggle(&mut self, now: Time) {
        self.goal = now;
        self.speed = match self.speed {
            Some(_) => None,
            None => Some(self.wanted),
        };
    }

    /// Twice as fast, or half.
    pub fn faster(&mut self, faster: bool) {
        self.wanted *= if faster { 2.0 } else { 0.5 };
        self.wanted = self.wanted.clamp(1.0 / 1024.0, 1024.0);
        self.speed = self.speed.map(|_| self.wanted);
    }

    /// A step on or back from `now`.
    pub fn step(&mut self, now: Time, onward: bool) {
        let (first, last) = self.span.unwrap_or((0, now));
        let step = (last.saturating_sub(first) / STEPS).max(1);
        self.goal = if onward {
            now.saturating_add(step).min(last)
        } else {
            now.saturating_sub(step).max(first)
        };
    }

    /// Time has passed while it is played.
    pub fn passed(&mut self, time: Duration) {
        let Some(speed) = self.speed else { return };
        // The speed is above 0 and at most 1024.
        let passed = time.mul_f64(speed).as_nanos();
        self.goal = self.goal.saturating_add(Time::try_from(passed).unwrap_or(Time::MAX));
    }

    /// How far `now` is, in so many parts of the whole.
    pub fn part(&self, now: Time, parts: usize) -> Option<usize> {
        let (first, last) = self.span?;
        let whole = u128::from(last.saturating_sub(first)).max(1);
        let part = u128::from(now.clamp(first, last) - first) * parts as u128 / whole;
        usize::try_from(part).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stay_within_the_recording() {
        let mut play = Play::new(Some((100, 600)));
        play.step(600, false);
        assert_eq!(play.goal, 590);
        play.step(105, false);
        assert_eq!(play.goal, 100);
        play.step(595, true);
        assert_eq!(play.goal, 600);
    }

    #[test]
    fn time_passes_by_the_speed_and_not_where_it_stands_still() {
        let mut play = Play::new(None);
        play.toggle(1_000);
        play.faster(true);
        play.passed(Duration::from_nanos(50));
        assert_eq!(play.goal, 1_100);
        play.toggle(1_080);
        play.passed(Duration::from_secs(1));
        assert_eq!((play.goal, play.speed), (1_080, None));
    }

    #[test]
    fn the_part_that_was_read_is_told_in_columns() {
        let play = Play::new(Some((100, 600)));
        assert_eq!(play.part(350, 10), Some(5));
        assert_eq!(play.part(9_000, 10), Some(10));
        assert_eq!(Play::new(None).part(350, 10), None);
    }
}
