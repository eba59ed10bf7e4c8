//! The schemas of the JSON output, made of the types that write it. `UPDATE_EXPECT=1` writes docs/schema.

#![expect(clippy::missing_panics_doc, reason = "tests panic where something is wrong")]

use std::path::Path;

use expect_test::expect_file;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use super::{diff::Diff, export::Row, json, report::Report};

/// Ours are of 2020-12, as most readers know it.
pub fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// A schema file as it is to be.
pub fn text(schema: &Schema) -> String {
    serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n"
}

/// Holds a value against a schema file.
pub fn check(file: &str, value: &serde_json::Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(file);
    let text = std::fs::read_to_string(path).expect("the schema");
    let schema = serde_json::from_str(&text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    validator.validate(value).unwrap_or_else(|error| panic!("{error} in {value}"));
}

fn of<T: JsonSchema>() -> String {
    text(&generator().into_root_schema_for::<T>())
}

#[test]
fn the_schemas_are_those_of_what_is_written() {
    expect_file!["../../../docs/schema/stream.json"].assert_eq(&text(&json::schema()));
    expect_file!["../../../docs/schema/report.json"].assert_eq(&of::<Report>());
    expect_file!["../../../docs/schema/diff.json"].assert_eq(&of::<Diff>());
    expect_file!["../../../docs/schema/export.json"].assert_eq(&of::<Row>());
}
