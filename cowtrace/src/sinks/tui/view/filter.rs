//! Which findings are listed: those that have every word typed, somewhere.

use std::fmt::Write;

use crate::finding::Finding;

/// Words that a finding must have. None: every finding is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    words: Vec<String>,
}

impl Filter {
    /// Reads what the user typed; case does not matter.
    pub fn parse(text: &str) -> Self {
        let words = text.split_whitespace().map(str::to_lowercase).collect();
        Self { text: text.trim().to_owned(), words }
    }

    /// As typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether everything is listed.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a finding is listed.
    pub fn takes(&self, finding: &Finding) -> bool {
        if self.is_empty() {
            return true;
        }
        let text = searchable(finding);
        self.words.iter().all(|word| text.contains(word))
    }
}

/// Everything of a finding that words are looked for in, a line each so that none spans two.
fn searchable(finding: &Finding) -> String {
    let writer = finding.writer;
    let mut text = format!(
        "{}\n{}\n{}\n{}\n{:#x}",
        finding.verdict, writer.comm, writer.tgid, writer.tid, finding.address
    );
    if let Some(pin) = &finding.pin {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}\n{}\n{}", pin.holder.comm, pin.holder.tgid, pin.holder.tid);
    }
    text.to_lowercase()
}
