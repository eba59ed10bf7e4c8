//! How numbers, times, names and long sentences are written on the screen.

pub use crate::sinks::count;
use std::borrow::Cow;

use crate::{
    event::{Task, Time},
    trace::Trace,
};

/// Time since the trace began: `+12.345s`, from 1000 s on `+1h02m03`.
pub fn since(trace: &Trace, time: Time) -> String {
    let nanos = trace.since_start(time);
    let sign = if nanos < 0 { '-' } else { '+' };
    let millis = nanos.unsigned_abs() / 1_000_000;
    let seconds = millis / 1000;
    if seconds < 1000 {
        return format!("{sign}{seconds}.{:03}s", millis % 1000);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours < 100 {
        return format!("{sign}{hours}h{minutes:02}m{:02}", seconds % 60);
    }
    format!("{sign}{}d{:02}h", hours / 24, hours % 24)
}

/// Time since the trace began, to the microsecond: `+12.345678`.
pub fn micros(trace: &Trace, time: Time) -> String {
    let micros = trace.since_start(time) / 1000;
    let sign = if micros < 0 { '-' } else { '+' };
    format!("{sign}{}.{:06}", micros.abs() / 1_000_000, micros.abs() % 1_000_000)
}

/// Time between two events: `350us`, `12ms`, `1.250s`, from 1000 s on `1h02m03`.
pub fn between(from: Time, to: Time) -> String {
    let micros = to.saturating_sub(from) / 1000;
    match micros {
        0..1000 => format!("{micros}us"),
        1000..1_000_000 => format!("{}ms", micros / 1000),
        1_000_000..1_000_000_000 => {
            format!("{}.{:03}s", micros / 1_000_000, micros / 1000 % 1000)
        }
        _ => {
            let seconds = micros / 1_000_000;
            format!("{}h{:02}m{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
    }
}

/// Time that has passed, as a clock shows it: `00:01:23`.
pub fn clock(nanos: i64) -> String {
    let seconds = nanos.max(0) / 1_000_000_000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A process: `comm[tgid]`. The name is cut to fit, the number never.
pub fn process(task: Task, width: usize) -> String {
    let number = format!("[{}]", task.tgid);
    shorten(&task.comm.to_string(), width.saturating_sub(number.len())) + &number
}

/// A thread: `comm[tgid/tid]`; as its process where it is the first one, or where that does not fit.
pub fn thread(task: Task, width: usize) -> String {
    let number = format!("[{}/{}]", task.tgid, task.tid);
    let name = task.comm.to_string();
    if task.tid == task.tgid || name.chars().count() + number.len() > width {
        return process(task, width);
    }
    name + &number
}

/// A path in at most `width` characters: its beginning and its end tell more than what is between.
pub fn shorten_path(path: &str, width: usize) -> String {
    let chars: Vec<char> = path.chars().collect();
    if chars.len() <= width {
        return path.to_owned();
    }
    let room = width.saturating_sub(1);
    let front: String = chars[..room / 3].iter().collect();
    let back: String = chars[chars.len() - (room - room / 3)..].iter().collect();
    format!("{front}…{back}")
}

/// `text` in at most `width` characters, with an ellipsis if that cut it.
pub fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

/// `text` in lines of at most `width` characters, broken between words. A word that is longer than
/// a line has one of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let options = textwrap::Options::new(width).break_words(false);
    let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation);
    let words: Vec<_> = text.split_whitespace().collect();
    textwrap::wrap(&words.join(" "), options).into_iter().map(Cow::into_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Comm, facts::key};

    #[test]
    fn a_name_is_cut_but_a_number_never() {
        let task = Task { tgid: 4_194_303, tid: 1, comm: Comm(*b"abcdefghijklmno\0"), cgroup: 0 };
        assert_eq!(process(task, 13), "abc…[4194303]");
        assert_eq!(process(task, 3), "[4194303]");
        assert_eq!(thread(task, 26), "abcdefghijklmno[4194303/1]");
        assert_eq!(thread(task, 25), "abcdefghijklmno[4194303]");
    }

    #[test]
    fn a_path_is_cut_in_its_middle() {
        assert_eq!(shorten_path("/dev/shm/nccl-k8Jx2a", 20), "/dev/shm/nccl-k8Jx2a");
        assert_eq!(shorten_path("/dev/shm/nccl-k8Jx2a", 16), "/dev/…ccl-k8Jx2a");
        assert_eq!(shorten_path("/dev/shm/ü", 0), "…");
    }

    #[test]
    fn times_are_short_however_long_they_are() {
        let mut trace = Trace::default();
        trace.facts.set(key::STARTED.to_owned(), "1000000000".to_owned());
        assert_eq!(since(&trace, 1_500_000_000), "+0.500s");
        assert_eq!(since(&trace, 500_000_000), "-0.500s");
        assert_eq!(since(&trace, 3_724_000_000_000), "+1h02m03");
        assert_eq!(since(&trace, u64::MAX >> 1), "+106751d23h");
        assert_eq!(between(5, 1_250_000_005), "1.250s");
        assert_eq!(between(5, 4), "0us");
    }

    #[test]
    fn a_sentence_breaks_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible it is", 5), ["incomprehensible", "it is"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
