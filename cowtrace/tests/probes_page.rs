//! docs/probes.md is made from the probe table: `UPDATE_EXPECT=1 cargo test --test probes_page`.

use std::fmt::Write as _;

use cowtrace_common::program::Program;

use cowtrace::probes::{Attachment, Need, Point, Probe, TABLE};
use expect_test::expect_file;

#[test]
fn the_page_about_probes_is_the_table() {
    expect_file!["../../docs/probes.md"].assert_eq(&page());
}

#[test]
fn the_format_of_recordings_has_the_number_of_every_program() {
    let format = include_str!("../../docs/recording-format.md");
    for program in Program::ALL {
        let cell = format!("| {} `{}` |", *program as u16, program.name());
        assert!(format.contains(&cell), "{cell}");
    }
}

fn page() -> String {
    let mut page = String::from(
        "# What cowtrace sees, and how\n\n\
         Made from the probe table (cowtrace/src/probes.rs) by cowtrace/tests/probes_page.rs. In the\n\
         order in which they are attached; of several hooks the first that the kernel takes. `cowtrace\n\
         doctor` holds the table against the running kernel.\n",
    );
    for probe in TABLE {
        section(&mut page, probe);
    }
    page
}

fn section(page: &mut String, probe: &Probe) {
    let need = match probe.need {
        Need::Always => "always needed".to_owned(),
        Need::Where(function) => format!("needed where the kernel has `{function}`"),
        Need::Extra => "no verdict depends on it".to_owned(),
        Need::Asked(devices) => {
            format!("only with `--device-maps {}`; no verdict depends on it", devices.name())
        }
    };
    let _ =
        write!(page, "\n## {}\n\nUnseen without it: {}.\n({need})\n\n", probe.sees, probe.unseen);
    for (n, hook) in probe.any_of.iter().enumerate() {
        for attachment in *hook {
            let _ = writeln!(page, "{}. {}", n + 1, place(attachment));
        }
    }
}

fn place(attachment: &Attachment) -> String {
    let at = attachment.at;
    let what = match at {
        Point::Fentry(prototype) | Point::Fexit(prototype) => prototype.to_owned(),
        Point::KprobeIf(name, other) => format!("{name}` where there is `{other}"),
        at => at.function().to_owned(),
    };
    format!("{} `{what}` (program `{}`)", at.mode(), attachment.program.name())
}
