//! What the budget came to, in words: the same in every sink.

use std::time::Duration;

use crate::{
    budget::{self, Kept, Share, Shed},
    trace::Trace,
};

/// A line for what tracing cost, one for each stage that was shed, and one if the budget could not be kept.
pub fn lines(trace: &Trace) -> Vec<String> {
    let Some(kept) = trace.budget.as_deref() else { return Vec::new() };
    let stages = kept.shed_ever().map(|(stage, shed)| {
        let (name, unseen) = (budget::name(stage), budget::unseen(stage));
        format!("{name} were shed {}; unseen then: {unseen}", when(trace, shed))
    });
    [cost(kept)].into_iter().chain(stages).chain(beyond(kept)).collect()
}

/// What all windows cost, and the last one.
fn cost(kept: &Kept) -> String {
    let of = |spent| Share::of(spent, kept.window);
    let (programs, user) = (of(kept.programs), of(kept.user));
    format!(
        "budget {} of a CPU: tracing took {}, in the last second {} (eBPF programs {programs}, cowtrace itself {user})",
        kept.limit,
        Share::of(kept.spent, kept.measured),
        kept.cost()
    )
}

fn when(trace: &Trace, shed: &Shed) -> String {
    let seconds = |time| {
        let millis = trace.since_start(time) / 1_000_000;
        format!("{:+}.{} s", millis / 1000, (millis % 1000).abs() / 100)
    };
    let times = match shed.times {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    let all = Duration::from_nanos(shed.nanos).as_secs_f64();
    let until = if shed.is_now() { "on".to_owned() } else { format!("to {}", seconds(shed.until)) };
    format!("{times}, for {all:.1} s in all, last from {} {until}", seconds(shed.from))
}

fn beyond(kept: &Kept) -> Option<String> {
    let rest = kept.rest_costs()?;
    let seconds = Duration::from_nanos(kept.beyond).as_secs_f64();
    Some(format!(
        "the budget could not be kept for {seconds:.1} s: what is never shed cost {rest} of a CPU then"
    ))
}

/// What is shed now, and that it is not enough, in a few words; none while all is seen.
pub fn title(trace: &Trace) -> Option<String> {
    let kept = trace.budget.as_deref()?;
    let now: Vec<_> = kept.shed_ever().filter(|(_, shed)| shed.is_now()).collect();
    let (last, _) = now.last()?;
    let shed = match now.len() {
        1 => budget::name(*last).to_owned(),
        _ => format!("all up to {}", budget::name(*last)),
    };
    Some(format!("shed: {shed} ({} of {})", kept.cost(), kept.limit))
}
