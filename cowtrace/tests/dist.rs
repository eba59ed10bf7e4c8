//! The names of metrics in dist/ and docs/ are those that the agent has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cowtrace::{
    decode::Records,
    sinks::metrics::{Exported, Form, Metrics, Own, text},
    source::recording::Recording,
    trace::Trace,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All that the agent tells of any stored recording, by name of the family.
fn told() -> BTreeSet<String> {
    let exported = Some(Exported { sent: 1, dropped: 0 });
    let own = Own { cpu: Duration::from_secs(1), resident: 1, records: Some(true), exported };
    let mut names = BTreeSet::new();
    let folder = fs::read_dir(root().join("cowtrace/tests/recordings")).expect("recordings");
    let files = folder.flatten().map(|file| file.path());
    for file in files.filter(|path| path.extension().is_some_and(|cow| cow == "cow")) {
        let (mut trace, metrics) = replayed(&file);
        trace.budget = Some(Box::default()); // No stored recording had one.
        let text = text(&metrics.families(&trace, &own), Form::Text);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names.extend(types.filter_map(|line| Some(line.split(' ').next()?.to_owned())));
    }
    names
}

fn replayed(file: &Path) -> (Trace, Metrics) {
    let mut recording = Recording::open(file).expect("a recording");
    let (mut trace, mut metrics) = (Trace::default(), Metrics::default());
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            for change in trace.take(event) {
                metrics.changed(&trace, change);
            }
        }
        metrics.folded(&trace);
    }
    (trace, metrics)
}

/// Names that a text mentions, without what a histogram's samples have behind theirs.
fn mentioned(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(file)).expect("it is there");
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c: char| !is_of_name(c));
    let names = words.filter(|word| word.starts_with("cowtrace_") || word.starts_with("process_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

/// Histograms and durations are of a host with a secondary MMU, and of `--stats`: no stored recording has them.
const RARE: [&str; 2] =
    ["cowtrace_notifier_duration_seconds", "cowtrace_program_run_seconds_total"];

#[test]
fn what_dist_and_docs_ask_for_is_told() {
    let mut told = told();
    told.extend(RARE.map(str::to_owned));
    for file in ["dist/prometheus/alerts.yml", "dist/grafana/cowtrace.json", "docs/agent.md"] {
        let mentioned = mentioned(file);
        assert!(mentioned.len() > 5, "{file}");
        let unknown: Vec<_> = mentioned.difference(&told).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_page_has_every_name() {
    let mentioned = mentioned("docs/agent.md");
    let missing: Vec<_> = told().into_iter().filter(|name| !mentioned.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
