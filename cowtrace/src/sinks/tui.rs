//! The terminal interface: `cowtrace live` and `cowtrace replay`.
//!
//! One task, one biased `select!` loop. What arrives changes [`View`] (keys) or [`Trace`] (records);
//! [`draw`](draw::draw) shows both and changes neither. A redraw happens at most 20 times a second,
//! and only when something changed.
//!
//! The terminal is restored however this ends: by return, by panic, by signal.

mod config;
mod draw;
mod keys;
mod palette;
mod signals;
mod terminal;
mod view;

#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod screen_tests;

use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{Event as Input, EventStream};
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

pub use self::config::Config;
use self::{
    draw::copied,
    signals::Signals,
    terminal::Screen,
    view::{Effect, Feed, View},
};
use crate::{
    decode::Records,
    event::Event,
    source::{Batch, Source},
    tee::Tee,
    trace::Trace,
};

/// Between two redraws at least.
const FRAME: Duration = Duration::from_millis(50);
/// Between two readings of the event rate.
const RATE: Duration = Duration::from_secs(1);
/// For what is still in the ring once the probes are off.
const DRAIN: Duration = Duration::from_secs(2);

/// Shows what `source` yields until the user leaves. Each batch goes to `tee` before it is decoded.
///
/// [`Source::batch`] must be safe to cancel: a key or a redraw drops the future that waits for it.
pub async fn run(
    mut source: Source,
    trace: &mut Trace,
    config: Config,
    tee: &mut Tee,
) -> Result<()> {
    let Config { keys, palette, mouse } = config;
    let mut signals = Signals::listen()?;
    let mut screen = Screen::enter(mouse)?;
    let mut input = EventStream::new();
    let mut frames = interval(FRAME);
    // A quiet hour is not followed by a burst of redraws.
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rates = interval(RATE);
    rates.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View::new(feed(&source), keys);
    let mut changed = true;
    loop {
        tokio::select! {
            biased;
            () = signals.any() => break,
            event = input.next() => match answer(event, &mut view, trace)? {
                Effect::Quit => break,
                Effect::Redraw => changed = true,
                Effect::Copy => {
                    screen.copy(&copied(&view, trace, palette))?;
                    view.notice = Some("copied, if the terminal takes it (OSC 52)".to_owned());
                    changed = true;
                }
                Effect::Nothing => {}
            },
            _ = frames.tick(), if changed => {
                view.drawn(screen.draw(&view, trace, palette)?);
                changed = false;
            }
            now = rates.tick() => changed |= view.measure(now.into_std(), trace.counts.records),
            batch = source.batch(), if view.feed.flows() => {
                match batch.context("reading the next records")? {
                    Some(batch) => {
                        fold(&batch, trace, tee, |event| view.event(event));
                        view.notice = tee.said().pop().or(view.notice);
                    }
                    None => view.feed = view.feed.ended(),
                }
                changed = true;
                // A recording is always ready; without this nothing else would get a turn.
                tokio::task::yield_now().await;
            }
        }
    }
    drop(screen);
    drain(source, trace, tee).await
}

fn feed(source: &Source) -> Feed {
    match source {
        Source::Live(_) => Feed::Live,
        Source::Recording(_) => Feed::Replay,
    }
}

/// What the terminal sent. Its end is the user leaving.
fn answer(event: Option<std::io::Result<Input>>, view: &mut View, trace: &Trace) -> Result<Effect> {
    Ok(match event.transpose().context("reading from the terminal")? {
        None => Effect::Quit,
        Some(Input::Key(key)) => view.key(key, trace),
        Some(Input::Mouse(mouse)) => view.mouse(mouse, trace),
        Some(Input::Resize(..)) => Effect::Redraw,
        Some(_) => Effect::Nothing,
    })
}

fn fold(batch: &Batch, trace: &mut Trace, tee: &mut Tee, mut show: impl FnMut(&Event)) {
    tee.write(batch);
    let mut changes = Vec::new();
    for event in Records::new(batch) {
        event.as_ref().ok().map(&mut show);
        changes.extend(trace.take(event));
    }
    tee.folded(trace, &changes);
}

/// Takes the probes off and folds what they left, so that verdict and exit status know all of it.
async fn drain(mut source: Source, trace: &mut Trace, tee: &mut Tee) -> Result<()> {
    source.stop();
    if matches!(source, Source::Recording(_)) {
        return Ok(()); // Who leaves a replay early does not want the rest.
    }
    let deadline = Instant::now() + DRAIN;
    while let Ok(batch) = timeout_at(deadline, source.batch()).await {
        let Some(batch) = batch.context("reading the last records")? else {
            break;
        };
        fold(&batch, trace, tee, |_| {});
    }
    Ok(())
}
