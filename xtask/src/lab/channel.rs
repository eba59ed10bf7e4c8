//! The guest's four serial lines, each a Unix socket on the host.
//!
//! 16550 ports are built into every kernel, and bytes pass them unchanged.

use std::{
    fs, io,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::Child,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// One serial line.
pub struct Channel {
    /// The socket's file name and QEMU's name for it.
    pub name: &'static str,
    /// N of ttySN.
    pub port: u8,
    /// Interrupt: the PC's default has two ports share one, which loses some.
    pub irq: u8,
}

/// The kernel's log, COMMAND's stdout (or terminal) and stderr, and init's word to us.
pub const ALL: [Channel; 4] = [
    Channel { name: "console", port: 0, irq: 4 },
    Channel { name: "stdout", port: 1, irq: 3 },
    Channel { name: "stderr", port: 2, irq: 5 },
    Channel { name: "control", port: 3, irq: 7 },
];

/// The sockets before QEMU connects to them.
pub struct Listeners(Vec<UnixListener>);

impl Listeners {
    /// Binds one socket for each channel.
    pub fn bind(directory: &Path) -> Result<Self> {
        ALL.iter()
            .map(|channel| {
                let path = directory.join(channel.name);
                let _ = fs::remove_file(&path);
                let listener = UnixListener::bind(&path).with_context(|| {
                    format!("cannot bind {} (a shorter TMPDIR may help)", path.display())
                })?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Waits for QEMU to connect to all; an error if it ends before.
    pub fn accept(&self, qemu: &mut Child) -> Result<[UnixStream; 4]> {
        let mut streams = Vec::new();
        for listener in &self.0 {
            streams.push(accept(listener, qemu)?);
        }
        match streams.try_into() {
            Ok(streams) => Ok(streams),
            Err(_) => bail!("one socket for each channel"),
        }
    }
}

fn accept(listener: &UnixListener, qemu: &mut Child) -> Result<UnixStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot accept QEMU's connection"),
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended before the guest started ({status})");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
