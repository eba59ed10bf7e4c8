//! The agent as a service: what it tells systemd, and who reads its metrics.
#![cfg(feature = "agent")]

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// An agent that tells of a recording, and a folder of its own.
struct Agent {
    process: Child,
    folder: PathBuf,
    /// What systemd hears.
    notified: UnixDatagram,
}

impl Agent {
    fn start(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("cowtrace-agent-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let notified = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        notified.set_read_timeout(Some(Duration::from_mins(1))).expect("a time");
        let recording =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/lost-5.10.cow");
        let process = Command::new(env!("CARGO_BIN_EXE_cowtrace"))
            .args(["agent", "--listen", "unix:metrics.sock", "--replay"])
            .arg(recording)
            .current_dir(&folder)
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .env("WATCHDOG_USEC", "20000")
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { process, folder, notified }
    }

    /// Waits until systemd hears something; all that was said with it.
    fn hears(&self, wanted: &str) -> String {
        let mut said = [0; 4096];
        loop {
            let read = self.notified.recv(&mut said).expect("it is said in time");
            let said = String::from_utf8_lossy(&said[..read]);
            if said.lines().any(|line| line == wanted) {
                return said.into_owned();
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.join("metrics.sock")).expect("it listens");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Tells it to end; its status.
    fn end(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("a shell's command").success());
        self.hears("STOPPING=1");
        self.process.wait().expect("a child").code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn systemd_hears_when_it_is_ready_how_it_stands_that_it_lives_and_that_it_ends() {
    let mut agent = Agent::start("notify");
    let ready = agent.hears("READY=1");
    assert!(
        ready.contains("STATUS=found 1 lost, 1 armed; nothing missed; 0 pages pinned"),
        "{ready}"
    );
    agent.hears("WATCHDOG=1");
    agent.hears("WATCHDOG=1");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn metrics_are_read_through_a_socket_that_goes_with_it() {
    let mut agent = Agent::start("socket");
    agent.hears("READY=1");
    let metrics = agent.get("/metrics");
    assert!(metrics.contains("\ncowtrace_findings_total{verdict=\"lost\""), "{metrics}");
    assert!(agent.get("/healthz").ends_with("\r\n\r\nok\n"));
    assert_eq!(agent.end(), Some(0));
    assert!(!agent.folder.join("metrics.sock").exists());
}
