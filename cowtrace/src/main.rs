//! The `cowtrace` binary: parses the command line, runs it, turns the answer into an exit status.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use cowtrace::{cli::Cli, commands, errors::exit};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match commands::run(Cli::parse()).await {
        Ok(status) => ExitCode::from(status),
        // Whoever read our output has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(exit::CLEAN),
        Err(error) => {
            // Where standard error is gone, nobody is there to be told.
            let _ = writeln!(io::stderr(), "cowtrace: {error:#}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
