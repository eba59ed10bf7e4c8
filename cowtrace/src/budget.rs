//! What tracing may cost, and what is shed when it costs more: measured cost in, stages out.
//!
//! Promise: over any long stretch the cost stays within the budget as long as what is never shed does: what was spent
//! too much is saved up again before anything is taken up again. Surprise: saving goes both ways. A burst may spend what
//! the last seconds have left over, so that a short one sheds nothing.
//!
//! Pure: it reads no clock and no counter. `source/live/keeper.rs` measures and sheds.

use std::{fmt, str::FromStr};

use cowtrace_common::{program::Program, setting::Stage};

/// A window, if it is as long as it should be.
const SECOND: u64 = 1_000_000_000;
/// Windows whose savings a burst may spend at once.
const SAVED: u64 = 5;
/// Windows whose budget can be owed: a flood that nothing could be shed of is not paid off for ever.
const OWED: u64 = 120;
/// Windows in a row that have to be calm before a stage is taken up again.
const CALM: u32 = 5;

/// A part of one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Millionths.
    pub ppm: u64,
}

impl Share {
    /// What `spent` of `window` is; nothing of no time.
    pub fn of(spent: u64, window: u64) -> Self {
        let ppm = u128::from(spent) * 1_000_000 / u128::from(window.max(1));
        Self { ppm: u64::try_from(ppm).unwrap_or(u64::MAX) }
    }

    /// Nanoseconds that it allows in a time.
    pub fn allows(self, window: u64) -> u64 {
        let nanos = u128::from(self.ppm) * u128::from(window) / 1_000_000;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Share {
    /// `1 %`, `0.25 %`: two digits behind the point at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.ppm / 10_000, self.ppm % 10_000 / 100);
        match (part, part % 10) {
            (0, _) => write!(f, "{whole} %"),
            (part, 0) => write!(f, "{whole}.{} %", part / 10),
            (part, _) => write!(f, "{whole}.{part:02} %"),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    /// `1%`, `0.5%`: at least 0.01 %, at most ten CPUs.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').ok_or("a part of one CPU, such as 1%")?;
        let percent: f64 = number.trim().parse().map_err(|_| "not a number of per cent")?;
        if !(0.01..=1000.0).contains(&percent) {
            return Err("at least 0.01%, and at most 1000%, which are ten CPUs".to_owned());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let ppm = (percent * 10_000.0).round() as u64;
        Ok(Self { ppm })
    }
}

/// What is shed, and when that changes.
#[derive(Clone, Debug)]
pub struct Controller {
    limit: Share,
    /// How many stages are shed.
    shed: usize,
    /// Nanoseconds spent beyond the budget; below zero, saved.
    owed: i64,
    /// Calm windows in a row.
    calm: u32,
}

impl Controller {
    /// Sheds nothing at first: the beginning, when all names are new, is a burst that may be spent at once.
    pub fn new(limit: Share) -> Self {
        let saved = signed(limit.allows(SECOND) * SAVED);
        Self { limit, shed: 0, owed: -saved, calm: 0 }
    }

    /// How many stages are shed.
    pub fn shed(&self) -> usize {
        self.shed
    }

    /// A window of `window` nanoseconds has cost `spent`: how many stages are to be shed from now on.
    pub fn measured(&mut self, spent: u64, window: u64) -> usize {
        let allowed = self.limit.allows(window);
        let [most_saved, most_owed] = [SAVED, OWED].map(|windows| signed(allowed * windows));
        let owed = self.owed.saturating_add(signed(spent)).saturating_sub(signed(allowed));
        self.owed = owed.clamp(-most_saved, most_owed);
        let over = spent > allowed && self.owed > 0;
        let calm = spent <= allowed / 2 && self.owed <= -most_saved / 2;
        self.calm = if calm { self.calm + 1 } else { 0 };
        if over && self.shed < Stage::ALL.len() {
            self.shed += 1;
        } else if self.calm >= CALM && self.shed > 0 {
            self.shed -= 1;
            self.calm = 0;
            // What was saved while less was seen is no reason to see more for longer than it is worth.
            self.owed = 0;
        }
        self.shed
    }

    /// Whether a window has cost more than a tenth beyond the budget.
    pub fn is_beyond(&self, spent: u64, window: u64) -> bool {
        let allowed = self.limit.allows(window);
        spent > allowed + allowed / 10
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// The stage with which a program is detached; none for those that a verdict on a long-term pin needs.
///
/// A program that sees a zapped page come back, or what reclaim unmaps, is never shed: the verdict hangs on it.
pub fn sheds(program: Program) -> Option<Stage> {
    match program {
        Program::InvalidateStart
        | Program::InvalidateEnd
        | Program::HugeWpExit
        | Program::WpCopyExit => Some(Stage::Events),
        Program::ReferenceExit => Some(Stage::Holders),
        Program::Protect
        | Program::ProtectProt
        | Program::ProtectEnter
        | Program::ClearRefs
        | Program::PagemapScan
        | Program::SplitHuge
        | Program::ForkCopyEnter
        | Program::ForkCopyExit
        | Program::IoFixedExit
        | Program::IoRegisteredExit => Some(Stage::Causes),
        _ => None,
    }
}

/// A stage's name.
pub fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Events => "events",
        Stage::Holders => "holders",
        Stage::Causes => "causes",
    }
}

/// What is not seen while it is shed.
pub fn unseen(stage: Stage) -> &'static str {
    match stage {
        Stage::Events => {
            "what secondary MMUs were told, faults that let the writer keep its page, and pages mapped again where \
             nothing was pinned: no verdict hangs on them"
        }
        Stage::Holders => {
            "who held pages for a moment, by short-term pins or plain references: what such a page lost cannot be told \
             (the verdict suspect-get)"
        }
        Stage::Causes => {
            "what write-protected pages (causes, and the verdict armed), what forks copied (the verdict snapshot), \
             I/O as a proof, and where pins and writes came from"
        }
    }
}

/// Whether nothing found can be wrong because of it.
pub fn hides_verdicts(stage: Stage) -> bool {
    stage > Stage::Events
}

/// What was measured and shed so far, as the source tells it after each window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What tracing may cost.
    pub limit: Share,
    /// Nanoseconds that the programs took in the last window.
    pub programs: u64,
    /// Nanoseconds that the user side took in it.
    pub user: u64,
    /// How long it was.
    pub window: u64,
    /// For how long all was shed and it cost more than the budget and a tenth all the same.
    pub beyond: u64,
    /// What that cost.
    pub beyond_spent: u64,
    /// Nanoseconds that all windows cost.
    pub spent: u64,
    /// How long they were together.
    pub measured: u64,
    /// By stage.
    pub stages: [Shed; Stage::ALL.len()],
}

/// What a window cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Nanoseconds that the programs took.
    pub programs: u64,
    /// Nanoseconds that the user side took.
    pub user: u64,
    /// How long it was.
    pub nanos: u64,
}

impl Window {
    /// Nanoseconds of both.
    pub fn spent(&self) -> u64 {
        self.programs.saturating_add(self.user)
    }
}

/// How a stage was shed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// How often.
    pub times: u64,
    /// For how long in all, up to the last window's end.
    pub nanos: u64,
    /// CLOCK_BOOTTIME when it was last.
    pub from: u64,
    /// When that ended; 0: it has not.
    pub until: u64,
}

impl Shed {
    /// Whether it is shed now.
    pub fn is_now(&self) -> bool {
        self.times > 0 && self.until == 0
    }

    /// Whether it was shed at any time from `time` on.
    pub fn was_since(&self, time: u64) -> bool {
        self.is_now() || (self.times > 0 && self.until >= time)
    }
}

impl Kept {
    /// A window has ended.
    pub fn ended(&mut self, window: Window, is_beyond: bool) {
        let Window { programs, user, nanos } = window;
        let all = self.stages.iter().all(Shed::is_now);
        for shed in self.stages.iter_mut().filter(|shed| shed.is_now()) {
            shed.nanos += nanos;
        }
        if all && is_beyond {
            self.beyond += nanos;
            self.beyond_spent += window.spent();
        }
        (self.programs, self.user, self.window) = (programs, user, nanos);
        self.spent += window.spent();
        self.measured += nanos;
    }

    /// A stage is shed from a time on.
    pub fn shed(&mut self, stage: Stage, from: u64) {
        let shed = &mut self.stages[stage as usize - 1];
        *shed = Shed { times: shed.times + 1, from, until: 0, ..*shed };
    }

    /// All of it is seen again.
    pub fn taken_up(&mut self, stage: Stage, until: u64) {
        self.stages[stage as usize - 1].until = until;
    }

    /// A stage.
    pub fn stage(&self, stage: Stage) -> &Shed {
        &self.stages[stage as usize - 1]
    }

    /// The stages that are shed now, or were.
    pub fn shed_ever(&self) -> impl Iterator<Item = (Stage, &Shed)> {
        Stage::ALL.into_iter().zip(&self.stages).filter(|(_, shed)| shed.times > 0)
    }

    /// What the last window cost.
    pub fn cost(&self) -> Share {
        Share::of(self.programs.saturating_add(self.user), self.window)
    }

    /// What is left costs so much, where the budget could not be kept.
    pub fn rest_costs(&self) -> Option<Share> {
        (self.beyond > 0).then(|| Share::of(self.beyond_spent, self.beyond))
    }
}

#[cfg(test)]
mod tests;
