//! The eBPF object, looked at as a file: no root, no kernel.

use std::{collections::BTreeSet, env, path::Path};

use cowtrace::probes::{Point, TABLE, attach};
use cowtrace_common::program::Program;
use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

fn object() -> File<'static> {
    File::parse(attach::object()).expect("an ELF file")
}

/// Names of the functions in sections of this kind of program.
fn programs_in(prefixes: &[&str]) -> BTreeSet<String> {
    let object = object();
    object
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_global())
        .filter(|symbol| {
            let index = symbol.section_index().expect("a function stands in a section");
            let section = object.section_by_index(index).expect("the section");
            let name = section.name().expect("its name").to_owned();
            prefixes.iter().any(|prefix| name == *prefix || name.starts_with(&format!("{prefix}/")))
        })
        .map(|symbol| symbol.name().expect("its name").to_owned())
        .collect()
}

/// Names of the programs that the table attaches at such points.
fn programs_at(is_at: fn(Point) -> bool) -> BTreeSet<String> {
    TABLE
        .iter()
        .flat_map(|probe| probe.any_of)
        .flat_map(|hook| *hook)
        .filter(|attachment| is_at(attachment.at))
        .map(|attachment| attachment.program.name().to_owned())
        .collect()
}

#[test]
fn the_programs_in_the_object_are_exactly_those_the_table_names() {
    let in_object = programs_in(&["fentry", "fexit", "kprobe", "kretprobe", "tp_btf"]);
    let numbered = Program::ALL.iter().map(|program| program.name().to_owned()).collect();
    assert_eq!(in_object, numbered);
}

#[test]
fn each_program_is_of_the_kind_that_the_table_attaches_it_as() {
    for (section, is_at) in [
        (
            "fentry",
            (|at| matches!(at, Point::Fentry(_) | Point::FentryAny(_))) as fn(Point) -> bool,
        ),
        ("fexit", |at| matches!(at, Point::Fexit(_) | Point::FexitAny(_))),
        ("kprobe", |at| matches!(at, Point::Kprobe(_) | Point::KprobeIf(..) | Point::KprobeAs(_))),
        ("kretprobe", |at| matches!(at, Point::Kretprobe(_))),
        ("tp_btf", |at| matches!(at, Point::Tracepoint(_))),
    ] {
        assert_eq!(programs_in(&[section]), programs_at(is_at), "{section}");
    }
}

#[test]
fn the_programs_may_call_what_gpl_programs_may() {
    let license = object().section_by_name("license").expect("a licence").data().expect("its text");
    assert_eq!(license, b"Dual MIT/GPL\0");
}

/// The same sources make the same object everywhere: the line info names no directory of this machine.
#[test]
fn the_object_does_not_tell_where_it_was_built() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let home = env::home_dir().expect("a home");
    for place in [workspace, &home] {
        let place = place.as_os_str().as_encoded_bytes();
        assert!(!attach::object().windows(place.len()).any(|bytes| bytes == place));
    }
}

#[test]
fn the_object_has_what_kernels_read_and_no_more() {
    let object = object();
    let names: BTreeSet<&str> =
        object.sections().filter_map(|section| section.name().ok()).collect();
    assert!(names.contains(".BTF") && names.contains(".BTF.ext"));
    assert!(!names.iter().any(|name| name.contains("debug")), "{names:?}");
}
