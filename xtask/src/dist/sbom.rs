//! The bill of materials: CycloneDX 1.5, of what cargo resolved for the binary and the eBPF object in it.
//!
//! What only runs while it is built (build scripts' crates, procedural macros, tests) is not in the binary, and not
//! listed. The interop tests hold it against the official schema.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Arch, Making};
use crate::process;

/// The packages that a binary is made of: the second is the object in it.
const ROOTS: [&str; 2] = ["cowtrace", "cowtrace-ebpf"];

/// Writes it.
pub fn write(making: &Making, arch: Arch) -> Result<()> {
    let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
    let said = process::stdout(process::cargo().args(words).arg(arch.target()))?;
    let metadata: Value = serde_json::from_slice(&said).context("cargo metadata is JSON")?;
    let bill = serde_json::to_string_pretty(&bill(&Graph(&metadata)))?;
    let file = making.out.join(format!("cowtrace-{}-{arch}.cdx.json", making.version));
    std::fs::write(&file, bill + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// What `cargo metadata` says.
struct Graph<'a>(&'a Value);

impl<'a> Graph<'a> {
    fn packages(&self) -> impl Iterator<Item = &'a Value> {
        self.0["packages"].as_array().into_iter().flatten()
    }

    fn package(&self, id: &str) -> &'a Value {
        self.packages().find(|package| package["id"] == id).unwrap_or(&Value::Null)
    }

    /// The crates that end up in what is built of a package.
    fn linked(&self, id: &str) -> Vec<&'a str> {
        let nodes = self.0["resolve"]["nodes"].as_array().into_iter().flatten();
        let node = nodes.into_iter().find(|node| node["id"] == id);
        let deps = node.and_then(|node| node["deps"].as_array()).into_iter().flatten();
        let is_linked = |dep: &&Value| {
            let kinds = dep["dep_kinds"].as_array();
            kinds.into_iter().flatten().any(|kind| kind["kind"].is_null())
        };
        let ids = deps.filter(is_linked).filter_map(|dep| dep["pkg"].as_str());
        ids.filter(|id| !is_macro(self.package(id))).collect()
    }

    /// Everything that is linked, directly or not.
    fn all_linked(&self) -> BTreeSet<&'a str> {
        let is_root = |package: &&Value| ROOTS.iter().any(|root| package["name"] == *root);
        let mut open: Vec<&str> =
            self.packages().filter(is_root).filter_map(|package| package["id"].as_str()).collect();
        let mut found = BTreeSet::new();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(self.linked(id));
            }
        }
        found
    }
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets.into_iter().any(|target| target["kind"][0] == "proc-macro")
}

fn bill(graph: &Graph) -> Value {
    let linked = graph.all_linked();
    let packages: Vec<&Value> = linked.iter().map(|id| graph.package(id)).collect();
    let (own, others): (Vec<&Value>, Vec<&Value>) =
        packages.into_iter().partition(|package| package["name"] == ROOTS[0]);
    let dependencies = linked.iter().map(|id| {
        let on: Vec<_> = graph.linked(id).iter().map(|on| purl(graph.package(on))).collect();
        json!({ "ref": purl(graph.package(id)), "dependsOn": on })
    });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": own.first().map(|package| component(package, "application")) },
        "components": others.iter().map(|package| component(package, "library")).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    })
}

fn component(package: &Value, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    });
    if let Some(licence) = package["license"].as_str() {
        // Old manifests have a slash for OR, which SPDX does not know.
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    component
}

/// The name by which lists of vulnerabilities know a crate.
fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Value {
        let package = |name: &str, kind: &str| {
            json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                    "targets": [{ "kind": [kind] }] })
        };
        let dep = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        json!({
            "packages": [
                package("cowtrace", "bin"), package("cowtrace-ebpf", "lib"), package("linked", "lib"),
                package("deep", "lib"), package("macro", "proc-macro"), package("tested", "lib"),
            ],
            "resolve": { "nodes": [
                { "id": "cowtrace", "deps": [
                    dep("linked", Value::Null), dep("macro", Value::Null), dep("tested", json!("dev")),
                ] },
                { "id": "linked", "deps": [dep("deep", Value::Null)] },
                { "id": "macro", "deps": [dep("tested", Value::Null)] },
            ] },
        })
    }

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let metadata = metadata();
        let bill = bill(&Graph(&metadata));
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|found| &found["name"]).collect();
        assert_eq!(names, ["cowtrace-ebpf", "deep", "linked"]);
        assert_eq!(bill["metadata"]["component"]["purl"], "pkg:cargo/cowtrace@1.0.0");
        assert_eq!(bill["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }
}
