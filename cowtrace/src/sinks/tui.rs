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
mod player;
mod stream;
mod terminal;
mod view;

#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod player_tests;
#[cfg(test)]
mod reach_tests;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod screen_tests;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use crossterm::event::{Event as Input, EventStream};
use futures_util::StreamExt;
use tokio::{
    task::{self, JoinHandle},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

pub use self::config::Config;
use self::{
    draw::copied,
    keys::Action,
    palette::Palette,
    stream::Stream,
    terminal::{Line, Screen, is_gone},
    view::{Effect, Feed, View},
};
use crate::{
    decode::Records,
    event::Event,
    signals::Signals,
    source::{
        Batch, Source,
        recording::{self, Run},
    },
    tee::Tee,
    trace::Trace,
    when::When,
};

/// Between two redraws at least.
const FRAME: Duration = Duration::from_millis(50);
/// Between two readings of the event rate.
const RATE: Duration = Duration::from_secs(1);
/// For what is still in the ring once the probes are off.
const DRAIN: Duration = Duration::from_secs(2);

/// How it is shown, and what.
pub struct Show {
    /// Colours and keys.
    pub config: Config,
    /// What is replayed.
    pub run: Option<Run>,
    /// Up to when it is read at first.
    pub at: Option<When>,
    /// What ends it beside a key.
    pub signals: Signals,
}

/// Shows what `source` yields until the user leaves. Each batch goes to `tee` before it is decoded.
pub async fn run(source: Source, trace: &mut Trace, show: Show, tee: &mut Tee) -> Result<()> {
    let Config { keys, palette, mouse } = show.config;
    let mut view = View::new(Feed::Live, keys);
    let mut stream = Stream::new(source, trace, &mut view, show.at)?;
    // Caught by now: a signal would else leave the terminal as the screen has made it.
    let user = User { view, screen: Screen::enter(mouse)?, palette, signals: show.signals };
    let left = look_on(user, &mut stream, trace, show.run.as_ref(), tee).await;
    match stream {
        // Also where the terminal is gone: the recording is to have an end.
        Stream::Live(source) => drain(*source, trace, tee).await.and(left),
        // Who leaves a replay early does not want the rest.
        Stream::Replay(_) => left,
    }
}

/// The user's side: what is looked at, on what, and what ends it.
struct User {
    view: View,
    screen: Screen,
    palette: Palette,
    signals: Signals,
}

/// Shows and answers until the user leaves, a signal comes, or the terminal is gone. The screen goes with it.
async fn look_on(
    User { mut view, mut screen, palette, mut signals }: User,
    stream: &mut Stream,
    trace: &mut Trace,
    run: Option<&Run>,
    tee: &mut Tee,
) -> Result<()> {
    let line = Line::open()?;
    let mut terminal = EventStream::new();
    let mut frames = interval(FRAME);
    // A quiet hour is not followed by a burst of redraws.
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rates = interval(RATE);
    rates.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed = true;
    let mut saving = None;
    loop {
        let plays = view.play.is_some_and(|play| play.speed.is_some());
        tokio::select! {
            biased;
            () = signals.any() => return Ok(()),
            () = line.gone() => return Ok(()),
            event = terminal.next() => {
                let effect = answer(event, &mut view, trace)?;
                changed |= effect != Effect::Nothing;
                match effect {
                    Effect::Quit => return Ok(()),
                    Effect::Copy => {
                        screen.copy(&copied(&view, trace, palette))?;
                        view.notice = Some("copied, if the terminal takes it (OSC 52)".to_owned());
                    }
                    Effect::Seek => stream.seek(trace, &mut view),
                    Effect::Record => view.notice = Some(record(stream, tee, trace)),
                    Effect::Save if saving.is_some() => view.notice = Some(BUSY.to_owned()),
                    Effect::Save => match save(&view, trace, run, tee) {
                        Ok(task) => saving = Some(task),
                        Err(why) => view.notice = Some(why),
                    },
                    Effect::Redraw | Effect::Nothing => {}
                }
            }
            saved = done(&mut saving), if saving.is_some() => {
                saving = None;
                view.notice = Some(saved);
                changed = true;
            }
            _ = frames.tick(), if changed || plays => {
                view.play.iter_mut().for_each(|play| play.passed(FRAME));
                view.records = tee.records();
                match screen.draw(&view, trace, palette) {
                    Ok(drawn) => view.drawn(drawn),
                    // It may be known here first.
                    Err(error) if is_gone(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
                changed = false;
            }
            now = rates.tick() => changed |= view.measure(now.into_std(), trace.counts.records),
            read = stream.read(trace, &mut view, tee), if stream.flows(trace, &view) => {
                read?;
                changed = true;
                // A recording is always ready; without this nothing else would get a turn.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Begins a recording of what comes, or ends it; what became of it.
fn record(stream: &Stream, tee: &mut Tee, trace: &Trace) -> String {
    match stream {
        Stream::Replay(_) => "this is a recording already".to_owned(),
        Stream::Live(_) if tee.records() => tee.stop(),
        Stream::Live(_) => tee.start(trace),
    }
}

/// A selection being saved.
type Saving = JoinHandle<Result<PathBuf>>;

const BUSY: &str = "one is being saved: its name comes here";

/// Begins to write the records of the selected processes, beside the loop, since a long recording takes its time and the
/// ring does not wait; or why not.
fn save(view: &View, trace: &Trace, run: Option<&Run>, tee: &Tee) -> Result<Saving, String> {
    let processes = view.selected(view.shown(trace)).processes();
    let Some(from) = run.cloned().or_else(|| tee.path().map(Run::of)) else {
        let key = view.keys.name(Action::Record);
        return Err(format!("nothing is recorded that could be saved: {key} begins a recording"));
    };
    if processes.is_empty() {
        return Err("nothing is selected".to_owned());
    }
    Ok(task::spawn_blocking(move || recording::extract(&from, &processes)))
}

/// What became of a selection that is being saved. Safe to cancel.
async fn done(saving: &mut Option<Saving>) -> String {
    let Some(task) = saving else { return String::new() };
    match task.await {
        Ok(Ok(path)) => format!("saved {}", path.display()),
        Ok(Err(error)) => format!("{error:#}"),
        Err(error) => format!("it was not saved: {error}"),
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
    let deadline = Instant::now() + DRAIN;
    while let Ok(batch) = timeout_at(deadline, source.batch()).await {
        let Some(batch) = batch.context("reading the last records")? else {
            break;
        };
        fold(&batch, trace, tee, |_| {});
    }
    Ok(())
}
