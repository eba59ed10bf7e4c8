use std::path::Path;

use expect_test::{Expect, expect};

use super::*;
use crate::{budget::Window, decode::Records, source::recording::Recording};

/// What a stored recording comes to.
fn replayed(name: &str) -> (Trace, Metrics) {
    replayed_while(name, |_| true)
}

/// The same up to an event.
fn replayed_while(name: &str, goes_on: impl Fn(&Trace) -> bool) -> (Trace, Metrics) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    let mut recording = Recording::open(&file).expect("a recording");
    let batches: Vec<u8> = std::iter::from_fn(|| recording.batch()).flatten().collect();
    let (mut trace, mut metrics) = (Trace::default(), Metrics::default());
    for event in Records::new(&batches) {
        if !goes_on(&trace) {
            break;
        }
        for change in trace.take(event) {
            metrics.changed(&trace, change);
        }
    }
    metrics.folded(&trace);
    (trace, metrics)
}

/// The samples of some families that are not zero.
fn samples(trace: &Trace, metrics: &Metrics, of: &str) -> String {
    let text = text(&metrics.families(trace, &Own::default()), Form::Text);
    let lines = text.lines().filter(|line| line.starts_with(of) && !line.ends_with(" 0"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

fn check(recording: &str, of: &str, expected: &Expect) {
    let (trace, metrics) = replayed(recording);
    expected.assert_eq(&samples(&trace, &metrics, of));
}

#[test]
fn a_finding_counts_once_for_each_verdict_that_it_had() {
    check(
        "lost-5.10.cow",
        "cowtrace_findings",
        &expect![[r#"
            cowtrace_findings_total{verdict="armed",cause="mprotect",driver="kernel",site="xdp_umem_create",process="provoke"} 1
            cowtrace_findings_total{verdict="diverged",cause="mprotect",driver="kernel",site="xdp_umem_create",process="provoke"} 1
            cowtrace_findings_total{verdict="lost",cause="mprotect",driver="kernel",site="xdp_umem_create",process="provoke"} 1
        "#]],
    );
}

#[test]
fn when_a_page_was_lost_last_is_a_time_of_the_clock() {
    check(
        "lost-5.10.cow",
        "cowtrace_last_finding",
        &expect![[r#"
            cowtrace_last_finding_timestamp_seconds{verdict="armed"} 1795625310.4642537
            cowtrace_last_finding_timestamp_seconds{verdict="diverged"} 1795625310.4642537
            cowtrace_last_finding_timestamp_seconds{verdict="lost"} 1795625310.5077581
        "#]],
    );
}

#[test]
fn pages_are_counted_as_they_are_pinned_and_unpinned() {
    check(
        "mprotect-5.10.cow",
        "cowtrace_pages",
        &expect![[r#"
            cowtrace_pages_pinned_total{term="listed"} 3
            cowtrace_pages_unpinned_total{term="listed"} 3
        "#]],
    );
}

#[test]
fn what_is_pinned_is_told_by_the_class_of_its_holder() {
    let (trace, metrics) =
        replayed_while("mprotect-5.10.cow", |trace| trace.ledger.live_pins() < 1);
    expect![[r#"
        cowtrace_pinned_pages{process="provoke",term="long"} 3
    "#]]
    .assert_eq(&samples(&trace, &metrics, "cowtrace_pinned_pages"));
}

#[test]
fn what_was_not_seen_is_told_by_program_and_reason() {
    check(
        "inconclusive-6.12.cow",
        "cowtrace_lost_records_total",
        &expect![[r#"
            cowtrace_lost_records_total{program="wp_fault_exit",reason="ring-full"} 111
            cowtrace_lost_records_total{program="pin_fast_exit",reason="ring-full"} 14
            cowtrace_lost_records_total{program="unpin_folio_pages",reason="ring-full"} 101
            cowtrace_lost_records_total{program="process_fork",reason="ring-full"} 5
            cowtrace_lost_records_total{program="mm_exit",reason="ring-full"} 4
            cowtrace_lost_records_total{program="protect",reason="ring-full"} 33
            cowtrace_lost_records_total{program="clear_refs",reason="ring-full"} 137
            cowtrace_lost_records_total{program="zap",reason="ring-full"} 114
            cowtrace_lost_records_total{program="refault",reason="ring-full"} 159
            cowtrace_lost_records_total{program="fork_copy_exit",reason="ring-full"} 477
        "#]],
    );
    check(
        "inconclusive-6.12.cow",
        "cowtrace_blind_spots",
        &expect![[r"
            cowtrace_blind_spots 10
        "]],
    );
}

#[test]
fn a_row_that_the_kernel_has_no_use_for_is_no_row_that_is_missing() {
    let (trace, metrics) = replayed("lost-5.10.cow");
    let text = text(&metrics.families(&trace, &Own::default()), Form::Text);
    let rows = text.lines().filter(|line| line.starts_with("cowtrace_probes_attached{"));
    assert!(rows.clone().count() > 20);
    assert!(rows.into_iter().all(|row| row.ends_with(" 1")), "{text}");
}

#[test]
fn a_count_that_shrinks_stays() {
    let (mut trace, mut metrics) = replayed("inconclusive-6.12.cow");
    let before = metrics.families(&trace, &Own::default());
    trace.tallies.clear();
    metrics.folded(&trace);
    let after = metrics.families(&trace, &Own::default());
    let lost = |families: &[Family]| {
        families.iter().find(|family| family.name == "cowtrace_lost_records").cloned()
    };
    assert_eq!(lost(&before), lost(&after));
}

#[test]
fn names_beyond_the_first_are_one() {
    let mut names = Names::default();
    let taken: BTreeSet<_> = (0..1000).map(|n| names.take(format!("task {n}"))).collect();
    assert_eq!(taken.len(), MOST + 1);
    assert_eq!(names.take("task 3".to_owned()), "task 3");
    assert_eq!(names.take("task 999".to_owned()), OTHER);
}

#[test]
fn the_smallest_holders_are_told_together() {
    let all = (0..100).map(|n| ((format!("task {n}"), "long"), n)).collect();
    let kept = largest(all);
    assert_eq!(kept.len(), MOST + 1);
    assert_eq!(kept.values().sum::<u64>(), (0..100).sum::<u64>());
    assert_eq!(kept.get(&(OTHER.to_owned(), "long")), Some(&(0..68).sum::<u64>()));
}

#[test]
fn a_class_is_a_name_without_its_number() {
    let class = |name: &str| {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        class(Comm(comm))
    };
    assert_eq!(class("nccl-worker-12"), "nccl-worker");
    assert_eq!(class("kworker/0:1"), "kworker");
    assert_eq!(class("qemu"), "qemu");
    assert_eq!(class("2048"), "2048");
}

#[test]
fn durations_fall_into_the_same_buckets_whatever_they_are() {
    let mut durations = Durations::default();
    for took in [0, 1023, 1024, 5_000_000, 60_000_000_000] {
        durations.add(took);
    }
    let values = distribution(&durations);
    assert_eq!(values.buckets.len(), distribution(&Durations::default()).buckets.len());
    let filled: Vec<_> = values.buckets.iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(filled, [&(0.000_001_024, 2), &(0.000_004_096, 1), &(0.016_777_216, 1)]);
    assert_eq!(values.count, 5);
}

#[test]
fn what_tracing_costs_and_what_is_shed_for_that() {
    let mut kept = Kept { limit: Share { ppm: 10_000 }, window: 1_000_000_000, ..Kept::default() };
    kept.shed(Stage::Events, 5);
    let window = Window { programs: 15_000_000, user: 5_000_000, nanos: 1_000_000_000 };
    kept.ended(window, true);
    let mut trace = Trace::default();
    trace.budget = Some(Box::new(kept));
    let told = ["budget", "cost", "shed"]
        .map(|of| samples(&trace, &Metrics::default(), &format!("cowtrace_{of}")));
    expect![[r#"
        cowtrace_budget_ratio 0.01
        cowtrace_cost_ratio 0.02
        cowtrace_shed{stage="events"} 1
        cowtrace_shed_seconds_total{stage="events"} 1
    "#]]
    .assert_eq(&told.concat());
}
