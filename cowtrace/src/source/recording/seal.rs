//! A sealed file: what is there of a ring when something was found, joined by a thread of its own. A ring of 512 MiB
//! takes seconds to copy, in which records go on coming.

use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::mpsc::Sender,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
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

/// One that is there, or why there is none.
pub type Told = Result<Sealed, String>;

/// What goes into it, in this order: the files, and how much of each, since it may still be written.
pub type Sources = Vec<(PathBuf, u64)>;

/// One that is being made; waited for when it is dropped.
#[derive(Debug)]
pub struct Sealing(Option<JoinHandle<()>>);

impl Sealing {
    /// Begins to join whole blocks, as they are, in a new file. Whether it is there is told then.
    pub fn begin(
        path: &Path,
        sources: Sources,
        is_last: bool,
        tell: &Sender<Told>,
    ) -> Option<Self> {
        let (file, teller) = (path.to_owned(), tell.clone());
        let begun = Self::doing(move || {
            let joined = join(&file, &sources).map_err(|error| cannot(&file, &error));
            // Nobody listens when the recording is about to end; the file is there all the same.
            let _ = teller.send(joined.map(|()| Sealed { path: file, is_last }));
        });
        begun.map_err(|error| tell.send(Err(cannot(path, &error)))).ok()
    }

    /// One that is made like this.
    pub fn doing(make: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        Ok(Self(Some(thread::Builder::new().name("seal".to_owned()).spawn(make)?)))
    }

    /// Whether it is there, or cannot be.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        // A panic was printed, and has sealed nothing.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

fn cannot(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    format!("cannot seal {path}: {error}; what was found is in the ring alone, which goes on")
}

/// Joins them in a file, which is removed where that fails.
fn join(path: &Path, sources: &Sources) -> io::Result<()> {
    let mut whole = Part::create(path)?;
    let mut fill = || {
        for source in sources {
            match copy(source, &mut whole) {
                // Somebody took it away; what is behind it begins with a keyframe.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => copied?,
            }
        }
        whole.close()
    };
    let joined = fill().and_then(|()| whole.end().map(drop));
    if joined.is_err() {
        let _ = fs::remove_file(path);
    }
    joined
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

/// How many more files may be sealed: a process that loses a page each minute does not fill the disk.
#[derive(Debug)]
pub struct Allowance {
    left: usize,
    /// Up to when days are counted in.
    since: Instant,
}

impl Allowance {
    /// As many there are at first, and at most.
    pub const MOST: usize = 16;
    /// What is found in the second month of an agent is sealed too: there is one more after so long.
    const EACH: Duration = Duration::from_hours(24);

    /// All of them.
    pub fn new(now: Instant) -> Self {
        Self { left: Self::MOST, since: now }
    }

    /// How many there are.
    pub fn left(&self, now: Instant) -> usize {
        let days = now.saturating_duration_since(self.since).as_secs() / Self::EACH.as_secs();
        let earned = usize::try_from(days).unwrap_or(Self::MOST);
        self.left.saturating_add(earned).min(Self::MOST)
    }

    /// One of them is sealed.
    pub fn take(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let whole = passed.as_secs() / Self::EACH.as_secs() * Self::EACH.as_secs();
        self.left = self.left(now).saturating_sub(1);
        self.since += Duration::from_secs(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn there_is_one_more_for_each_day_and_never_more_than_at_first() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        assert_eq!(allowance.left(begin + 200 * 24 * HOUR), 16, "quiet days are no reason");
        for _ in 0..16 {
            allowance.take(begin + HOUR);
        }
        assert_eq!(allowance.left(begin + 23 * HOUR), 0);
        assert_eq!(allowance.left(begin + 24 * HOUR), 1);
        allowance.take(begin + 30 * HOUR);
        assert_eq!(allowance.left(begin + 47 * HOUR), 0);
        assert_eq!(allowance.left(begin + 48 * HOUR), 1, "a day is a day whenever one is taken");
        assert_eq!(allowance.left(begin + 400 * 24 * HOUR), 16);
    }
}
