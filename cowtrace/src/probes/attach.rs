//! From the table to attached programs: for each thing seen the first hook that this kernel takes.
//!
//! Hooks are chosen by BTF prototype and by what attaches, never by version: distributions backport.
//! Being in BTF is not enough (some functions are notrace), so the attempt itself decides.

use std::collections::BTreeSet;

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        BtfTracePoint, FEntry, FExit, KProbe, Program as Loaded, ProgramError,
        fentry::FEntryLinkId, fexit::FExitLinkId, kprobe::KProbeLinkId,
    },
};
use cowtrace_common::{program::Program, setting::Stage};

use super::{Attachment, Devices, Need, Point, Probe, TABLE, kernel::Kernel, settings::Settings};
use crate::{btf::Btf, budget, errors, event::ProbeState};

/// The object that build/ brought.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cowtrace.bpf.o"));

/// The object's bytes, for tests.
pub fn object() -> &'static [u8] {
    OBJECT
}

/// What came of a row.
pub struct Row {
    /// The row.
    pub probe: &'static Probe,
    /// How it is attached: `fexit do_wp_page`; `None`: it is not.
    pub attached: Option<String>,
    /// Hooks that were tried before and why they did not do.
    pub tried: Vec<String>,
}

impl Row {
    /// Whether verdicts hold although this row is not attached.
    pub fn is_needed(&self, kernel: &Kernel) -> bool {
        match self.probe.need {
            Need::Always => true,
            Need::Where(function) => kernel.kallsyms.address(function).is_some(),
            Need::Extra | Need::Asked(_) => false,
        }
    }

    /// As the trace keeps it.
    pub fn state(&self, number: usize, kernel: &Kernel) -> ProbeState {
        let unseen = if self.is_needed(kernel) { self.probe.unseen } else { "" };
        ProbeState {
            row: number as u8,
            sees: self.probe.sees.to_owned(),
            attached: self.attached.clone().unwrap_or_default(),
            unseen: unseen.to_owned(),
        }
    }
}

/// Loads the maps with the settings, the ring's size and the room for address spaces among them; no program yet.
pub fn load(
    settings: &Settings,
    (ring_bytes, spaces): (u32, Option<u32>),
    verbose: bool,
) -> anyhow::Result<Ebpf> {
    // Every level that aya-log has, or none: the verifier prunes what is off.
    let level: u8 = if verbose { u8::MAX } else { 0 };
    let mut loader = EbpfLoader::new();
    if let Some(spaces) = spaces {
        loader.map_max_entries("MMS", spaces);
    }
    loader
        .override_global("OFFSETS", &settings.offsets, true)
        .override_global("SETTINGS", &settings.numbers, true)
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries("EVENTS", ring_bytes)
        .load(OBJECT)
        .map_err(|error| errors::refused(&chain(&error)))
}

/// Attaches the table, row by row, without rows that are not asked for; with `kprobes`, by the hooks of a kernel
/// without fexit where a row has such. An error of the kernel that would meet every row ends it.
pub fn attach(
    ebpf: &mut Ebpf,
    kernel: &Kernel,
    btf: &Btf,
    (kprobes, devices): (bool, Option<Devices>),
) -> anyhow::Result<Attached> {
    let types = aya::Btf::parse(&btf.only(&names()), aya::Endianness::default())
        .map_err(|_| errors::broken_btf(&kernel.release))?;
    let (loaded, sheddable) = (BTreeSet::new(), Vec::new());
    let mut attacher = Attacher { ebpf, kernel, btf, types, kprobes, loaded, sheddable };
    let asked = TABLE.iter().filter(|probe| probe.need.is_asked(devices));
    let rows: anyhow::Result<_> = asked.map(|probe| attacher.row(probe)).collect();
    Ok(Attached { rows: rows?, sheddable: attacher.sheddable })
}

/// Names that stand in BTF for the places of the table: the function's, and a tracepoint's typedef.
fn names() -> BTreeSet<String> {
    let places = TABLE.iter().flat_map(|probe| probe.any_of.iter().copied().flatten());
    let name = |attachment: &Attachment| match attachment.at {
        Point::Tracepoint(name) => format!("btf_trace_{name}"),
        at => at.function().to_owned(),
    };
    places.map(name).collect()
}

/// What came of the table.
pub struct Attached {
    /// Row by row.
    pub rows: Vec<Row>,
    /// What can be taken off and put on again.
    pub sheddable: Vec<Sheddable>,
}

/// A program that can be taken off its place, and put there again.
pub struct Sheddable {
    /// With which stage.
    pub stage: Stage,
    program: Program,
    at: Point,
    /// None while it is off.
    link: Option<Link>,
}

impl Sheddable {
    /// Takes it off. It stays loaded, and costs nothing.
    pub fn shed(&mut self, ebpf: &mut Ebpf) {
        if let (Some(link), Some(loaded)) =
            (self.link.take(), ebpf.program_mut(self.program.name()))
        {
            // What is there can be taken off: nothing else can go wrong.
            let _ = link.detach(loaded);
        }
    }

    /// Puts it where it was; whether it is there. Kernels before 5.13 take no fexit program a second time.
    pub fn take_up(&mut self, ebpf: &mut Ebpf) -> bool {
        if self.link.is_none()
            && let Some(loaded) = ebpf.program_mut(self.program.name())
        {
            self.link = attach_loaded(loaded, self.at).ok();
        }
        self.link.is_some()
    }
}

/// A program at its place.
enum Link {
    Entry(FEntryLinkId),
    Exit(FExitLinkId),
    Kprobe(KProbeLinkId),
    /// One that is never taken off alone.
    Tracepoint,
}

impl Link {
    fn detach(self, loaded: &mut Loaded) -> Result<(), ProgramError> {
        match self {
            Self::Entry(id) => <&mut FEntry>::try_from(loaded)?.detach(id),
            Self::Exit(id) => <&mut FExit>::try_from(loaded)?.detach(id),
            Self::Kprobe(id) => <&mut KProbe>::try_from(loaded)?.detach(id),
            Self::Tracepoint => Ok(()),
        }
    }
}

/// The first row without which no verdict holds and that is not attached, as an error.
pub fn require(rows: &[Row], kernel: &Kernel) -> anyhow::Result<()> {
    match rows.iter().find(|row| row.attached.is_none() && row.is_needed(kernel)) {
        Some(row) => Err(errors::unseen(row.probe.sees, &kernel.release, &row.tried)),
        None => Ok(()),
    }
}

struct Attacher<'a> {
    ebpf: &'a mut Ebpf,
    kernel: &'a Kernel,
    btf: &'a Btf<'a>,
    types: aya::Btf,
    kprobes: bool,
    /// Programs that are loaded: one can be attached to several functions.
    loaded: BTreeSet<Program>,
    sheddable: Vec<Sheddable>,
}

impl Attacher<'_> {
    fn row(&mut self, probe: &'static Probe) -> anyhow::Result<Row> {
        let mut tried = Vec::new();
        let kprobes = self.kprobes;
        let by_kprobe = probe.any_of.iter().filter(|hook| kprobes && is_by_kprobe(hook));
        for hook in by_kprobe.chain(probe.any_of) {
            match self.hook(hook) {
                Ok(attached) => {
                    return Ok(Row { probe, attached: Some(attached), tried });
                }
                Err(Refusal::Here(reason)) => tried.push(reason),
                Err(Refusal::Everywhere(reason)) => return Err(errors::refused(&reason)),
            }
        }
        Ok(Row { probe, attached: None, tried })
    }

    /// Attaches all of a hook, or nothing.
    fn hook(&mut self, hook: &[Attachment]) -> Result<String, Refusal> {
        let preemptible = self.kernel.preemptible;
        let hook: Vec<_> =
            hook.iter().filter(|at| is_called_for(at.program, preemptible)).collect();
        for attachment in &hook {
            self.fits(attachment.at).map_err(Refusal::Here)?;
        }
        // The youngest kprobe of a function runs first, and a kretprobe hides the caller: an entry has to be younger.
        let mut order = hook.clone();
        order.sort_by_key(|attachment| !matches!(attachment.at, Point::Kretprobe(_)));
        for (n, attachment) in order.iter().enumerate() {
            if let Err(error) = self.attach(**attachment) {
                for attached in &order[..n] {
                    self.detach(attached.program);
                }
                return Err(refusal(**attachment, &error));
            }
        }
        let mut done: Vec<String> = Vec::new();
        for attachment in hook {
            let at = format!("{} {}", attachment.at.mode(), attachment.at.function());
            if !done.contains(&at) {
                done.push(at);
            }
        }
        Ok(done.join(" + "))
    }

    /// Whether the kernel has such a place.
    fn fits(&self, at: Point) -> Result<(), String> {
        let name = at.function();
        match at {
            Point::Fentry(want) | Point::Fexit(want) | Point::KprobeAs(want) => {
                match self.btf.prototype(name) {
                    Some(found) if found == want => Ok(()),
                    Some(found) => Err(format!("{} {name}: this kernel has {found}", at.mode())),
                    None => Err(format!("{} {name}: not a function of this kernel", at.mode())),
                }
            }
            Point::FentryAny(_) | Point::FexitAny(_) => {
                let known = self.btf.prototype(name).is_some();
                known.then_some(()).ok_or(format!("{} {name}: not in BTF", at.mode()))
            }
            Point::Kprobe(_) | Point::Kretprobe(_) => self.has_symbol(at, name),
            Point::KprobeIf(_, other) => {
                self.has_symbol(at, name).and_then(|()| self.has_symbol(at, other))
            }
            Point::Tracepoint(_) => Ok(()),
        }
    }

    fn has_symbol(&self, at: Point, name: &str) -> Result<(), String> {
        let known = self.kernel.kallsyms.address(name).is_some();
        known.then_some(()).ok_or(format!("{} {}: no symbol {name}", at.mode(), at.function()))
    }

    fn attach(&mut self, attachment: Attachment) -> Result<(), ProgramError> {
        let Attachment { program, at } = attachment;
        let fresh = self.loaded.insert(program);
        let loaded = self.ebpf.program_mut(program.name()).ok_or(ProgramError::NotLoaded)?;
        let result = attach_to(loaded, at, &self.types, fresh);
        if result.is_err() && fresh {
            // Loaded for another function it may yet do.
            self.detach(program);
        }
        let link = Some(result?);
        if let Some(stage) = budget::sheds(program) {
            self.sheddable.push(Sheddable { stage, program, at, link });
        }
        Ok(())
    }

    fn detach(&mut self, program: Program) {
        if let Some(loaded) = self.ebpf.program_mut(program.name()) {
            unload(loaded);
        }
        self.loaded.remove(&program);
        self.sheddable.retain(|sheddable| sheddable.program != program);
    }
}

/// Whether a program has anything to do: an understudy only where the kernel may skip the one that it stands in for.
fn is_called_for(program: Program, preemptible: bool) -> bool {
    let skipped = |first: Program| preemptible || first.is_run_by_interrupts();
    program.stands_in_for().is_none_or(skipped)
}

fn is_by_kprobe(hook: &[Attachment]) -> bool {
    hook.iter().all(|attachment| matches!(attachment.at, Point::Kprobe(_) | Point::Kretprobe(_)))
}

/// Why a hook does not do.
enum Refusal {
    /// This one.
    Here(String),
    /// None would: the kernel takes no tracing programs from us.
    Everywhere(String),
}

fn refusal(attachment: Attachment, error: &ProgramError) -> Refusal {
    let text = format!("{} {}: {}", attachment.at.mode(), attachment.at.function(), chain(error));
    match error {
        ProgramError::LoadError { io_error, .. }
            if io_error.raw_os_error() == Some(libc::EPERM) =>
        {
            Refusal::Everywhere(text)
        }
        _ => Refusal::Here(text),
    }
}

fn attach_to(
    loaded: &mut Loaded,
    at: Point,
    types: &aya::Btf,
    fresh: bool,
) -> Result<Link, ProgramError> {
    let name = at.function();
    match at {
        Point::Fentry(_) | Point::FentryAny(_) => {
            <&mut FEntry>::try_from(&mut *loaded)?.load(name, types)?;
        }
        Point::Fexit(_) | Point::FexitAny(_) => {
            <&mut FExit>::try_from(&mut *loaded)?.load(name, types)?;
        }
        Point::Kprobe(_) | Point::KprobeIf(..) | Point::KprobeAs(_) | Point::Kretprobe(_) => {
            if fresh {
                <&mut KProbe>::try_from(&mut *loaded)?.load()?;
            }
        }
        Point::Tracepoint(_) => {
            <&mut BtfTracePoint>::try_from(&mut *loaded)?.load(name, types)?;
        }
    }
    attach_loaded(loaded, at)
}

fn attach_loaded(loaded: &mut Loaded, at: Point) -> Result<Link, ProgramError> {
    Ok(match at {
        Point::Fentry(_) | Point::FentryAny(_) => {
            Link::Entry(<&mut FEntry>::try_from(loaded)?.attach()?)
        }
        Point::Fexit(_) | Point::FexitAny(_) => {
            Link::Exit(<&mut FExit>::try_from(loaded)?.attach()?)
        }
        Point::Kprobe(_) | Point::KprobeIf(..) | Point::KprobeAs(_) | Point::Kretprobe(_) => {
            Link::Kprobe(<&mut KProbe>::try_from(loaded)?.attach(at.function(), 0)?)
        }
        Point::Tracepoint(_) => {
            <&mut BtfTracePoint>::try_from(loaded)?.attach()?;
            Link::Tracepoint
        }
    })
}

/// Takes a program off all its places and out of the kernel.
fn unload(loaded: &mut Loaded) {
    // A program that was not loaded has nothing to take off, which is all that can go wrong.
    let _ = match loaded {
        Loaded::FEntry(program) => program.unload(),
        Loaded::FExit(program) => program.unload(),
        Loaded::KProbe(program) => program.unload(),
        Loaded::BtfTracePoint(program) => program.unload(),
        _ => Ok(()),
    };
}

/// An error and its sources on one line, the verifier's last words included.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}
