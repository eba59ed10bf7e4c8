//! `cowtrace doctor`: the probe table held against this kernel.

use std::io::Write;

use aya::Ebpf;

use crate::{
    btf::Btf,
    errors::{self, exit},
    privileges::{self, Confined, Files, Remains},
    probes::{
        Devices, Need,
        attach::{self, Row},
        kernel::Kernel,
        settings::{Filter, Settings},
    },
    source::live,
};

/// Attaches everything for a moment and prints, row by row, what came of it. Exit status 0 if all that
/// verdicts need can be seen, 2 if not.
pub fn run(out: &mut dyn Write) -> anyhow::Result<u8> {
    privileges::check()?;
    let kernel = Kernel::read()?;
    let btf = Btf::parse(&kernel.btf).ok_or_else(|| errors::broken_btf(&kernel.release))?;
    let settings = Settings::find(&btf, &kernel.kallsyms, &Filter::default())?;
    let mut ebpf = attach::load(&settings, (4096, None), false)?;
    let rows = attach::attach(&mut ebpf, &kernel, &btf, (false, Some(Devices::Dma)))?.rows;
    writeln!(out, "kernel {} on {} ({})", kernel.release, kernel.host, kernel.machine)?;
    writeln!(out, "rule for write-protected pages with extra references: {}", rule(&btf))?;
    let mut missing = 0;
    for row in &rows {
        missing += usize::from(print(out, row, &kernel)?);
    }
    may(out, &ebpf)?;
    drop(ebpf);
    if missing == 0 {
        writeln!(out, "everything that verdicts need can be seen on this kernel")?;
        return Ok(exit::CLEAN);
    }
    writeln!(
        out,
        "{missing} needed rows cannot be seen: no verdict would hold, and cowtrace will not start"
    )?;
    Ok(exit::FAILED)
}

/// Prints which capabilities are there, then gives up what a trace gives up, and prints what the kernel says of it.
fn may(out: &mut dyn Write, ebpf: &Ebpf) -> anyhow::Result<()> {
    let missing = privileges::missing()?;
    writeln!(out, "what it may do")?;
    for need in privileges::NEEDS {
        let is_missing = missing.iter().any(|missing| missing.capability == need.capability);
        let name = need.capability.to_string();
        match need.without.filter(|_| is_missing) {
            None => writeln!(out, "  ok       {name:<32} {}", need.gives)?,
            Some(cost) => writeln!(out, "  MISSING  {name:<32} {cost}")?,
        }
    }
    let reads = || live::counts_can_be_read(ebpf);
    let Confined { files, calls } = privileges::confine(&Remains::default(), reads)?;
    let files = match files {
        Files::Confined => "Landlock: it writes only where a recording is",
        Files::Partly => {
            "Landlock: as far as this kernel knows it, it writes only where a recording is"
        }
        Files::Open => {
            "no Landlock on this kernel (5.13 and later, if it is on): files stay as open as its user has them"
        }
    };
    writeln!(out, "  once attached: {}", privileges::status()?.join(", "))?;
    writeln!(out, "  {files}")?;
    if let Some(why) = calls {
        writeln!(out, "  no seccomp, so all system calls are left to it: {why}")?;
    }
    Ok(())
}

fn rule(btf: &Btf) -> &'static str {
    if btf.enumerator("PG_anon_exclusive").is_some() {
        "reused if exclusive, as pinned anonymous pages are (5.19 and later)"
    } else {
        "copied, pinned or not (page_count rule, 5.9 to 5.18): COW breaks of pinned pages do happen here"
    }
}

/// Prints a row; whether it is needed and missing.
fn print(out: &mut dyn Write, row: &Row, kernel: &Kernel) -> std::io::Result<bool> {
    let needed = row.is_needed(kernel);
    let sees = row.probe.sees;
    match &row.attached {
        Some(attached) if matches!(row.probe.need, Need::Asked(_)) => {
            writeln!(out, "  asked    {sees:<32} {attached}")?;
        }
        Some(attached) => writeln!(out, "  ok       {sees:<32} {attached}")?,
        None if needed => writeln!(out, "  MISSING  {sees:<32} unseen: {}", row.probe.unseen)?,
        None => writeln!(out, "  -        {sees:<32} not on this kernel, and not needed")?,
    }
    if row.attached.is_some() || needed {
        for tried in &row.tried {
            writeln!(out, "             not {tried}")?;
        }
    }
    Ok(row.attached.is_none() && needed)
}
