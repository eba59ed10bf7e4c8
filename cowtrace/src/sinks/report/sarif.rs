//! The report as SARIF 2.1.0: verdicts are rules, groups of findings are results, steps that led there are stacks.
//!
//! Promise: it meets the standard's own schema (tests/ci.rs). The surprise: a result has a line in a file, as readers
//! demand, though a lost page has none: the file is the process by name.

use serde_json::{Value, json};

use super::{Gate, Group, Host, Report, Step};
use crate::{explain, finding::Verdict};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn document(report: &Report, gate: &Gate) -> Value {
    let runs: Vec<_> = report.hosts.iter().map(|host| run(host, gate)).collect();
    json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": runs })
}

fn run(host: &Host, gate: &Gate) -> Value {
    let results: Vec<_> = host.groups.iter().map(|group| result(group, gate)).collect();
    json!({
        "tool": { "driver": {
            "name": "cowtrace",
            "version": host.cowtrace,
            "informationUri": env!("CARGO_PKG_REPOSITORY"),
            "rules": Verdict::ALL.map(rule),
        } },
        "invocations": [invocation(host, gate)],
        "results": results,
    })
}

fn rule(verdict: Verdict) -> Value {
    let (means, page) = (explain::means(verdict), explain::verdict(verdict));
    let first = means.split_inclusive(". ").next().unwrap_or(means).trim_end();
    json!({
        "id": verdict.name(),
        "shortDescription": { "text": first },
        "fullDescription": { "text": means },
        "help": { "text": page, "markdown": page },
        "properties": { "certainty": verdict.certainty() },
    })
}

/// How it ran. Who missed something has not succeeded: without results, that alone tells it from a clean run.
fn invocation(host: &Host, gate: &Gate) -> Value {
    let losses = host.missed.iter();
    let losses: Vec<_> =
        losses.map(|missed| json!({ "level": "error", "message": { "text": missed } })).collect();
    let mut invocation = json!({
        "executionSuccessful": host.complete,
        "exitCode": gate.status(host),
        "exitCodeDescription": gate.line(host),
        "machine": host.host,
        "toolExecutionNotifications": losses,
        "properties": {
            "kernel": host.kernel,
            "seconds": host.seconds,
            "failOn": gate.fail_on.name(),
            "pinCalls": host.pin_calls,
            "pinnedPages": host.pinned_pages,
            "watched": host.watched,
            "notWatched": host.unwatched,
        },
    });
    if let Some(began) = &host.began {
        invocation["startTimeUtc"] = json!(began);
    }
    if let Some(ran) = &gate.ran {
        invocation["commandLine"] = json!(ran.line);
        invocation["properties"]["commandStatus"] = json!(ran.status());
    }
    invocation
}

fn result(group: &Group, gate: &Gate) -> Value {
    let (kind, level) = match group.grade {
        Verdict::Inconclusive => ("open", "none"),
        verdict if gate.fails(verdict) => ("fail", "error"),
        _ => ("fail", "warning"),
    };
    let fingerprint = fingerprint(group);
    json!({
        "ruleId": group.grade.name(),
        "ruleIndex": Verdict::ALL.iter().position(|verdict| *verdict == group.grade),
        "kind": kind,
        "level": level,
        "message": { "text": format!("{}. {}. {}", super::title(group), super::capitalized(&group.reason), group.advice) },
        "locations": [location(group)],
        "stacks": group.example.steps.iter().map(stack).collect::<Vec<_>>(),
        "occurrenceCount": group.findings,
        // The first name is the one that GitHub's code scanning compares.
        "partialFingerprints": { "primaryLocationLineHash": fingerprint, "cowtraceGroup/v1": fingerprint },
        "properties": {
            "certainty": group.certainty,
            "pages": group.pages,
            "first": group.first,
            "last": group.last,
            "example": group.example.place,
            "deviceHas": group.example.device_has,
            "processHas": group.example.process_has,
        },
    })
}

/// What the findings of a group have in common, in this run and in any other.
fn fingerprint(group: &Group) -> String {
    let site = group.kind.site.as_deref().unwrap_or("-");
    format!("{}/{}/{site}/{}", group.kind.verdict, group.kind.holder, group.kind.cause)
}

fn location(group: &Group) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&group.kind.holder) },
            "region": { "startLine": 1 },
        },
    });
    if let Some(site) = &group.kind.site {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": site, "kind": "function" }]);
    }
    location
}

/// A process's name as a relative reference of one segment. It may be any bytes.
fn uri(name: &str) -> String {
    let encoded = name.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn stack(step: &Step) -> Value {
    let frames: Vec<_> = step.stack.iter().map(|line| frame(line)).collect();
    json!({ "message": { "text": format!("{:+.6} s {}", step.at, step.what) }, "frames": frames })
}

/// `function+0x12 [module]`: a kernel's function has no module where it is built in.
fn frame(line: &str) -> Value {
    let (place, module) = match line.strip_suffix(']').and_then(|line| line.rsplit_once(" [")) {
        Some((place, module)) => (place, Some(module)),
        None => (line, None),
    };
    let function = place.rsplit_once("+0x").map_or(place, |(function, _)| function);
    let mut frame = json!({ "location": {
        "message": { "text": line },
        "logicalLocations": [{ "fullyQualifiedName": function, "kind": "function" }],
    } });
    if let Some(module) = module {
        frame["module"] = json!(module);
    }
    frame
}
