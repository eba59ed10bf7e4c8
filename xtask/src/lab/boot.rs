//! One boot of one guest, from the initramfs to how it ended.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    channel::Listeners,
    emulator::Emulator,
    ending::{Ending, Guest},
    lines,
    options::Machine,
    place::{self, Place},
    programs, qemu,
    terminal::Size,
};
use crate::{
    initramfs::{self, Contents},
    kernels::Bootable,
};

/// Powering off takes well under a second.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(20);

/// Where COMMAND's stdout and stderr go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To ours, as they come.
    Inherit,
    /// Into [`Guest`].
    Capture,
    /// COMMAND gets our terminal.
    Terminal(Size),
}

/// What to boot.
pub struct Boot<'a> {
    /// The kernel.
    pub kernel: &'a Bootable,
    /// The static binary.
    pub cowtrace: &'a Path,
    /// The hardware.
    pub machine: &'a Machine,
    /// Texts for the guest: path and bytes.
    pub texts: &'a [(String, Vec<u8>)],
    /// What to run.
    pub command: &'a [OsString],
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Where its output goes.
    pub output: Output,
}

impl Boot<'_> {
    /// Boots, runs COMMAND, waits for the end.
    pub fn run(&self) -> Result<Guest> {
        let place = Place::create()?;
        let directory = place.path();
        let initramfs = directory.join("initramfs");
        fs::write(&initramfs, self.initramfs()?)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        for disk in qemu::disks(self.machine) {
            File::create(directory.join(disk.name))?.set_len(u64::from(disk.mib) << 20)?;
        }
        let listeners = Listeners::bind(directory)?;
        let mut emulator = Emulator::start(&qemu::arguments(
            self.machine,
            self.kernel,
            &qemu::Files { directory, initramfs: &initramfs },
        ))?;
        let streams = listeners.accept(emulator.child())?;
        self.attend(emulator, streams, place::log_file(&self.kernel.name)?)
    }

    fn initramfs(&self) -> Result<Vec<u8>> {
        let mut settings = self.machine.settings();
        if let Output::Terminal(Size { rows, columns }) = self.output {
            let term = std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned());
            settings.extend([
                ("TERMINAL", term),
                ("ROWS", rows.to_string()),
                ("COLUMNS", columns.to_string()),
            ]);
        }
        let with = [self.machine.with.clone(), programs::of(self.machine)?].concat();
        let contents = Contents {
            cowtrace: self.cowtrace,
            with: &with,
            texts: self.texts,
            modules: &self.machine.all_modules(),
            settings: &settings,
            command: self.command,
        };
        initramfs::build(&contents, self.kernel)
    }

    /// Carries the guest's lines to where they belong until it is down.
    fn attend(
        &self,
        mut emulator: Emulator,
        [console, out, err, control]: [UnixStream; 4],
        log: PathBuf,
    ) -> Result<Guest> {
        let to_log =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let console = lines::pour(console, to_log, None);
        let (say, said) = mpsc::channel();
        let (out, err) = match self.output {
            Output::Capture => (lines::collect(out), lines::collect(err)),
            Output::Inherit | Output::Terminal(_) => {
                self.pass_keys(&out)?;
                let out = lines::pour(out, io::stdout(), Some(say.clone()));
                (out, lines::pour(err, io::stderr(), None))
            }
        };
        lines::listen(control, say);
        let ending = lines::follow(&said, self.timeout);
        if matches!(ending, Ending::Exited(_) | Ending::Unfit(_)) {
            emulator.wait_for(POWER_OFF_LIMIT);
        }
        drop(emulator); // It closes the lines, so that their readers end.
        let _ = console.join();
        let stdout = out.join().unwrap_or_default();
        let stderr = err.join().unwrap_or_default();
        Ok(Guest { ending, stdout, stderr, log })
    }

    /// On a terminal, what is typed goes to the guest; the thread ends with xtask.
    fn pass_keys(&self, line: &UnixStream) -> Result<()> {
        if let Output::Terminal(_) = self.output {
            let keys = line.try_clone().context("cannot share the terminal's line")?;
            thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut &keys));
        }
        Ok(())
    }
}
