//! Reports of real recordings: each form tells the known finding.

use std::{path::Path, process::Command};

use expect_test::expect_file;

fn report(options: &[&str], names: &[&str]) -> (String, Option<i32>) {
    run("report", options, names)
}

/// What a command prints of recordings, and its exit status.
fn run(command: &str, options: &[&str], names: &[&str]) -> (String, Option<i32>) {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let output = Command::new(env!("CARGO_BIN_EXE_cowtrace"))
        .current_dir(recordings)
        .arg(command)
        .args(options)
        .args(names)
        .output()
        .expect("cowtrace runs");
    (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code())
}

#[test]
fn text_begins_with_the_answer_and_fits_80_columns() {
    let (text, status) = report(&[], &["lost-5.10.cow"]);
    assert_eq!(status, Some(1));
    assert!(text.starts_with("LOST (proven): 1 page of provoke"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with("        ")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    expect_file!["recordings/lost-5.10.report.txt"].assert_eq(&text);
}

#[test]
fn markdown_tells_the_same() {
    let (markdown, _) = report(&["--format", "markdown"], &["lost-5.10.cow"]);
    expect_file!["recordings/lost-5.10.report.md"].assert_eq(&markdown);
}

#[test]
fn json_is_one_object_with_the_finding() {
    let (json, _) = report(&["--format", "json"], &["lost-5.10.cow"]);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let group = &report["hosts"][0]["groups"][0];
    assert_eq!((&group["verdict"], &group["cause"]), (&"lost".into(), &"mprotect".into()));
    assert_eq!(report["hosts"][0]["complete"], true);
}

#[test]
fn a_report_of_some_findings_says_how_many_it_leaves_out() {
    let (text, status) = report(&["--filter", "verdict=armed"], &["lost-5.10.cow"]);
    assert!(text.starts_with("ARMED"), "{text}");
    assert!(
        text.replace('\n', " ").contains("1 finding does not meet \"verdict=armed\""),
        "{text}"
    );
    assert_eq!(status, Some(1));
    let (text, _) = report(&["--filter", "comm=nobody"], &["lost-5.10.cow"]);
    assert!(text.starts_with("No finding is listed: 2 findings do not meet"), "{text}");
}

#[test]
fn html_needs_nothing_from_outside() {
    let (html, _) = report(&["--format", "html"], &["lost-5.10.cow", "suspect-get-6.12.cow"]);
    for telling in ["LOST", "xdp_umem", "unpinned dirty", "<svg", "suspect-get"] {
        assert!(html.contains(telling), "no {telling}");
    }
    for from_outside in ["<script", "http://", "https://", "src=", "<link"] {
        assert!(!html.contains(from_outside), "there is {from_outside}");
    }
}

#[test]
fn a_file_that_is_there_is_not_overwritten_and_one_that_is_no_recording_is_refused() {
    let (text, status) = report(&["-o", "lost-5.10.txt"], &["lost-5.10.cow"]);
    assert_eq!((text.as_str(), status), ("", Some(2)));
    assert_eq!(report(&[], &["lost-5.10.txt"]).1, Some(2));
}

#[test]
fn a_diff_tells_what_is_new_and_gone_and_what_stays() {
    let (text, status) = run("diff", &[], &["lost-5.10.cow", "lost-6.12.cow"]);
    assert_eq!(status, Some(1));
    for telling in [
        "new: LOST of provoke, pinned through io_pin_pages, cause truncate: 0 findings then, 1 now",
        "gone: LOST of provoke, pinned through xdp_umem_create, cause mprotect: 1 finding then, 0 now",
        "gone: ARMED of provoke",
    ] {
        assert!(text.contains(telling), "no {telling:?}:\n{text}");
    }
    assert!(!text.contains("but:"), "a command's process has another number each time:\n{text}");
    let (text, status) = run("diff", &[], &["lost-5.10.cow", "lost-5.10.cow"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("as before: LOST of provoke"), "{text}");
}

#[test]
fn a_diff_as_json_has_the_same_lists() {
    let (json, _) = run("diff", &["--json"], &["diverged-5.10.cow", "lost-6.12.cow"]);
    let diff: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&diff["new"][0]["after"], &diff["gone"][0]["before"]), (&1.into(), &1.into()));
}

#[test]
fn an_export_has_a_row_for_each_event_of_the_kernel() {
    let (csv, _) = run("export", &["--to", "csv"], &["lost-5.10.cow", "lost-6.12.cow"]);
    let (jsonl, _) = run("export", &["--to", "jsonl"], &["lost-5.10.cow", "lost-6.12.cow"]);
    let rows: Vec<serde_json::Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(csv.lines().count(), 1 + rows.len());
    assert!(csv.starts_with("host,time_ns,kind,tgid,"), "{csv}");
    // What the finding of the first recording is made of: the copy and the dirty unpin of one page.
    let of = |kind: &str, detail: &str| {
        let matches = |row: &&serde_json::Value| row["kind"] == kind && row["detail"] == detail;
        rows.iter().filter(matches).map(|row| row["pfn"].clone()).collect::<Vec<_>>()
    };
    let unpinned = of("unpin", "dirty");
    assert_eq!(unpinned, [0x64f6]);
    assert!(of("fault", "copy").contains(&unpinned[0]));
}

#[test]
fn folded_stacks_lead_from_the_process_to_the_probed_function() {
    let (folded, _) = run("export", &["--to", "folded"], &["lost-5.10.cow"]);
    let pin = folded.lines().find(|line| line.starts_with("pin;provoke;")).expect("a pin");
    assert!(pin.ends_with(";xsk_setsockopt;xdp_umem_create;pin_user_pages 1"), "{pin}");
}

#[test]
fn an_export_has_only_events_that_meet_a_filter() {
    let only = ["--to", "csv", "--filter", "kind=pin,unpin"];
    let (csv, _) = run("export", &only, &["lost-5.10.cow"]);
    let kinds: Vec<_> = csv.lines().skip(1).filter_map(|line| line.split(',').nth(2)).collect();
    assert_eq!(kinds, ["pin", "unpin"]);
}

#[test]
fn a_replay_prints_findings_that_meet_a_filter_and_its_status_is_of_all() {
    let of = |filter| run("replay", &["--format", "json", "--filter", filter], &["lost-5.10.cow"]);
    let (text, status) = of("verdict=armed");
    let verdicts: Vec<_> =
        text.lines().filter(|line| line.contains("\"type\":\"finding\"")).collect();
    assert!(!verdicts.is_empty() && verdicts.iter().all(|line| line.contains("\"armed\"")));
    assert_eq!(status, Some(1));
    assert_eq!(of("verdict=worse").1, Some(2));
}

#[test]
fn tables_stand_in_folders_by_host_and_date_and_are_not_overwritten() {
    let folder = std::env::temp_dir().join(format!("cowtrace-tables-{}", std::process::id()));
    let place = folder.to_str().expect("UTF-8");
    let export = || run("export", &["--to", "parquet", "-o", place], &["lost-5.10.cow"]).1;
    assert_eq!(export(), Some(0));
    for table in ["events", "findings"] {
        let path = folder.join(table).join("host=lab/date=2026-11-25/lost-5.10.parquet");
        let bytes = std::fs::read(&path).expect("a table");
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{}", path.display());
    }
    assert_eq!(export(), Some(2), "it is there already");
    std::fs::remove_dir_all(folder).expect("it was there");
}

#[test]
fn forms_that_want_a_folder_or_one_recording_say_so() {
    assert_eq!(run("export", &["--to", "parquet"], &["lost-5.10.cow"]).1, Some(2));
    let two = ["lost-5.10.cow", "lost-6.12.cow"];
    assert_eq!(run("export", &["--to", "perfetto"], &two).1, Some(2));
}
