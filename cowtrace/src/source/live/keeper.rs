//! Keeps the budget: measures each second what tracing took, and sheds or takes up again what the controller says.
//!
//! Surprise: what the kernel takes to enter a program and to leave it is in no counter, and not in the budget.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use cowtrace_common::{program::Program, setting::Stage};

use super::map;
use crate::{
    budget::{Controller, Kept, Share, Window},
    event::Time,
    probes::attach::Sheddable,
    sys,
};

/// What was spent up to a time.
#[derive(Clone, Copy, Default)]
struct Spent {
    programs: u64,
    user: u64,
    time: Time,
}

/// The budget, and what is shed for it.
pub struct Keeper {
    controller: Controller,
    kept: Kept,
    sheddable: Vec<Sheddable>,
    /// How many stages programs leave out.
    shed: Array<MapData, u32>,
    /// What programs that were taken off remember of calls under way: by now it is of other ones.
    stale: [(Stage, HashMap<MapData, u64, u64>); 2],
    /// At the end of the last window.
    before: Spent,
}

impl Keeper {
    /// Takes the maps out: a program that wants them cannot be loaded any more. The first window begins.
    pub fn take(ebpf: &mut Ebpf, limit: Share, sheddable: Vec<Sheddable>) -> anyhow::Result<Self> {
        Ok(Self {
            controller: Controller::new(limit),
            kept: Kept { limit, ..Kept::default() },
            sheddable,
            shed: map(ebpf, "SHED")?,
            stale: [(Stage::Events, map(ebpf, "RANGES")?), (Stage::Causes, map(ebpf, "COPYING")?)],
            before: spent(ebpf),
        })
    }

    /// A window has ended.
    pub fn keep(&mut self, ebpf: &mut Ebpf) -> Kept {
        let now = spent(ebpf);
        let window = Window {
            programs: now.programs.saturating_sub(self.before.programs),
            user: now.user.saturating_sub(self.before.user),
            nanos: now.time.saturating_sub(self.before.time),
        };
        self.before = now;
        let is_beyond = self.controller.is_beyond(window.spent(), window.nanos);
        self.kept.ended(window, is_beyond);
        let shed = self.controller.measured(window.spent(), window.nanos);
        for stage in Stage::ALL {
            match (stage as usize <= shed, self.kept.stage(stage).is_now()) {
                (true, false) => self.shed(ebpf, stage, now.time),
                (false, true) => self.take_up(ebpf, stage),
                _ => {}
            }
        }
        // The one slot of the map takes any number. What did not go back is shed still, and all before it.
        let is_shed = |stage: &Stage| self.kept.stage(*stage).is_now();
        let last = Stage::ALL.into_iter().take_while(is_shed).last();
        let _ = self.shed.set(0, last.map_or(0, |stage| stage as u32), 0);
        self.kept
    }

    fn shed(&mut self, ebpf: &mut Ebpf, stage: Stage, now: Time) {
        self.kept.shed(stage, now);
        for program in self.sheddable.iter_mut().filter(|program| program.stage == stage) {
            program.shed(ebpf);
        }
    }

    /// Stays shed if one of its programs does not go back.
    fn take_up(&mut self, ebpf: &mut Ebpf, stage: Stage) {
        self.forget(stage);
        let programs = self.sheddable.iter_mut().filter(|program| program.stage == stage);
        // Each is taken up, though one fails.
        let failed = programs.map(|program| program.take_up(ebpf)).filter(|taken| !taken).count();
        if failed == 0 {
            self.kept.taken_up(stage, sys::boottime_ns());
        }
    }

    /// A call that began before its program was taken off must not end as another one.
    fn forget(&mut self, stage: Stage) {
        for (_, map) in self.stale.iter_mut().filter(|(of, _)| *of == stage) {
            let keys: Vec<u64> = map.keys().flatten().collect();
            for key in keys {
                let _ = map.remove(&key);
            }
        }
    }
}

/// What the programs and this process have taken so far.
fn spent(ebpf: &Ebpf) -> Spent {
    let took = |program: &Program| {
        let info = ebpf.program(program.name())?.info().ok()?;
        u64::try_from(info.run_time().as_nanos()).ok()
    };
    Spent {
        programs: Program::ALL.iter().filter_map(took).sum(),
        user: sys::cpu_ns(),
        time: sys::boottime_ns(),
    }
}
