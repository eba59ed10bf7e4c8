//! `cowtrace doctor`: the probe table held against this kernel.

use std::io::Write;

use crate::{
    btf::Btf,
    errors::{self, exit},
    probes::{
        attach::{self, Row},
        kernel::Kernel,
        settings::{Filter, Settings},
    },
    sys,
};

/// Attaches everything for a moment and prints, row by row, what came of it. Exit status 0 if all that
/// verdicts need can be seen, 2 if not.
pub fn run(out: &mut dyn Write) -> anyhow::Result<u8> {
    if sys::effective_uid() != 0 {
        return Err(errors::not_root());
    }
    let kernel = Kernel::read()?;
    let btf = Btf::parse(&kernel.btf).ok_or_else(|| errors::broken_btf(&kernel.release))?;
    let settings = Settings::find(&btf, &kernel.kallsyms, &Filter::default())?;
    let mut ebpf = attach::load(&settings, (4096, None), false)?;
    let rows = attach::attach(&mut ebpf, &kernel, &btf, false)?;
    drop(ebpf);
    writeln!(out, "kernel {} on {} ({})", kernel.release, kernel.host, kernel.machine)?;
    writeln!(out, "rule for write-protected pages with extra references: {}", rule(&btf))?;
    let mut missing = 0;
    for row in &rows {
        missing += usize::from(print(out, row, &kernel)?);
    }
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
