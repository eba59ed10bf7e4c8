//! `cowtrace agent`: stays, records in a ring, serves metrics, sends findings to a collector.
//!
//! Promise: nothing that reads from it, and nothing it sends to, keeps the ring from being emptied: connections are
//! tasks that ask this loop, and the exporter is a thread behind a bounded queue. The watchdog is told from this loop,
//! so that systemd and Kubernetes see when it hangs.

pub mod export;
pub mod listen;

use std::{fs, pin::pin, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use self::{
    export::{Endpoint, Exporter},
    listen::{Address, Listener, Page, Request},
};
use super::{attach, follow::Until, say};
use crate::{
    cli::{AgentArgs, UntilArgs},
    decode::Records,
    errors::exit,
    privileges::Remains,
    signals::Signals,
    sinks::{
        budget, count,
        metrics::{self, Family, Metrics, Own},
        otlp::{self, Extra},
    },
    source::{
        Source,
        recording::{Limit, Plan, Recording},
    },
    sys,
    tee::Tee,
    trace::{Change, Trace},
};

/// What the flight recorder keeps where nobody says how much.
const RING: Limit = Limit::Bytes(512 << 20);
/// How often the watchdog is told where it does not say how often.
const ALIVE: Duration = Duration::from_secs(5);
/// Log records that go in one request: well below what collectors take.
const TOGETHER: usize = 128;
/// Connections that wait for an answer.
const ASKED: usize = 8;

/// Runs until a signal.
pub async fn run(args: &AgentArgs) -> anyhow::Result<u8> {
    // Whatever can be refused is refused before the kernel is touched.
    let listener = Listener::bind(&args.listen, args.listen_publicly)?;
    let address = listener.address();
    let source = match &args.replay {
        Some(file) => Source::Recording(Recording::open(file)?),
        None => attach(&args.scope, Some(&UntilArgs::default()), &remains(args))?,
    };
    let until = Until::end(Signals::listen(false)?);
    let mut agent = Agent::new(args)?;
    let (ask, asked) = mpsc::channel(ASKED);
    let server = tokio::spawn(listener.serve(ask));
    if args.replay.is_none() {
        agent.is_ready(&address);
    }
    let ended = agent.follow(source, until, asked, &address, args.otlp_interval).await;
    server.abort();
    agent.finish();
    ended.map(|()| exit::CLEAN)
}

/// What it goes on doing: it records, removes its socket at the end, and sends to a collector.
fn remains(args: &AgentArgs) -> Remains {
    let mut remains = Remains::beside(args.output.as_deref());
    if let Address::Unix(socket) = &args.listen {
        remains.folders.extend(Remains::beside(Some(socket)).folders);
    }
    Remains { collector: args.otlp.as_ref().map(Endpoint::port), ..remains }
}

struct Agent {
    trace: Trace,
    metrics: Metrics,
    tee: Tee,
    /// Whether it was asked to record.
    records: bool,
    exporter: Option<Exporter>,
    extra: Extra,
}

impl Agent {
    fn new(args: &AgentArgs) -> anyhow::Result<Self> {
        let plan = match args.parts.plan() {
            // One file for ever would fill the disk.
            plan if plan == Plan::default() => Plan::ring(RING, args.parts.after),
            plan => plan,
        };
        let create = |path| Tee::create(path, plan, args.parts.seal);
        let tee = args.output.as_deref().map(create).transpose()?;
        let extra = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        Ok(Self {
            trace: Trace::default(),
            metrics: Metrics::default(),
            records: tee.is_some(),
            tee: tee.unwrap_or_default(),
            exporter: args.otlp.clone().map(Exporter::start).transpose()?,
            extra: otlp::extra(&extra),
        })
    }

    /// Takes in all there is, and answers who asks, until a signal. A recording's end is not the end.
    async fn follow(
        &mut self,
        mut source: Source,
        until: Until,
        mut asked: mpsc::Receiver<Request>,
        address: &str,
        export_each: Duration,
    ) -> anyhow::Result<()> {
        let mut reached = pin!(until.reached());
        let (mut alive, mut export) = (every(alive_each()), every(export_each));
        let (mut stopping, mut ended) = (false, false);
        while !(stopping && ended) {
            tokio::select! {
                biased;
                done = &mut reached, if !stopping => {
                    done?;
                    stopping = true;
                    let _ = sd_notify::notify(&[NotifyState::Stopping]);
                    source.stop();
                }
                Some(request) = asked.recv() => self.answer(request),
                _ = alive.tick() => self.is_alive(),
                _ = export.tick() => self.export_metrics(),
                batch = source.batch(), if !ended => {
                    let batch = batch?;
                    ended = batch.is_none();
                    self.take(&batch.unwrap_or_default()).await;
                    if ended && !stopping {
                        self.is_ready(address);
                    }
                }
            }
        }
        Ok(())
    }

    /// Folds a batch; then whoever waits for an answer has its turn.
    async fn take(&mut self, batch: &[u8]) {
        self.tee.write(batch);
        let (mut changes, mut records) = (Vec::new(), Vec::new());
        for event in Records::new(batch) {
            let is_news = !self.trace.is_restoring();
            for change in self.trace.take(event) {
                changes.push(change);
                if is_news {
                    self.metrics.changed(&self.trace, change);
                    records.extend(self.log_record(change));
                }
            }
        }
        self.metrics.folded(&self.trace);
        self.tee.folded(&self.trace, &changes);
        self.export_logs(records);
        self.say();
        yield_now().await;
    }

    /// For a collector, if there is one.
    fn log_record(&self, change: Change) -> Option<otlp::LogRecord> {
        self.exporter.as_ref().and_then(|_| otlp::record(&self.trace, change))
    }

    fn export_logs(&self, records: Vec<otlp::LogRecord>) {
        let Some(exporter) = &self.exporter else { return };
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let some: Vec<_> = records.by_ref().take(TOGETHER).collect();
            let count = some.len() as u64;
            if let Some(body) = otlp::logs(&self.trace, some, &self.extra) {
                exporter.send(export::LOGS, body, count);
            }
        }
    }

    fn export_metrics(&self) {
        let Some(exporter) = &self.exporter else { return };
        let (families, now) = (self.families(), sys::realtime_ns());
        let body = otlp::metrics(&self.trace, &families, now, &self.extra);
        exporter.send(export::METRICS, body, 1);
    }

    fn families(&self) -> Vec<Family> {
        let own = Own {
            cpu: Duration::from_nanos(sys::cpu_ns()),
            resident: resident(),
            records: self.records.then(|| self.tee.records()),
            exported: self.exporter.as_ref().map(Exporter::exported),
        };
        self.metrics.families(&self.trace, &own)
    }

    fn answer(&self, request: Request) {
        let text = match request.page {
            Page::Health => "ok\n".to_owned(),
            Page::Metrics(form) => metrics::text(&self.families(), form),
        };
        // Who asked may have gone.
        let _ = request.reply.send(text);
    }

    fn is_ready(&self, address: &str) {
        say(&format!("metrics at {address}"));
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&self.status())]);
    }

    fn is_alive(&self) {
        let _ = sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(&self.status())]);
    }

    /// How it stands, in a line.
    fn status(&self) -> String {
        let verdicts: Vec<_> =
            self.trace.verdicts().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        let found = match verdicts.as_slice() {
            [] => "nothing found".to_owned(),
            verdicts => format!("found {}", verdicts.join(", ")),
        };
        let spots = self.trace.blind_spots().len();
        let missed = if spots == 0 { "nothing missed" } else { "not everything was seen" };
        let pages = self.trace.ledger.live_pages();
        let shed = budget::title(&self.trace).map(|title| format!("; {title}")).unwrap_or_default();
        format!("{found}; {missed}; {} pinned{shed}", count(pages, "page"))
    }

    fn say(&mut self) {
        self.tee.said().iter().for_each(|line| say(line));
    }

    fn finish(&mut self) {
        self.tee.finish();
        self.say();
        self.export_metrics();
        self.exporter.take();
    }
}

/// How often the watchdog is told: twice in the time that it waits.
fn alive_each() -> Duration {
    sd_notify::watchdog_enabled().map_or(ALIVE, |patience| (patience / 2).min(ALIVE))
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0).saturating_mul(sys::page_size() as u64)
}
