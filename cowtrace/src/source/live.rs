//! The running kernel as a source: probes on, batches out of the ring, probes off.

mod counters;
mod keeper;
mod tick;
mod unpins;
mod unreturned;
mod woven;

use std::{fs, io, os::fd::OwnedFd};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, RingBuf},
    sys::{Stats, enable_stats},
};
use aya_log::EbpfLogger;
use tokio::{io::unix::AsyncFd, time::Instant};

use self::{
    counters::Counters, keeper::Keeper, tick::Tick, unpins::Unpins, unreturned::Unreturned,
    woven::weave,
};
use super::{Batch, audit, cgroups::Cgroups, owners::Owners, rest, symbols::Symbols, vmas::Vmas};
use crate::{
    btf::Btf,
    budget::Share,
    encode::Writer,
    errors,
    event::Time,
    facts::{Facts, key},
    pagemap::{Pagemap, Question},
    privileges::opener::Opener,
    probes::{
        Devices,
        attach::{self, Attached, Row},
        kernel::Kernel,
        settings::{self, Filter, Settings},
    },
    sys::{self, Mapping},
};

/// CLOCK_REALTIME was set if it is that far from what it was, ns. Slewing sets both clocks.
const STEP_NS: Time = 100_000_000;
/// A batch ends when it is longer; what is left comes in the next.
const BATCH_BYTES: usize = 1 << 20;

/// What to trace, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// Which tasks.
    pub filter: Filter,
    /// Size of the ring.
    pub ring_bytes: u32,
    /// How many address spaces with pins there is room for, if not the usual.
    pub spaces: Option<u32>,
    /// Take kprobes before fexit where there are both.
    pub kprobes: bool,
    /// Tell short-term pins like all others.
    pub short_term: bool,
    /// Which mappings for devices are watched; none if not given.
    pub devices: Option<Devices>,
    /// Have the kernel measure how long programs run.
    pub stats: bool,
    /// What tracing may cost.
    pub budget: Option<Share>,
    /// Show what the programs log.
    pub verbose: bool,
}

/// Whether what the programs count can be read, with the capabilities that there are now.
pub fn counts_can_be_read(ebpf: &Ebpf) -> bool {
    counters::can_be_read(ebpf)
}

/// Attached probes.
pub struct Live {
    /// `None` once the probes are off the kernel.
    ebpf: Option<Ebpf>,
    ring: AsyncFd<RingBuf<MapData>>,
    ring_bytes: usize,
    /// CLOCK_REALTIME at CLOCK_BOOTTIME 0, as it was told.
    boot: Time,
    unpins: Unpins,
    log: Option<Log>,
    counters: Counters,
    unreturned: Unreturned,
    keeper: Option<Keeper>,
    symbols: Symbols,
    opener: Opener,
    cgroups: Cgroups,
    vmas: Vmas,
    owners: Owners,
    /// The kernel measures how long programs run, all there are, as long as this is open.
    _stats: Option<OwnedFd>,
    tick: Tick,
    /// Records that are ready to be told before anything else.
    ready: Batch,
    ended: bool,
}

impl Live {
    /// Attaches everything, or nothing and says why not.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        sys::keep_one_heap();
        let opener = Opener::start()?;
        let kernel = Kernel::read()?;
        let btf = Btf::parse(&kernel.btf).ok_or_else(|| errors::broken_btf(&kernel.release))?;
        let settings = Settings::find(&btf, &kernel.kallsyms, &options.filter)?;
        let settings =
            settings.telling_short_term(options.short_term).preemptible(kernel.preemptible);
        let settings = settings.shedding(options.budget.is_some());
        let before = pins_by_vmstat();
        let mut ebpf =
            attach::load(&settings, (options.ring_bytes, options.spaces), options.verbose)?;
        fill_filters(&mut ebpf, &options.filter)?;
        let Attached { rows, sheddable } =
            attach::attach(&mut ebpf, &kernel, &btf, (options.kprobes, options.devices))?;
        attach::require(&rows, &kernel)?;
        // Only now: a map that is taken out is no longer there for a program to be loaded with.
        let ring = sys::async_fd(map(&mut ebpf, "EVENTS")?)?;
        let counters = Counters::take(&mut ebpf)?;
        let unreturned = Unreturned::take(&mut ebpf)?;
        let stats = stats(options)?;
        let keep = |limit| Keeper::take(&mut ebpf, limit, sheddable);
        let keeper = options.budget.map(keep).transpose()?;
        let log = if options.verbose { Some(logger(&mut ebpf)?) } else { None };
        let ready = preamble(&kernel, &btf, &rows, options, before);
        let tick = Tick::new(options.stats || options.budget.is_some(), Instant::now());
        let facts: Facts = settings::facts(&btf).into_iter().collect();
        // The kernel's types and what was made of them: some 30 MiB that nobody needs any more.
        drop(btf);
        drop(kernel.btf);
        sys::give_back_free_memory();
        Ok(Self {
            ebpf: Some(ebpf),
            ring,
            unpins: Unpins::default(),
            log,
            counters,
            unreturned,
            keeper,
            symbols: Symbols::new(kernel.kallsyms),
            opener,
            cgroups: Cgroups::default(),
            vmas: Vmas::new(facts.clone()),
            owners: Owners::new(facts),
            _stats: stats,
            tick,
            ring_bytes: options.ring_bytes as usize,
            boot: boot_ns(),
            ready,
            ended: false,
        })
    }

    /// Waits for the next batch. Behind [`Live::stop`] comes what was left, then `None`.
    pub async fn batch(&mut self) -> io::Result<Option<Batch>> {
        loop {
            if !self.ready.is_empty() {
                return Ok(Some(std::mem::take(&mut self.ready)));
            }
            if self.ebpf.is_none() {
                return Ok(self.last_batch());
            }
            self.wait().await?;
        }
    }

    /// What the ring holds now, without waiting, and the counts. Not what comes meanwhile: that may never end.
    pub fn drain(&mut self) -> Batch {
        let mut drained = Drained::default();
        while !drained.is_empty && drained.bytes <= self.ring_bytes {
            let mut batch = Batch::new();
            let more = drain(self.ring.get_mut(), &mut self.unpins, &mut batch);
            drained = Drained { bytes: drained.bytes + more.bytes, ..more };
            self.make_ready(&batch);
        }
        self.tell_counts();
        std::mem::take(&mut self.ready)
    }

    /// Looks up where pages are mapped now.
    pub fn audit(&self, questions: &[Question]) -> Batch {
        audit::look(questions, &self.opener)
    }

    /// Whether what the programs count can be read, with the capabilities that there are now.
    pub fn can_read(&self) -> bool {
        self.counters.can_be_read()
    }

    /// Takes all probes off the kernel. The maps stay until the last batch.
    pub fn stop(&mut self) {
        if let Some(ebpf) = self.ebpf.take() {
            self.counters.read_programs(&ebpf);
            self.counters.miss(self.unreturned.count());
        }
    }

    /// Waits for records, or for the time to tell the counters.
    async fn wait(&mut self) -> io::Result<()> {
        let Self { ring, unpins, log, tick, owners, .. } = self;
        let (mut batch, mut ticked) = (Batch::new(), false);
        tokio::select! {
            ready = ring.readable_mut() => {
                let mut ready = ready?;
                if drain(ready.get_inner_mut(), unpins, &mut batch).is_empty {
                    ready.clear_ready();
                }
            }
            () = tick.reached() => ticked = true,
            () = reached(owners.due()) => {}
            logged = flush(log.as_mut()) => logged?,
        }
        if ticked {
            let before = self.ready.len();
            self.tell_clock();
            self.tell_counts();
            if self.tick.passed(self.ready.len() > before, Instant::now()) {
                // What a burst took would stay with the process for good.
                sys::give_back_free_memory();
            }
            self.keep_budget();
        } else if batch.is_empty() {
            self.owners.look(&self.opener, false, &mut self.ready);
        } else {
            self.tick.hurry(Instant::now());
            self.make_ready(&batch);
        }
        Ok(())
    }

    /// Tells that CLOCK_REALTIME was set since: an agent is often started before the network tells the time.
    fn tell_clock(&mut self) {
        let boot = boot_ns();
        if boot.abs_diff(self.boot) > STEP_NS {
            self.boot = boot;
            let mut writer = Writer::new(&mut self.ready, sys::boottime_ns());
            writer.fact(key::BOOT_SINCE, &boot.to_string());
        }
    }

    /// Sheds or takes up again, as what was spent asks for, and tells it.
    fn keep_budget(&mut self) {
        if let (Some(ebpf), Some(keeper)) = (&mut self.ebpf, &mut self.keeper) {
            let kept = keeper.keep(ebpf);
            Writer::new(&mut self.ready, sys::boottime_ns()).budget(&kept);
        }
    }

    /// Puts what a reader has to know in front of the records that came, and behind each what it left out.
    fn make_ready(&mut self, batch: &[u8]) {
        let mut owned = Batch::new();
        // First, since a process may soon be gone; names take their time.
        self.owners.note(batch, &self.symbols);
        self.owners.look(&self.opener, false, &mut owned);
        let Self { symbols, cgroups, vmas, opener, ready, .. } = self;
        weave(batch, ready, |event, front, behind| {
            symbols.tell(event, opener, front);
            cgroups.tell(event, front);
            vmas.tell(event, opener, front);
            rest::tell(event, opener, behind);
        });
        self.ready.append(&mut owned);
    }

    /// Tells the counters that have changed since they were told last.
    fn tell_counts(&mut self) {
        if let Some(ebpf) = &self.ebpf {
            self.counters.read_programs(ebpf);
        }
        self.counters.tell(&mut Writer::new(&mut self.ready, sys::boottime_ns()));
    }

    /// What is left when the probes are off: the rest of the ring, then the last counts.
    fn last_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::new();
        let drained = drain(self.ring.get_mut(), &mut self.unpins, &mut batch);
        if !drained.is_empty || !batch.is_empty() {
            self.make_ready(&batch);
            return Some(std::mem::take(&mut self.ready));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        self.owners.look(&self.opener, true, &mut self.ready);
        self.tell_counts();
        let mut writer = Writer::new(&mut self.ready, sys::boottime_ns());
        if let Some(pins) = pins_by_vmstat() {
            writer.fact(key::VMSTAT_END, &pins.to_string());
        }
        writer.fact(key::ENDED, &sys::boottime_ns().to_string());
        Some(std::mem::take(&mut self.ready))
    }
}

/// Has the kernel measure how long programs run. Whoever cannot have it goes without, unless a budget hangs on it.
fn stats(options: &Options) -> anyhow::Result<Option<OwnedFd>> {
    if !options.stats && options.budget.is_none() {
        return Ok(None);
    }
    match enable_stats(Stats::RunTime) {
        Ok(stats) => Ok(Some(stats)),
        Err(error) if options.budget.is_some() => Err(errors::no_stats(&error)),
        Err(_) => Ok(None),
    }
}

type Log = AsyncFd<EbpfLogger<&'static dyn log::Log>>;

/// Tells the programs which processes and cgroups a filter lets through.
fn fill_filters(ebpf: &mut Ebpf, filter: &Filter) -> anyhow::Result<()> {
    if let (Some(tgid), Some(map)) = (filter.tgid, ebpf.map_mut("TRACED")) {
        HashMap::<_, u32, u8>::try_from(map)?.insert(tgid, 1, 0)?;
    }
    if let (Some(cgroup), Some(map)) = (&filter.cgroup, ebpf.map_mut("CGROUPS")) {
        let mut map = HashMap::<_, u64, u8>::try_from(map)?;
        for id in &cgroup.ids {
            map.insert(id, 1, 0)?;
        }
    }
    Ok(())
}

fn logger(ebpf: &mut Ebpf) -> anyhow::Result<Log> {
    Ok(sys::async_fd(EbpfLogger::init(ebpf)?)?)
}

/// Waits until then; for ever where nothing is due.
async fn reached(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Hands on what the programs logged; waits for ever where nothing is logged.
async fn flush(log: Option<&mut Log>) -> io::Result<()> {
    let Some(log) = log else {
        return std::future::pending().await;
    };
    let mut ready = log.readable_mut().await?;
    ready.get_inner_mut().flush();
    ready.clear_ready();
    Ok(())
}

/// What draining the ring came to.
#[derive(Clone, Copy, Debug, Default)]
struct Drained {
    /// Nothing is left.
    is_empty: bool,
    /// Bytes of the ring that were taken, with what it has in front of each record.
    bytes: usize,
}

/// Moves records from the ring to the batch.
fn drain(ring: &mut RingBuf<MapData>, unpins: &mut Unpins, batch: &mut Batch) -> Drained {
    let mut drained = Drained::default();
    while batch.len() < BATCH_BYTES && !drained.is_empty {
        match ring.next() {
            Some(bytes) => {
                drained.bytes += bytes.len().next_multiple_of(8) + 8;
                unpins.take(&bytes, batch);
            }
            None => drained.is_empty = true,
        }
    }
    unpins.finish(batch);
    drained
}

fn map<M>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<M>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| anyhow::anyhow!("the object has no map {name}"))?;
    Ok(M::try_from(map)?)
}

/// What a reader has to know before the first event.
fn preamble(
    kernel: &Kernel,
    btf: &Btf,
    rows: &[Row],
    options: &Options,
    vmstat: Option<i64>,
) -> Batch {
    let now = sys::boottime_ns();
    let mut batch = Batch::new();
    let mut writer = Writer::new(&mut batch, now);
    writer.fact(key::VERSION, env!("CARGO_PKG_VERSION"));
    writer.fact(key::HOST, &kernel.host);
    writer.fact(key::KERNEL, &kernel.release);
    writer.fact(key::MACHINE, &kernel.machine);
    writer.fact(key::KERNEL_BUILD, &kernel.build);
    writer.fact(key::BTF, &format!("{:08x}", crc32fast::hash(&kernel.btf)));
    writer.fact(key::PAGE_SIZE, &sys::page_size().to_string());
    if let Some(build) = option_env!("COWTRACE_BUILD") {
        writer.fact(key::BUILD, build);
    }
    writer.fact(key::BOOT, &boot_ns().to_string());
    writer.fact(key::STARTED, &now.to_string());
    for (key, value) in settings::facts(btf) {
        writer.fact(key, &value);
    }
    if let Some(filter) = options.filter.describe() {
        writer.fact(key::FILTER, &filter);
    }
    if let Some(devices) = options.devices {
        writer.fact(key::DEVICE_MAPS, devices.name());
    }
    if let Some(pfn) = zero_pfn() {
        writer.fact(key::ZERO_PFN, &pfn.to_string());
    }
    if let Some(pins) = vmstat {
        writer.fact(key::VMSTAT_START, &pins.to_string());
    }
    for (number, row) in rows.iter().enumerate() {
        writer.probe(&row.state(number, kernel));
    }
    batch
}

/// CLOCK_REALTIME at CLOCK_BOOTTIME 0.
fn boot_ns() -> Time {
    sys::realtime_ns().saturating_sub(sys::boottime_ns())
}

/// The zero page's PFN: what an untouched page of ours is mapped to when it is read. The kernel's own
/// variable for it was renamed in 7.x (`zero_pfn`, `zero_page_pfn`).
fn zero_pfn() -> Option<u64> {
    let page = Mapping::new(1).ok()?;
    let _ = page.read_byte(0);
    Pagemap::of_this_process().ok()?.pfns(&page).ok()?.first().copied()
}

/// Pages that the kernel itself counts as pinned: acquired − released since boot.
pub fn pins_by_vmstat() -> Option<i64> {
    // The counters are kept per CPU; this folds them in. Root only.
    let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    let number = |name: &str| -> Option<i64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(number("nr_foll_pin_acquired ")? - number("nr_foll_pin_released ")?)
}
