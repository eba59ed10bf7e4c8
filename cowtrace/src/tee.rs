//! What of a run is recorded: bytes before they are decoded, and, from what they came to, keyframes and which findings
//! are worth a file of their own.

use std::path::Path;

use crate::{
    finding::Verdict,
    source::recording::{Plan, Recorder, dated},
    trace::{Change, Trace},
};

/// A recording beside a run, or none.
#[derive(Debug, Default)]
pub struct Tee {
    recorder: Option<Recorder>,
    /// Findings at least as bad are sealed, where the plan has that.
    seal: Option<Verdict>,
    said: Vec<String>,
}

impl Tee {
    /// Into a file that is created now; findings from `seal` on are sealed if the plan says so.
    pub fn create(path: &Path, plan: Plan, seal: Verdict) -> anyhow::Result<Self> {
        let recorder = Some(Recorder::create(path, plan)?);
        let seal = plan.seal_after.map(|_| seal);
        Ok(Self { recorder, seal, said: Vec::new() })
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
            None => self.said().pop().unwrap_or_default(),
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
            if self.seal.is_some_and(|least| finding.verdict >= least) {
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
        let sealed = self.recorder.iter().flat_map(Recorder::sealed);
        self.said.extend(sealed.map(|path| format!("sealed {}", path.display())));
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
