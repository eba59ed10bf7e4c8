//! What of a run is recorded: bytes before they are decoded, and, from what they came to, keyframes and which findings
//! are worth a file of their own.

use std::{collections::HashMap, path::Path};

use crate::{
    finding::Verdict,
    source::recording::{Plan, Recorder, Sealed, dated},
    trace::{Change, Trace},
};

/// A recording beside a run, or none.
#[derive(Debug, Default)]
pub struct Tee {
    recorder: Option<Recorder>,
    /// None where the plan seals nothing.
    seals: Option<Seals>,
    said: Vec<String>,
}

/// Which findings are worth a file of their own.
#[derive(Debug)]
struct Seals {
    /// At least as bad.
    least: Verdict,
    /// What was told of which finding.
    told: HashMap<usize, Verdict>,
}

impl Seals {
    /// Whether a finding is, now: it was not yet, or is worse than it was. Its end alone is no news.
    fn takes(&mut self, id: usize, verdict: Verdict) -> bool {
        let is_news = self.told.get(&id).is_none_or(|before| verdict > *before);
        let takes = verdict >= self.least && is_news;
        if takes {
            self.told.insert(id, verdict);
        }
        takes
    }
}

impl Tee {
    /// Into a file that is created now; findings from `seal` on are sealed if the plan says so.
    pub fn create(path: &Path, plan: Plan, seal: Verdict) -> anyhow::Result<Self> {
        let recorder = Some(Recorder::create(path, plan)?);
        let seals = plan.seal_after.map(|_| Seals { least: seal, told: HashMap::new() });
        Ok(Self { recorder, seals, said: Vec::new() })
    }

    /// Begins a recording in the working folder with all that is known by now; in words what became of it.
    pub fn start(&mut self, trace: &Trace) -> String {
        if !trace.is_settled() {
            return "something is about to be told: try again in a second".to_owned();
        }
        let path = dated("cowtrace");
        match Self::create(&path, Plan::default(), Verdict::Lost) {
            Ok(tee) => *self = tee,
            Err(error) => return format!("{error:#}"),
        }
        self.with(|recorder| recorder.keyframe(trace.keyframe()));
        format!("recording to {}", path.display())
    }

    /// Ends it; in words what became of it.
    pub fn stop(&mut self) -> String {
        let path = self.path().map(Path::to_owned).unwrap_or_default();
        match self.finish() {
            Some(bytes) => format!("recorded {bytes} bytes to {}", path.display()),
            None => self.said().join("; "),
        }
    }

    /// Where it is recorded to.
    pub fn path(&self) -> Option<&Path> {
        self.recorder.as_ref().map(Recorder::path)
    }

    /// Whether anything is recorded.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Takes a batch that will be folded. Where it cannot be recorded the recording ends, and the run goes on.
    pub fn write(&mut self, batch: &[u8]) {
        self.with(|recorder| recorder.write(batch));
    }

    /// The batches written so far have been folded, with these changes.
    pub fn folded(&mut self, trace: &Trace, changes: &[Change]) {
        for change in changes {
            let (Change::Opened(index) | Change::Updated(index)) = *change;
            let Some(finding) = trace.findings.get(index) else { continue };
            let (id, verdict) = (finding.id, finding.verdict);
            if self.seals.as_mut().is_some_and(|seals| seals.takes(id, verdict)) {
                let rank = Verdict::ALL.iter().position(|other| *other == finding.verdict);
                let name = format!("finding-{}-{}", finding.id, finding.verdict);
                self.with(|recorder| recorder.found(name, rank.unwrap_or(0)));
            }
        }
        // What is held back is in no keyframe; it is told within a second.
        if self.recorder.as_ref().is_some_and(Recorder::wants_keyframe) && trace.is_settled() {
            self.with(|recorder| recorder.keyframe(trace.keyframe()));
        }
        self.tell_sealed();
    }

    /// What there is to tell the user since this was asked last.
    pub fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// Ends the recording; its bytes. `None` without one that is whole.
    pub fn finish(&mut self) -> Option<u64> {
        let bytes = self.with(Recorder::finish);
        self.tell_sealed();
        self.recorder = None;
        bytes
    }

    fn tell_sealed(&mut self) {
        for told in self.recorder.iter().flat_map(Recorder::sealed) {
            match told {
                Ok(Sealed { path, is_last }) => {
                    self.said.push(format!("sealed {}", path.display()));
                    if is_last {
                        let no_more = "no more files are sealed before tomorrow: what is found until then is in the ring alone";
                        self.said.push(no_more.to_owned());
                    }
                }
                Err(why) => self.said.push(why),
            }
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Recorder) -> anyhow::Result<T>) -> Option<T> {
        match act(self.recorder.as_mut()?) {
            Ok(done) => Some(done),
            Err(error) => {
                self.tell_sealed();
                self.recorder = None;
                self.said.push(format!("{error:#}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_sealed_once_and_again_when_it_is_worse() {
        let mut seals = Seals { least: Verdict::Suspect, told: HashMap::new() };
        assert!(!seals.takes(1, Verdict::SuspectGet));
        assert!(seals.takes(1, Verdict::Diverged));
        assert!(!seals.takes(1, Verdict::Diverged), "its pin has ended");
        assert!(seals.takes(1, Verdict::Lost));
        assert!(!seals.takes(1, Verdict::Diverged));
        assert!(seals.takes(2, Verdict::Suspect));
    }
}
