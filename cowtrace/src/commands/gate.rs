//! `cowtrace gate -- CMD`: a command under trace, and an exit status that a CI can go by.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
};

use super::{
    attach,
    follow::{End, Follow, Until},
    tee,
    waiting::Waiting,
};
use crate::{
    cli::{GateArgs, PrintArgs, UntilArgs},
    errors,
    event::harmless,
    files,
    privileges::Remains,
    signals::Signals,
    sinks::{
        filter::Filter,
        report::{Form, Gate, Ran, Report},
    },
    sys,
};

/// Runs the command, prints the answer and writes the files.
pub async fn run(args: GateArgs) -> anyhow::Result<u8> {
    let files = files(&args)?;
    let line = line(&args.command);
    let until = UntilArgs { command: args.command, duration: None };
    let waiting = Waiting::of(&until.command)?;
    let beside = Remains::beside(args.trace.record.as_deref());
    let remains = Remains { ends_command: true, ..beside };
    let source = attach(&args.trace.scope, Some(&until), &remains)?;
    let signals = Signals::listen(false)?;
    let tee = tee(&args.trace)?;
    let until = Until::start(signals, waiting, None)?;
    let command = until.command();
    let follow = Follow {
        print: PrintArgs::default(),
        tee,
        only_records: false,
        // What fails is told at the end, a group at a time.
        out: &mut io::sink(),
    };
    let End { trace, command: ended, .. } = follow.run(source, until).await?;
    if let (None, Some(pid)) = (ended, command) {
        sys::terminate(pid);
    }
    let gate = Gate { fail_on: args.fail_on, ran: Some(Ran { line, ended }) };
    let report = Report::new(&[("gate".to_owned(), trace)], &Filter::default()).of_a_run(&gate);
    gate.write(&report, &mut io::stderr().lock())?;
    for (form, path, mut file) in files {
        let mut text = Vec::new();
        report.write(form, &gate, &mut text)?;
        file.write_all(&text).map_err(|error| errors::gate_write(&path, &error))?;
    }
    Ok(report.hosts.first().map_or(errors::exit::FAILED, |host| gate.status(host)))
}

/// The files asked for, open and empty: what cannot be written is known before the command starts, and no result of an
/// earlier run is left to be taken for one of this.
fn files(args: &GateArgs) -> anyhow::Result<Vec<(Form, PathBuf, File)>> {
    let asked = [(Form::Junit, &args.junit), (Form::Sarif, &args.sarif)];
    let asked = asked.into_iter().filter_map(|(form, path)| Some((form, path.clone()?)));
    let open = |(form, path): (Form, PathBuf)| match files::replace(&path) {
        Ok(file) => Ok((form, path, file)),
        Err(error) => Err(errors::gate_create(&path, &error)),
    };
    asked.map(open).collect()
}

/// A command as a line for people. Its words may hold anything.
fn line(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").chars().map(harmless).collect()
}
