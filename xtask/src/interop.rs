//! The interop tests: what cowtrace exports, read by the programs that it is for (pyarrow, Perfetto's own definitions,
//! Jenkins' schema, a browser, Prometheus, OpenTelemetry's own definitions). Each is a script of `xtask/interop`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{binary, kernels, process, setup};

/// A script, and what it proves.
const TESTS: [(&str, &str); 7] = [
    ("parquet.py", "exported tables read as one, and have the findings of a replay"),
    (
        "perfetto.py",
        "an exported trace decodes with Perfetto's definitions, and has pin and finding",
    ),
    ("ci.py", "JUnit XML meets the schema of Jenkins, and has the findings of a replay"),
    ("report.py", "the HTML report opens in a browser, without script, request or complaint"),
    (
        PROMETHEUS,
        "Prometheus scrapes an agent, promtool takes metrics and alerts, each query of the dashboard runs",
    ),
    (
        "otlp.py",
        "what an agent exports decodes with OpenTelemetry's definitions, and has all findings",
    ),
    ("dist.py", "the agent's unit, manifests and collector configuration are what they should be"),
];

/// The script that needs Prometheus.
const PROMETHEUS: &str = "prometheus.py";

/// Whether the sentence of any contains `only`.
pub fn has(only: Option<&str>) -> bool {
    TESTS.iter().any(|test| wanted(test, only))
}

fn wanted((_, name): &(&str, &str), only: Option<&str>) -> bool {
    only.is_none_or(|only| name.contains(only))
}

/// Runs those whose sentence contains `only`; how many failed.
pub fn run(only: Option<&str>) -> Result<usize> {
    setup::interop_tools()?;
    let (python, cowtrace) = (python()?, binary::build()?);
    let mut failed = 0;
    for (script, name) in TESTS.iter().filter(|test| wanted(test, only)) {
        let mut command = Command::new(&python);
        command.arg(folder().join(script)).arg(&cowtrace);
        if *script == PROMETHEUS {
            command.env("COWTRACE_PROMETHEUS", prometheus()?);
        }
        match process::text(&mut command) {
            Ok(_) => println!("ok      interop  {name}"),
            Err(error) => {
                println!("FAILED  interop  {name}\n        {error}");
                failed += 1;
            }
        }
    }
    Ok(failed)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// Debian's Prometheus, in a folder of its own: the package, installed, would start a service.
fn prometheus() -> Result<PathBuf> {
    let home = kernels::cache()?.with_file_name("prometheus");
    kernels::unpack_package("prometheus", "bookworm", &home)?;
    Ok(home)
}

/// A Python with the packages that the scripts import, in an environment of its own that is made anew when they change.
fn python() -> Result<PathBuf> {
    let home = kernels::cache()?.with_file_name("interop");
    let (python, installed) = (home.join("bin/python"), home.join("installed.txt"));
    let requirements = folder().join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).context("the list of Python packages")?;
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    eprintln!("setup: the interop tests read exports with Python packages, in {}", home.display());
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    process::run(Command::new(&python).args(pip).arg(&requirements))?;
    fs::write(&installed, wanted).context("remembering what was installed")?;
    Ok(python)
}
