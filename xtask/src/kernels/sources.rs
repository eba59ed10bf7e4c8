//! The mirror this machine already uses, read from its own apt sources.
//!
//! The lab asks the same mirror for other suites. No host name stands here, so
//! a machine behind a mirror of its own works unchanged.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// Suites that only Debian's own archive has: they tell it from third parties.
const CODENAMES: [&str; 8] =
    ["bullseye", "bookworm", "trixie", "forky", "stable", "oldstable", "testing", "sid"];

/// Where Debian's packages come from on this machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The main archive.
    pub archive: String,
    /// The security archive, where the machine uses it.
    pub security: Option<String>,
}

impl Mirror {
    /// The URI that serves a suite, if any does.
    pub fn uri(&self, suite: &str) -> Option<&str> {
        if suite.ends_with("-security") {
            return self.security.as_deref();
        }
        Some(&self.archive)
    }
}

/// The mirror this machine's own sources name.
pub fn of_this_machine() -> Result<Mirror> {
    let mut entries = Vec::new();
    for file in files() {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let deb822 = file.extension().is_some_and(|e| e == "sources");
        entries.extend(if deb822 { from_deb822(&text) } else { from_one_line(&text) });
    }
    mirror(&entries).context(
        "no Debian archive among /etc/apt/sources.list and /etc/apt/sources.list.d\n  \
         the lab fetches Debian's kernels from the mirror that they name",
    )
}

fn files() -> Vec<PathBuf> {
    let listed = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let mut files: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "sources" || e == "list"))
        .collect();
    files.sort();
    files.push("/etc/apt/sources.list".into());
    files.retain(|file| file.is_file());
    files
}

/// One URI and one suite that it is used for.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suite: String,
}

fn mirror(entries: &[Entry]) -> Option<Mirror> {
    let uri_of = |matches: &dyn Fn(&str) -> bool| {
        let entry = entries.iter().find(|entry| matches(&entry.suite))?;
        Some(entry.uri.trim_end_matches('/').to_owned())
    };
    Some(Mirror {
        archive: uri_of(&|suite| CODENAMES.contains(&suite))?,
        security: uri_of(&|suite| {
            suite.strip_suffix("-security").is_some_and(|name| CODENAMES.contains(&name))
        }),
    })
}

/// Parses `/etc/apt/sources.list.d/*.sources`: stanzas of `Field: value`.
fn from_deb822(text: &str) -> Vec<Entry> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text = lines.map(str::trim_end).collect::<Vec<_>>().join("\n");
    text.split("\n\n").flat_map(stanza).collect()
}

fn stanza(text: &str) -> Vec<Entry> {
    let words = |name: &str| {
        let value = text.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.trim().eq_ignore_ascii_case(name).then_some(value)
        });
        value.unwrap_or_default().split_whitespace()
    };
    if !words("Types").any(|t| t == "deb") || words("Enabled").any(|e| e == "no") {
        return Vec::new();
    }
    let Some(uri) = words("URIs").next() else {
        return Vec::new();
    };
    words("Suites").map(|suite| Entry { uri: uri.to_owned(), suite: suite.to_owned() }).collect()
}

/// Parses `sources.list`: `deb [options] URI SUITE COMPONENT...`.
fn from_one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Entry> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    Some(Entry { uri: words.next()?.to_owned(), suite: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &[Entry], archive: &str, security: Option<&str>) {
        let found = mirror(entries).unwrap();
        assert_eq!((found.archive.as_str(), found.security.as_deref()), (archive, security));
    }

    #[test]
    fn deb822_stanzas_give_archive_and_security() {
        let text = "Types: deb\n# a comment\nURIs: http://mirror.test/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://mirror.test/sec\nSuites: bookworm-security\n";
        check(&from_deb822(text), "http://mirror.test/debian", Some("http://mirror.test/sec"));
    }

    #[test]
    fn one_line_sources_with_options_are_read() {
        let text = "# deb http://old.test/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main\n";
        check(&from_one_line(text), "http://mirror.test/debian", None);
    }

    #[test]
    fn a_third_party_archive_is_not_taken_for_debian() {
        let text =
            "deb http://vendor.test/apt nodistro main\ndeb http://mirror.test/debian trixie main\n";
        check(&from_one_line(text), "http://mirror.test/debian", None);
    }

    #[test]
    fn a_disabled_stanza_and_sources_only_do_not_count() {
        let text = "Types: deb-src\nURIs: http://a.test\nSuites: trixie\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://b.test\nSuites: trixie\n";
        assert_eq!(from_deb822(text), []);
    }
}
