//! Signals to a run that cannot end by itself, since nobody reads what it prints.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// A replay that fills its pipe and waits there, with its handlers in place.
fn stuck() -> Child {
    let recording =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/diverged-5.10.cow");
    let mut process = Command::new(env!("CARGO_BIN_EXE_cowtrace"))
        .args(["replay", "--events", "--format", "json"])
        .arg(recording)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    process.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("it prints");
    process
}

fn interrupt(process: &Child) {
    let sent = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
    assert!(sent.expect("kill").success());
    // Two that wait are one: the handler has to have begun.
    let status = format!("/proc/{}/status", process.id());
    while fs::read_to_string(&status).is_ok_and(|status| {
        status.lines().any(|line| line.starts_with("ShdPnd:") && line.ends_with('2'))
    }) {
        thread::yield_now();
    }
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let mut process = stuck();
    interrupt(&process);
    assert_eq!(process.try_wait().expect("a child"), None, "the first asks it to end");
    interrupt(&process);
    drop(process.stdout.take()); // If it still wrote, it would now end with another status.
    assert_eq!(process.wait().expect("a child").code(), Some(130));
}
