//! What a CI reads: the files are as their schemas say, and have what the recording has.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use roxmltree::{Document, Node};
use serde_json::Value;

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn recordings() -> Vec<String> {
    let files = fs::read_dir(folder("tests/recordings")).expect("recordings").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| Path::new(name).extension().is_some_and(|cow| cow == "cow")).collect()
}

fn report(format: &str, names: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowtrace"));
    command.current_dir(folder("tests/recordings")).args(["report", "--format", format]);
    let output = command.args(names).output().expect("cowtrace runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn sarif(names: &[&str]) -> Value {
    serde_json::from_str(&report("sarif", names)).expect("JSON")
}

#[test]
fn sarif_meets_the_schema_of_its_standard() {
    let schema = fs::read_to_string(folder("tests/schemas/sarif-schema-2.1.0.json"));
    // Its pattern for languages has a bracket too many, which no strict reader takes; we write none.
    let schema = schema.expect("the schema").replace("{2}]?$", "{2}$");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let options = jsonschema::options().should_validate_formats(true);
    let schema = options.build(&schema).expect("a schema");
    let names = recordings();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    for names in all.chunks(1).chain([all.as_slice()]) {
        let mut sarif = sarif(names);
        schema.validate(&sarif).unwrap_or_else(|error| panic!("{names:?}: {error}"));
        sarif["runs"][0]["results"][0]["and one more"] = Value::Null;
        assert!(!schema.is_valid(&sarif), "anything goes");
    }
}

#[test]
fn a_result_has_its_rule_its_stacks_and_a_fingerprint_that_stays() {
    let sarif = sarif(&["lost-5.10.cow"]);
    let run = &sarif["runs"][0];
    let [lost, armed] = run["results"].as_array().expect("results").as_slice() else {
        panic!("not two results: {run}");
    };
    for result in [lost, armed] {
        let rule =
            &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().expect("n") as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert_eq!(result["level"], "error");
    }
    let print = &lost["partialFingerprints"]["cowtraceGroup/v1"];
    assert_eq!(print, "lost/provoke/xdp_umem_create/mprotect");
    let pinned = &lost["stacks"][0];
    let second = &pinned["frames"][1]["location"]["logicalLocations"][0]["fullyQualifiedName"];
    assert_eq!(second, "xdp_umem_create");
    assert_eq!(pinned["frames"][7]["module"], "cowtrace");
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
}

#[test]
fn sarif_tells_losses_as_notifications_and_a_run_that_did_not_succeed() {
    let sarif = sarif(&["inconclusive-6.12.cow"]);
    let run = &sarif["runs"][0];
    let invocation = &run["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    assert_eq!(invocation["exitCode"], 3);
    let told = invocation["toolExecutionNotifications"].as_array().expect("notifications");
    assert!(
        told.iter()
            .any(|told| told["message"]["text"].to_string().contains("did not fit the ring"))
    );
    assert_eq!(
        (&run["results"][0]["kind"], &run["results"][0]["level"]),
        (&"open".into(), &"none".into())
    );
}

/// The test case of this name, in a suite whose counts are those of its cases.
fn case<'a>(document: &'a Document, name: &str) -> Node<'a, 'a> {
    let suite =
        document.descendants().find(|node| node.has_tag_name("testsuite")).expect("a suite");
    let with = |tag| suite.descendants().filter(|node| node.has_tag_name(tag)).count().to_string();
    for (count, tag) in [("tests", "testcase"), ("failures", "failure"), ("errors", "error")] {
        assert_eq!(suite.attribute(count), Some(with(tag).as_str()), "{count}");
    }
    let is_it = |node: &Node| node.has_tag_name("testcase") && node.attribute("name") == Some(name);
    suite.children().find(is_it).expect("the case")
}

fn tags<'a>(case: Node<'a, 'a>) -> Vec<&'a str> {
    case.children().map(|child| child.tag_name().name()).collect()
}

#[test]
fn junit_has_the_same_cases_for_each_run_and_the_finding_in_its_own() {
    let text = report("junit", &["lost-5.10.cow"]);
    let lost = Document::parse(&text).expect("XML");
    let failed = case(&lost, "lost");
    assert_eq!(tags(failed), ["failure"]);
    let failure = failed.first_child().expect("a failure");
    let title = "1 page of provoke, pinned through xdp_umem_create; cause: mprotect";
    assert_eq!(failure.attribute("message"), Some(title));
    assert!(failure.text().expect("a text").contains("xsk_setsockopt+0x290"));
    assert_eq!(tags(case(&lost, "stale-read")), [""; 0]);
    let other = report("junit", &["suspect-get-6.12.cow"]);
    let other = Document::parse(&other).expect("XML");
    let names = |document: &Document| {
        let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
        cases.map(|case| case.attribute("name").map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(&lost), names(&other));
    // What is less bad than what fails is told, and passes.
    assert_eq!(tags(case(&other, "suspect-get")), ["system-out"]);
}

#[test]
fn junit_tells_losses_as_an_error() {
    let text = report("junit", &["inconclusive-6.12.cow"]);
    let document = Document::parse(&text).expect("XML");
    let missed = case(&document, "everything was seen");
    assert_eq!(tags(missed), ["error"]);
    let text = missed.first_child().and_then(|error| error.text()).expect("a text");
    assert!(text.contains("INCONCLUSIVE") && text.contains("did not fit the ring"), "{text}");
}

/// Tries a gate whose JUnit file is at `path`; what it says.
fn refused(path: &Path) -> String {
    let ran = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ran");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowtrace"));
    let output =
        command.arg("gate").arg("--junit").arg(path).args(["--", "touch"]).arg(&ran).output();
    let output = output.expect("cowtrace runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(!ran.exists(), "the command was started");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_file_that_cannot_be_written_is_known_before_the_command_starts() {
    let said = refused(Path::new("/no/such/folder/x.xml"));
    assert!(said.contains("cannot write /no/such/folder/x.xml"), "{said}");
}

#[test]
fn a_link_is_not_followed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (link, target) = (folder.join("link.xml"), folder.join("target"));
    fs::write(&target, "mine").expect("a file");
    let _ = fs::remove_file(&link);
    symlink(&target, &link).expect("a link");
    let said = refused(&link);
    assert!(said.contains("a link is not followed"), "{said}");
    assert_eq!(fs::read_to_string(&target).expect("the file"), "mine");
}
