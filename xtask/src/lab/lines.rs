//! The guest's lines while it runs: copied where they belong, and followed.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write},
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::ending::Ending;

/// A guest that is not ready by then hangs: the slowest takes 12 s, on a busy host more.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
/// Our own word beside init's: nobody reads COMMAND's stdout any more.
const UNREAD: &str = "unread";

/// Waits for the guest's end: what init says, or the time-out of COMMAND.
pub fn follow(said: &Receiver<String>, timeout: Option<Duration>) -> Ending {
    match hear(said, Some(BOOT_LIMIT)) {
        Heard::Ready => {}
        Heard::End(ending) => return ending,
        Heard::Silence => {
            let why = format!("not ready after {} s", BOOT_LIMIT.as_secs());
            return Ending::NeverReady(why);
        }
        Heard::Down => return Ending::NeverReady("it went down without a word".to_owned()),
    }
    match hear(said, timeout) {
        Heard::End(ending) => ending,
        Heard::Silence => Ending::TimedOut(timeout.unwrap_or_default()),
        Heard::Ready | Heard::Down => Ending::Died,
    }
}

/// The next word that means something.
enum Heard {
    Ready,
    End(Ending),
    Silence,
    Down,
}

fn hear(said: &Receiver<String>, limit: Option<Duration>) -> Heard {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match said.recv_timeout(left.unwrap_or(Duration::MAX)) {
            Ok(line) => {
                // What means nothing is noise from the port's start.
                if let Some(heard) = meaning(&line) {
                    return heard;
                }
            }
            Err(RecvTimeoutError::Timeout) => return Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => return Heard::Down,
        }
    }
}

fn meaning(line: &str) -> Option<Heard> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Some(match word {
        "ready" => Heard::Ready,
        "exit" => Heard::End(Ending::Exited(rest.parse().ok()?)),
        "fail" => Heard::End(Ending::Unfit(rest.to_owned())),
        UNREAD => Heard::End(Ending::Unread),
        _ => return None,
    })
}

/// Passes on what init says. All senders gone means that the guest is down.
pub fn listen(control: UnixStream, say: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(control).lines().map_while(Result::ok) {
            if say.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
}

/// Writes a line out as it comes, and says so where nobody takes it any more.
pub fn pour(
    mut from: UnixStream,
    mut to: impl Write + Send + 'static,
    say: Option<Sender<String>>,
) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        let mut open = true;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // Read on even so: a full line would stop the guest.
            open = open && to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_ok();
            if let (false, Some(say)) = (open, &say) {
                let _ = say.send(UNREAD.to_owned());
            }
        }
        Vec::new()
    })
}

/// Keeps all that comes of a line.
pub fn collect(mut from: UnixStream) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn ending(said: &[&str]) -> Ending {
        let (say, heard) = mpsc::channel();
        for line in said {
            say.send((*line).to_owned()).unwrap();
        }
        drop(say);
        follow(&heard, None)
    }

    #[test]
    fn the_status_of_the_command_is_the_ending() {
        assert_eq!(ending(&["ready", "exit 3"]), Ending::Exited(3));
    }

    #[test]
    fn a_guest_that_goes_down_is_judged_by_whether_it_was_ready() {
        assert!(matches!(ending(&[]), Ending::NeverReady(_)));
        assert_eq!(ending(&["ready"]), Ending::Died);
    }

    #[test]
    fn a_command_that_takes_too_long_has_timed_out() {
        let (say, heard) = mpsc::channel();
        say.send("ready".to_owned()).unwrap();
        assert_eq!(follow(&heard, Some(Duration::ZERO)), Ending::TimedOut(Duration::ZERO));
    }

    #[test]
    fn a_machine_that_is_not_what_was_asked_for_says_why() {
        let why = "only 3 of 8 huge pages could be set aside";
        assert_eq!(ending(&[&format!("fail {why}")]), Ending::Unfit(why.to_owned()));
    }
}
