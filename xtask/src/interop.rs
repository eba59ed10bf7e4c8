//! The interop tests: what cowtrace exports, read by the programs that it is for (pyarrow, Perfetto's own definitions,
//! Jenkins' schema, a browser, Prometheus, OpenTelemetry's own definitions). Each is a script of `xtask/interop`.

use std::{ffi::OsString, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    binary,
    dist::{self, Arch},
    kernels, lab, process, setup,
};

/// A script, and what it proves.
const TESTS: [(&str, &str); 8] = [
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
    (
        PACKAGES,
        "packages install in a clean Debian, whose systemd runs the agent, and by rpm; the source package builds with stable Rust, and makes the same object",
    ),
];

/// The script that needs Prometheus.
const PROMETHEUS: &str = "prometheus.py";

/// The script that needs a release, which takes long: only with `--full`.
const PACKAGES: &str = "packages.py";

/// Whether the sentence of any contains `only`.
pub fn has(only: Option<&str>, full: bool) -> bool {
    TESTS.iter().any(|test| wanted(test, only, full))
}

fn wanted((script, name): &(&str, &str), only: Option<&str>, full: bool) -> bool {
    only.is_none_or(|only| name.contains(only)) && (full || *script != PACKAGES)
}

/// Runs those whose sentence contains `only`; how many failed.
pub fn run(only: Option<&str>, full: bool) -> Result<usize> {
    setup::interop_tools()?;
    let (python, cowtrace) = (python()?, binary::build()?);
    let mut failed = 0;
    for (script, name) in TESTS.iter().filter(|test| wanted(test, only, full)) {
        let mut command = Command::new(&python);
        command.arg(folder().join(script)).arg(&cowtrace);
        if *script == PROMETHEUS {
            command.env("COWTRACE_PROMETHEUS", prometheus()?);
        }
        if *script == PACKAGES {
            command.envs(a_release()?);
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

/// A release for this machine, where its .deb is installed, and what boots that.
fn a_release() -> Result<[(&'static str, OsString); 5]> {
    setup::chroot_tools()?;
    setup::lab_tools()?;
    let kernel = kernels::select(&["6.12".to_owned()])?.pop().context("no such kernel")?;
    let kernel = kernels::ensure(kernel, kernels::Flavour::Cloud)?;
    let dist = dist::make(&[Arch::X86_64], None)?;
    let chroot = kernels::cache()?.with_file_name("clean-bookworm");
    Ok([
        ("COWTRACE_DIST", dist.into()),
        ("COWTRACE_CHROOT", chroot.into()),
        ("COWTRACE_MIRROR", kernels::mirror()?.into()),
        ("COWTRACE_KERNEL", kernel.image.into()),
        ("COWTRACE_QEMU", lab::emulator().into()),
    ])
}

fn folder() -> PathBuf {
    process::here().join("interop")
}

/// Debian's Prometheus, in a folder of its own: the package, installed, would start a service.
fn prometheus() -> Result<PathBuf> {
    let home = kernels::cache()?.with_file_name("prometheus");
    kernels::unpack_package("prometheus", &["bookworm"], "amd64", &home)?;
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
