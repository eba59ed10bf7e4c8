//! What is printed as JSON is as the schemas in docs/schema say.

use std::{fs, path::Path, process::Command};

use jsonschema::Validator;
use serde_json::Value;

fn folder(of: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn schema(name: &str) -> Validator {
    let text = fs::read_to_string(folder("../docs/schema").join(name)).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

fn printed(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowtrace"));
    let output = command.current_dir(folder("tests/recordings")).args(words).output();
    String::from_utf8(output.expect("cowtrace runs").stdout).expect("UTF-8")
}

/// Every line meets the schema, and none does with one more field: else a schema that takes anything would do.
fn lines_meet(schema: &Validator, text: &str) -> usize {
    for line in text.lines() {
        let mut value: Value = serde_json::from_str(line).expect("JSON");
        schema.validate(&value).unwrap_or_else(|error| panic!("{error} in {line}"));
        value["and one more"] = Value::Null;
        assert!(!schema.is_valid(&value), "anything goes in {line}");
    }
    text.lines().count()
}

fn recordings() -> Vec<String> {
    let files = fs::read_dir(folder("tests/recordings")).expect("recordings").flatten();
    let is_one = |file: &fs::DirEntry| file.path().extension().is_some_and(|cow| cow == "cow");
    let files = files.filter(is_one);
    files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn findings_events_and_summaries() {
    let schema = schema("stream.json");
    let events = |name: &String| printed(&["replay", "--format", "json", "--events", name]);
    let lines: usize = recordings().iter().map(|name| lines_meet(&schema, &events(name))).sum();
    assert!(lines > 500, "{lines} lines");
}

#[test]
fn reports_differences_and_rows() {
    let one_line = |words: &[&str]| {
        let value: Value = serde_json::from_str(&printed(words)).expect("JSON");
        value.to_string()
    };
    let (first, second) = ("lost-5.10.cow", "snapshot-6.12.cow");
    let report = one_line(&["report", "--format", "json", first, second]);
    assert_eq!(lines_meet(&schema("report.json"), &report), 1);
    let diff = one_line(&["diff", "--json", first, second]);
    assert_eq!(lines_meet(&schema("diff.json"), &diff), 1);
    let rows = printed(&["export", "--to", "jsonl", first, second]);
    assert!(lines_meet(&schema("export.json"), &rows) > 40);
}
