//! The view on a terminal: it gives it back as it was, and ends where it is gone.
//!
//! Each test has a pseudo-terminal and a session of its own, so a hang-up reaches nobody else.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
    },
};

/// A busy machine takes its time; nothing here waits for it to pass.
const PATIENCE: Duration = Duration::from_mins(1);
/// What README.md says of findings of pinned pages, which the recording has.
const FINDINGS: Option<i32> = Some(1);

/// Modes of a terminal, as it is told to set them.
const CURSOR: &str = "25";
const ALTERNATE_SCREEN: &str = "1049";

struct Terminal {
    /// Where the user sits.
    user: File,
    /// Where programs are. Open here too: it is looked at when they have ended.
    line: OwnedFd,
}

impl Terminal {
    fn open() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).expect("a pseudo-terminal");
        unlockpt(&user).expect("unlocked");
        let line = ioctl_tiocgptpeer(&user, flags).expect("its other end");
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&line, size).expect("a size");
        let mut settings = tcgetattr(&line).expect("settings");
        // Unusual ones: these are not there again by somebody setting what is usual.
        settings.local_modes.remove(LocalModes::ECHO);
        settings.special_codes[SpecialCodeIndex::VERASE] = b'\x08';
        tcsetattr(&line, OptionalActions::Now, &settings).expect("settings");
        Self { user: user.into(), line }
    }

    /// All settings as text.
    fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.line).expect("settings"))
    }
}

/// Does not outlive its test.
struct Process {
    child: Child,
    /// Can be read once it has ended.
    end: OwnedFd,
}

impl Process {
    /// A replay in a session on the terminal, led by it or by what starts it.
    fn start(terminal: &Terminal, by: &[&str]) -> Self {
        // In place of that of whoever runs the tests.
        let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("terminal.toml");
        fs::write(&config, "").expect("a file");
        let recording =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/lost-5.10.cow");
        let line = || Stdio::from(terminal.line.try_clone().expect("a descriptor"));
        // It becomes the replay, with the same number: only for the leader of a process group it would fork.
        let child = Command::new("setsid")
            .arg("-c")
            .args(by)
            .args([env!("CARGO_BIN_EXE_cowtrace"), "replay"])
            .arg(recording)
            .env("COWTRACE_CONFIG", config)
            .stdin(line())
            .stdout(line())
            .stderr(line())
            .spawn()
            .expect("it starts");
        let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a child");
        Self { child, end }
    }

    fn send(&self, signal: Signal) {
        pidfd_send_signal(&self.end, signal).expect("it lives");
    }

    /// Waits for its end; the status, if no signal has killed it.
    fn status(&mut self) -> Option<i32> {
        readable([self.end.as_fd()], Instant::now() + PATIENCE);
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // With what it started.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Waits until one of them is readable; which are.
fn readable<const N: usize>(descriptors: [BorrowedFd; N], deadline: Instant) -> [bool; N] {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).expect("a minute at most");
    let mut polled = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    assert_ne!(poll(&mut polled, Some(&left)).expect("it waits"), 0, "the patience is at its end");
    polled.map(|fd| fd.revents().contains(PollFlags::IN))
}

/// The terminal before and while something is shown on it.
struct View {
    terminal: Terminal,
    process: Process,
    /// The terminal's settings before.
    before: String,
    /// All that came so far.
    output: Vec<u8>,
}

impl View {
    /// One that shows all of the recording, and has no more to draw.
    fn shown() -> Self {
        Self::shown_by(&[])
    }

    fn shown_by(leader: &[&str]) -> Self {
        let terminal = Terminal::open();
        let before = terminal.settings();
        let process = Process::start(&terminal, leader);
        let mut view = Self { terminal, process, before, output: Vec::new() };
        view.take(is_complete);
        assert!(is_complete(&view.output()), "it ended: {}", view.output());
        assert_ne!(view.terminal.settings(), view.before, "raw while it is shown");
        view
    }

    /// Takes what comes until that is enough, or the process has ended.
    fn take(&mut self, is_enough: fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(&self.output()) {
            let ends = [self.terminal.user.as_fd(), self.process.end.as_fd()];
            let [comes, _ended] = readable(ends, deadline);
            if !comes {
                return;
            }
            let mut some = [0; 4096];
            let read = self.terminal.user.read(&mut some).expect("output");
            self.output.extend_from_slice(&some[..read]);
        }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Waits until it has ended, and looks at what it leaves.
    fn gives_the_terminal_back(mut self) {
        self.take(|_| false);
        assert_eq!(self.process.status(), FINDINGS);
        assert_eq!(self.terminal.settings(), self.before);
        drop(self.terminal.line);
        // The rest of it; then there is an error, for nobody is at the other end.
        let _ = self.terminal.user.read_to_end(&mut self.output);
        let output = String::from_utf8_lossy(&self.output);
        let modes = modes(&output);
        assert_eq!(modes.get(ALTERNATE_SCREEN), Some(&false), "{modes:?}");
        let on: Vec<_> = modes.into_iter().filter_map(|(mode, on)| on.then_some(mode)).collect();
        assert_eq!(on, [CURSOR], "the mouse, too, is the user's again");
    }
}

/// Whether a frame has been finished that says REPLAY. Where it said READING only what differs is written.
fn is_complete(output: &str) -> bool {
    output.split_once("PLAY ").is_some_and(|(_, rest)| rest.contains("\x1b[?25l"))
}

/// The modes that were set or reset, with whether they were set last.
fn modes(output: &str) -> BTreeMap<&str, bool> {
    let mut modes = BTreeMap::new();
    for sequence in output.split("\x1b[?").skip(1) {
        if let Some(end) = sequence.find(|of: char| !of.is_ascii_digit()) {
            let (mode, rest) = sequence.split_at(end);
            modes.insert(mode, rest.starts_with('h'));
        }
    }
    modes
}

#[test]
fn q_gives_the_terminal_back() {
    let mut view = View::shown();
    view.terminal.user.write_all(b"q").expect("a key");
    view.gives_the_terminal_back();
}

#[test]
fn sigterm_gives_the_terminal_back() {
    let view = View::shown();
    view.process.send(Signal::TERM);
    view.gives_the_terminal_back();
}

#[test]
fn sighup_gives_the_terminal_back() {
    let view = View::shown();
    view.process.send(Signal::HUP);
    view.gives_the_terminal_back();
}

#[test]
fn a_terminal_that_goes_away_takes_the_view_with_it() {
    let View { terminal, mut process, .. } = View::shown();
    drop(terminal.user);
    assert_eq!(process.status(), FINDINGS);
}

#[test]
fn a_terminal_that_goes_away_does_so_too_where_no_signal_tells() {
    // The kernel tells the leader alone, and this one neither ends of it nor hands it on.
    let leader = ["sh", "-c", "trap '' HUP; \"$@\"; exit $?", "sh"];
    let View { terminal, mut process, .. } = View::shown_by(&leader);
    drop(terminal.user);
    assert_eq!(process.status(), FINDINGS);
}
