//! A sealed file: what is there of a ring when something was found, joined by a thread of its own. A ring of 512 MiB
//! takes seconds to copy, in which records go on coming.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    path::PathBuf,
    sync::mpsc::Sender,
    thread::{self, JoinHandle},
};

use super::{
    HEADER,
    block::{FRAME, Frame, Holds},
    part::Part,
};

/// A file that was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Where it is.
    pub path: PathBuf,
    /// There may be no other one before tomorrow.
    pub is_last: bool,
}

/// What goes into it, in this order: the files, and how much of each, since it may still be written.
pub type Sources = Vec<(PathBuf, u64)>;

/// One that is being made.
#[derive(Debug)]
pub struct Sealing(JoinHandle<io::Result<()>>);

impl Sealing {
    /// Begins to join whole blocks, as they are, in a file that was just begun. It is told when it is there.
    pub fn begin(
        mut whole: Part,
        sources: Sources,
        is_last: bool,
        tell: Sender<Sealed>,
    ) -> io::Result<Self> {
        let join = move || {
            for source in &sources {
                copy(source, &mut whole)?;
            }
            whole.close()?;
            let path = whole.path.clone();
            whole.end()?;
            // Nobody listens when the recording is about to end; the file is there all the same.
            let _ = tell.send(Sealed { path, is_last });
            Ok(())
        };
        Ok(Self(thread::Builder::new().name("seal".to_owned()).spawn(join)?))
    }

    /// Whether it is there, or cannot be.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for it.
    pub fn finish(self) -> io::Result<()> {
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("what seals files panicked")))
    }
}

/// The blocks of a file, without its index.
fn copy((from, bytes): &(PathBuf, u64), to: &mut Part) -> io::Result<()> {
    let mut file = BufReader::new(File::open(from)?.take(*bytes));
    io::copy(&mut file.by_ref().take(HEADER as u64), &mut io::sink())?;
    let mut bytes = [0; FRAME];
    while file.read_exact(&mut bytes).is_ok() {
        let frame = Frame::parse(&bytes);
        let mut block = bytes.to_vec();
        file.by_ref().take(frame.stored.into()).read_to_end(&mut block)?;
        if frame.holds() != Some(Holds::Index) {
            to.copy(&frame, &block)?;
        }
    }
    Ok(())
}
