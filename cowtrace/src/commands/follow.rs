//! From a source to lines: the loop of `stream`, `record` and `replay --format`.

use std::{
    io::{self, Write},
    os::fd::{AsFd as _, OwnedFd},
    pin::pin,
    process::ExitStatus,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Child,
    time::sleep,
};

use super::{say, waiting::Waiting};
use crate::{
    cli::PrintArgs,
    decode::Records,
    signals::Signals,
    sinks::filter::Filter,
    source::Source,
    sys,
    tee::Tee,
    trace::{Change, Trace},
};

/// When to stop: at the source's end, at a signal, and perhaps before.
pub struct Until {
    signals: Signals,
    duration: Option<Duration>,
    command: Option<Child>,
    reader: Option<AsyncFd<OwnedFd>>,
}

impl Until {
    /// Starts the command, if one waits. To be called when the probes are attached.
    pub fn start(
        signals: Signals,
        waiting: Option<Waiting>,
        duration: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let command = waiting.map(Waiting::start).transpose()?;
        Ok(Self { signals, duration, command, reader: None })
    }

    /// Also when nobody reads standard output any more: on a quiet host the next line, which would tell, may never come.
    pub fn while_read(self) -> Self {
        let out = io::stdout().as_fd().try_clone_to_owned();
        // A file, which has no reader, cannot be waited for.
        let reader = out.and_then(|out| sys::async_fd_for(out, Interest::ERROR)).ok();
        Self { reader, ..self }
    }

    /// At the source's end.
    pub fn end(signals: Signals) -> Self {
        Self { signals, duration: None, command: None, reader: None }
    }

    /// The process id of the command.
    pub fn command(&self) -> Option<u32> {
        self.command.as_ref()?.id()
    }

    /// How the command ended, if that was it.
    pub async fn reached(mut self) -> io::Result<Option<ExitStatus>> {
        let duration = async {
            match self.duration {
                Some(duration) => sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let command = async {
            match self.command {
                Some(mut child) => child.wait().await,
                None => std::future::pending().await,
            }
        };
        let reader_gone = async {
            match &self.reader {
                Some(reader) if reader.ready(Interest::ERROR).await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = duration => Ok(None),
            status = command => status.map(Some),
            () = self.signals.any() => Ok(None),
            () = reader_gone => Ok(None),
        }
    }
}

/// What a run came to.
pub struct End {
    /// The trace as it ended.
    pub trace: Trace,
    /// Bytes recorded; none without a recording that is whole.
    pub recorded: Option<u64>,
    /// How the command ended; none if there was none, or the run ended before it.
    pub command: Option<ExitStatus>,
}

/// The loop's fixed parts.
pub struct Follow<'a> {
    /// What to print and how.
    pub print: PrintArgs,
    /// What is recorded.
    pub tee: Tee,
    /// Whether there is nothing left to do where nothing can be recorded any more.
    pub only_records: bool,
    /// Where to print.
    pub out: &'a mut dyn Write,
}

impl Follow<'_> {
    /// Takes everything in until the end; then prints the summary.
    pub async fn run(mut self, mut source: Source, until: Until) -> anyhow::Result<End> {
        let (mut trace, mut command) = (Trace::default(), None);
        let mut reached = pin!(until.reached());
        let mut stopping = false;
        loop {
            let batch = tokio::select! {
                biased;
                done = &mut reached, if !stopping => {
                    command = done?;
                    stopping = true;
                    self.audit(&mut source, &mut trace)?;
                    source.stop();
                    continue;
                }
                batch = source.batch() => batch?,
            };
            let Some(batch) = batch else { break };
            self.take(&batch, &mut trace)?;
            if self.only_records && !self.tee.records() && !stopping {
                stopping = true;
                source.stop();
            }
        }
        self.print.format.summary(self.out, &trace)?;
        self.out.flush()?;
        let recorded = self.tee.finish();
        self.say();
        Ok(End { trace, recorded, command })
    }

    /// Holds what is pinned against the page map. What happened up to the look comes before it.
    fn audit(&mut self, source: &mut Source, trace: &mut Trace) -> anyhow::Result<()> {
        let pending = source.drain();
        self.take(&pending, trace)?;
        let answers = source.audit(&trace.questions());
        let meanwhile = source.drain();
        self.take(&meanwhile, trace)?;
        self.take(&answers, trace)
    }

    /// Standard output may be read by a program.
    fn say(&mut self) {
        self.tee.said().iter().for_each(|line| say(line));
    }

    fn take(&mut self, batch: &[u8], trace: &mut Trace) -> anyhow::Result<()> {
        self.tee.write(batch);
        let mut changes = Vec::new();
        for event in Records::new(batch) {
            if self.print.events
                && !trace.is_restoring()
                && let Ok(event) = &event
            {
                self.print.format.event(self.out, trace, event)?;
            }
            for change in trace.take(event) {
                if self.print.filter.as_ref().is_none_or(|filter| is_of(filter, trace, change)) {
                    self.print.format.change(self.out, trace, change)?;
                }
                changes.push(change);
            }
        }
        self.tee.folded(trace, &changes);
        self.say();
        self.out.flush()?;
        Ok(())
    }
}

/// Whether a change is of a finding that meets a filter.
fn is_of(filter: &Filter, trace: &Trace, change: Change) -> bool {
    let (Change::Opened(index) | Change::Updated(index)) = change;
    trace.findings.get(index).is_some_and(|finding| filter.takes(trace, finding))
}
