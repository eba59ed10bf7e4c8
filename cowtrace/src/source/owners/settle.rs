//! Which range belongs to which candidate.
//!
//! Promise: no range is given an owner that another one may as well have.

use std::collections::{HashMap, HashSet};

use super::{
    Range,
    candidate::{Candidate, Key},
};

/// What a range belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To none that is there.
    None,
    /// To this one.
    One(Candidate),
    /// To one of these.
    Several(Vec<Candidate>),
}

/// An answer for each range, all of which are of one sort and process. `taken` are candidates that have a range.
pub fn settle(
    ranges: &[Range],
    candidates: &[Candidate],
    taken: &HashSet<(u32, String)>,
) -> Vec<Answer> {
    let mut shared = Vec::new();
    let mut by_key: HashMap<Key, Vec<&Candidate>> = HashMap::new();
    for candidate in candidates {
        match candidate.span.keys() {
            None => shared.push(candidate),
            Some(keys) => keys.into_iter().for_each(|key| {
                by_key.entry(key).or_default().push(candidate);
            }),
        }
    }
    let mut rivals: HashMap<Key, Vec<usize>> = HashMap::new();
    for (index, range) in ranges.iter().enumerate() {
        let at = (Some(range.start), range.pages);
        let key = if by_key.contains_key(&at) { at } else { (None, range.pages) };
        rivals.entry(key).or_default().push(index);
    }
    let mut answers = vec![shared_by(&shared); ranges.len()];
    for (key, indices) in rivals {
        let Some(fit) = by_key.get(&key) else { continue };
        let has_waited = indices.iter().any(|index| ranges[*index].tries > 0);
        let found = match_up(indices.len(), fit, taken, has_waited);
        for (index, answer) in indices.into_iter().zip(found) {
            answers[index] = answer;
        }
    }
    answers
}

/// What all ranges have that a candidate of any range fits.
fn shared_by(candidates: &[&Candidate]) -> Answer {
    match candidates {
        [] => Answer::None,
        [one] => Answer::One((*one).clone()),
        several => Answer::Several(several.iter().copied().cloned().collect()),
    }
}

/// Answers for so many ranges alike, the oldest first. A candidate that is taken comes into question only when nothing
/// else has come up: its range may have ended meanwhile.
fn match_up(
    ranges: usize,
    fit: &[&Candidate],
    taken: &HashSet<(u32, String)>,
    has_waited: bool,
) -> Vec<Answer> {
    let is_fresh = |one: &&Candidate| !taken.contains(&(one.scope, one.name.clone()));
    let mut pool: Vec<&Candidate> = fit.iter().copied().filter(is_fresh).collect();
    if pool.is_empty() && has_waited {
        pool = fit.to_vec();
    }
    pool.sort_by_key(|one| one.order);
    let is_ordered = pool.len() == 1
        || pool.windows(2).all(|two| match (two[0].order, two[1].order) {
            (Some((series, _)), Some((other, _))) => series == other,
            _ => false,
        });
    let is_even = pool.len() == ranges;
    if pool.is_empty() || !(is_even || has_waited) {
        return vec![Answer::None; ranges];
    }
    if !is_ordered {
        return vec![shared_by(&pool); ranges];
    }
    // The youngest of both belong together: what is over was before trace or look-up.
    let mut answers: Vec<_> = pool.into_iter().rev().map(|one| Answer::One(one.clone())).collect();
    answers.resize(ranges, Answer::None);
    answers.reverse();
    answers
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{super::candidate::Span, *};
    use crate::{
        event::{Event, Extents, Pin, Stack, Task, What},
        owner::Kind,
    };

    fn range(start: u64, pages: u64, tries: usize) -> Range {
        let pin = Pin {
            mm: 2,
            address: start,
            pages,
            call_pages: pages,
            unlisted: 0,
            gup_flags: 0,
            part: 0,
            extents: Extents::new(),
        };
        let task = Task { tgid: 7, tid: 7, ..Task::default() };
        let (stack, what) = (Stack::default(), What::Pin(pin.clone()));
        let event = Event { time: start, task, cpu: 0, program: None, stack, what };
        let mut range = Range::new(&event, &pin, Kind::Rdma, Instant::now());
        range.tries = tries;
        range
    }

    fn one(name: &str, span: Span, order: Option<(u64, u64)>) -> Candidate {
        Candidate { name: name.to_owned(), span, order, is_whole: true, scope: 0 }
    }

    /// Names of the answers; several with bars between them.
    fn names(ranges: &[Range], candidates: &[Candidate], taken: &[&str]) -> Vec<String> {
        let taken = taken.iter().map(|name| (0, (*name).to_owned())).collect();
        let name = |answer| match answer {
            Answer::None => "-".to_owned(),
            Answer::One(one) => one.name,
            Answer::Several(all) => all.iter().map(|one| &*one.name).collect::<Vec<_>>().join("|"),
        };
        settle(ranges, candidates, &taken).into_iter().map(name).collect()
    }

    #[test]
    fn each_range_has_the_one_of_its_address_or_length() {
        let candidates =
            [one("a", Span::At(0x1000, 4096), None), one("b", Span::Bytes(8000), None)];
        let ranges = [range(0x1000, 1, 0), range(0x9000, 3, 0), range(0x9000, 9, 0)];
        assert_eq!(names(&ranges, &candidates, &[]), ["a", "b", "-"]);
    }

    #[test]
    fn alike_ones_are_told_apart_by_their_order_and_else_not_at_all() {
        let ranges = [range(0x1000, 1, 0), range(0x9000, 1, 0)];
        let ordered = |order: fn(u64) -> Option<(u64, u64)>| {
            [9, 8].map(|n| one(&format!("m{n}"), Span::Bytes(4096), order(n)))
        };
        assert_eq!(names(&ranges, &ordered(|n| Some((1, n))), &[]), ["m8", "m9"]);
        assert_eq!(names(&ranges, &ordered(|n| Some((n, n))), &[]), ["m8|m9", "m8|m9"]);
        assert_eq!(names(&ranges, &ordered(|_| None), &[]), ["m9|m8", "m9|m8"]);
    }

    #[test]
    fn what_is_taken_or_one_too_few_is_waited_for() {
        let all = [one("m1", Span::Bytes(4096), Some((1, 1)))];
        let ranges = |tries| [range(0x1000, 1, tries), range(0x9000, 1, tries)];
        assert_eq!(names(&ranges(0), &all, &[]), ["-", "-"], "whose is it?");
        assert_eq!(names(&ranges(1), &all, &[]), ["-", "m1"], "the older one is gone");
        let single = |tries| [range(0x1000, 1, tries)];
        assert_eq!(names(&single(0), &all, &["m1"]), ["-"]);
        assert_eq!(names(&single(1), &all, &["m1"]), ["m1"], "registered again");
    }

    #[test]
    fn a_container_has_all_ranges() {
        let ranges = [range(0x1000, 1, 0), range(0x9000, 5, 0)];
        let both = [one("c3", Span::Any, None), one("c4", Span::Any, None)];
        assert_eq!(names(&ranges, &both[..1], &["c3"]), ["c3", "c3"]);
        assert_eq!(names(&ranges, &both, &[]), ["c3|c4", "c3|c4"]);
        assert_eq!(names(&ranges, &[], &[]), ["-", "-"]);
    }
}
