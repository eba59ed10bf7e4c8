//! What is shown: the running kernel as it goes on, or a recording as it is played.

use anyhow::{Context, Result};

use super::{
    fold,
    player::Player,
    view::{Feed, Play, View},
};
use crate::{event::Time, source::Source, tee::Tee, trace::Trace, when::When};

/// Where records come from.
pub enum Stream {
    /// The running kernel.
    Live(Box<Source>),
    /// A recording.
    Replay(Box<Player>),
}

impl Stream {
    /// A source as it is to be shown. Of a recording what stands in front is read, to know its times.
    pub fn new(
        source: Source,
        trace: &mut Trace,
        view: &mut View,
        at: Option<When>,
    ) -> Result<Self> {
        let Source::Recording(recording) = source else { return Ok(Self::Live(Box::new(source))) };
        let mut player = Player::new(recording, trace, view);
        let span = player.span();
        let mut play = Play::new(span);
        if let Some(at) = at {
            let end = span.map_or(trace.now, |(_, last)| last);
            let time = at.within(trace, end);
            play.goal = time.context("the recording does not tell what clocks showed")?;
        }
        view.play = Some(play);
        view.feed = Feed::Replay;
        Ok(Self::Replay(Box::new(player)))
    }

    /// Makes the recording stand where it is wanted: what lies before is read again.
    pub fn seek(&mut self, trace: &mut Trace, view: &mut View) {
        let to = goal(view);
        if let Self::Replay(player) = self
            && to < trace.now
        {
            player.go_back(trace, view, to);
            view.feed = Feed::Replay;
        }
    }

    /// Takes the next records in, if there are any now. Safe to cancel: a key or a redraw drops the future.
    pub async fn read(&mut self, trace: &mut Trace, view: &mut View, tee: &mut Tee) -> Result<()> {
        match self {
            Self::Live(source) => {
                match source.batch().await.context("reading the next records")? {
                    Some(batch) => fold(&batch, trace, tee, |event| view.event(event)),
                    None => view.feed = Feed::Stopped,
                }
                let said = tee.said();
                if !said.is_empty() {
                    view.notice = Some(said.join("; "));
                }
            }
            Self::Replay(player) => {
                player.read(trace, view, goal(view));
                let reads = player.has_more(trace, goal(view));
                let plays = view.play.is_some_and(|play| play.speed.is_some());
                view.feed = if reads && !plays { Feed::Replay } else { Feed::Replayed };
            }
        }
        Ok(())
    }

    /// Whether there is more to read now.
    pub fn flows(&self, trace: &Trace, view: &View) -> bool {
        match self {
            Self::Live(_) => view.feed == Feed::Live,
            Self::Replay(player) => player.has_more(trace, goal(view)),
        }
    }
}

/// Up to when a recording is read.
fn goal(view: &View) -> Time {
    view.play.map_or(Time::MAX, |play| play.goal)
}
