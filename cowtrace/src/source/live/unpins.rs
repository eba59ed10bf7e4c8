//! Pages that the ring tells as unpinned one by one, in two words each, made into records of many.

use cowtrace_common::{
    next::{NextUnpin, WITHIN_NS},
    program::Program,
    wire::{POINTERS, kind},
};
use hashbrown::HashMap;

use crate::{
    decode::{self, Head},
    encode::Writer,
    event::{Pfn, Time},
    source::Batch,
};

/// A CPU and a program's number: there the programs know whose unpin was told last.
type Place = (u32, u16);

/// Unpins on their way from the ring to a batch.
#[derive(Debug, Default)]
pub struct Unpins {
    /// Header of the unpin that was told last at a place.
    heads: HashMap<Place, Head>,
    /// Pages that are in no record yet: at most one run for each place.
    runs: Vec<Run>,
}

/// Pages that a thread unpinned in a row.
#[derive(Debug)]
struct Run {
    place: Place,
    since: Time,
    pfns: Vec<Pfn>,
}

impl Unpins {
    /// Takes what the ring holds to the batch, a record as it is. What came before it stays before it.
    pub fn take(&mut self, bytes: &[u8], batch: &mut Batch) {
        if let Some(next) = NextUnpin::from_bytes(bytes) {
            return self.join(next, batch);
        }
        self.finish(batch);
        batch.extend_from_slice(bytes);
        if decode::is_of_kind(bytes, kind::UNPIN)
            && let Ok(head) = decode::head(&mut &*bytes)
            && Program::from_number(head.program).is_some_and(Program::tells_next)
        {
            self.heads.insert((head.cpu, head.program), head);
        }
    }

    /// Writes what is in no record yet.
    pub fn finish(&mut self, batch: &mut Batch) {
        for run in std::mem::take(&mut self.runs) {
            self.write(&run, batch);
        }
    }

    fn join(&mut self, next: NextUnpin, batch: &mut Batch) {
        let (place, time) = ((next.cpu(), next.program()), next.time_ns);
        // Unpins of different threads change places freely: it is what lies between them and others that must not.
        if let Some(at) = self.runs.iter().position(|run| run.place == place) {
            let run = &mut self.runs[at];
            if run.pfns.len() < POINTERS && time.saturating_sub(run.since) <= WITHIN_NS {
                return run.pfns.push(next.pfn());
            }
        }
        // With it go those that are as old: their time is to be near that of what comes next.
        let is_old =
            |run: &mut Run| run.place == place || time.saturating_sub(run.since) > WITHIN_NS;
        for old in self.runs.extract_if(.., is_old).collect::<Vec<_>>() {
            self.write(&old, batch);
        }
        self.runs.push(Run { place, since: time, pfns: vec![next.pfn()] });
    }

    fn write(&self, run: &Run, batch: &mut Batch) {
        // It is there: the programs tell nothing so before the record is in the ring.
        let head = self.heads.get(&run.place).copied().unwrap_or_default();
        Writer::new(batch, run.since).unpins(&head, &run.pfns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::Records,
        event::{Event, Task, What},
    };

    const BEGIN: Time = 5_000_000;

    /// The record of a page that a thread unpinned on a CPU.
    fn told(tid: u32, cpu: u32, pfn: Pfn) -> Vec<u8> {
        let task = Task { tid, ..Task::default() };
        let head = Head { program: Program::UnpinFolio as u16, task, cpu, ..Head::default() };
        let mut batch = Batch::new();
        Writer::new(&mut batch, BEGIN).unpins(&head, &[pfn]);
        batch
    }

    fn next(after: Time, cpu: u32, pfn: Pfn) -> Vec<u8> {
        let next = NextUnpin::new(BEGIN + after, Program::UnpinFolio, cpu, pfn);
        next.to_words().map(u64::to_le_bytes).concat()
    }

    fn events(samples: impl IntoIterator<Item = Vec<u8>>) -> Vec<Event> {
        let (mut unpins, mut batch) = (Unpins::default(), Batch::new());
        for sample in samples {
            unpins.take(&sample, &mut batch);
        }
        unpins.finish(&mut batch);
        Records::new(&batch).map(|event| event.expect("it decodes")).collect()
    }

    /// Thread, time since the beginning, first page and pages of each unpin.
    fn told_of(events: &[Event]) -> Vec<(u32, Time, Pfn, u64)> {
        let unpin = |event: &Event| match &event.what {
            What::Unpin(unpin) => {
                (event.task.tid, event.time - BEGIN, unpin.extents[0].pfn, unpin.pages)
            }
            other => panic!("no unpin: {other:?}"),
        };
        events.iter().map(unpin).collect()
    }

    #[test]
    fn pages_in_a_row_become_one_record_of_the_thread_that_was_told_before() {
        let samples = [told(7, 3, 100), next(10, 3, 101), next(20, 3, 102), next(30, 3, 200)];
        let events = events(samples);
        assert_eq!(told_of(&events), [(7, 0, 100, 1), (7, 10, 101, 3)]);
        let What::Unpin(unpin) = &events[1].what else { unreachable!() };
        assert_eq!(
            unpin.extents.iter().map(|e| (e.pfn, e.pages)).collect::<Vec<_>>(),
            [(101, 2), (200, 1)]
        );
        assert_eq!((events[1].cpu, events[1].program), (3, Some(Program::UnpinFolio)));
    }

    #[test]
    fn what_stands_between_unpins_in_the_ring_stands_between_them_in_the_batch() {
        let mut other = Batch::new();
        Writer::new(&mut other, BEGIN + 15).fact("a", "b");
        let events = events([told(7, 3, 100), next(10, 3, 101), other, next(20, 3, 102)]);
        assert!(matches!(events[2].what, What::Fact { .. }));
        assert_eq!(told_of(&events[..2]), [(7, 0, 100, 1), (7, 10, 101, 1)]);
        assert_eq!(told_of(&events[3..]), [(7, 20, 102, 1)]);
    }

    #[test]
    fn two_cpus_at_once_have_a_record_each() {
        let firsts = [told(7, 0, 100), told(8, 1, 500)];
        let rest = (1..50).flat_map(|n| [next(n, 0, 100 + n), next(n, 1, 500 + n)]);
        let events = events(firsts.into_iter().chain(rest));
        assert_eq!(told_of(&events[2..]), [(7, 1, 101, 49), (8, 1, 501, 49)]);
    }

    #[test]
    fn a_record_has_as_many_pages_as_any_and_spans_no_more_than_a_moment() {
        let most = POINTERS as u64;
        let many = (0..=most).map(|n| next(n, 3, n));
        let later = [next(most + WITHIN_NS, 3, 900), next(most + WITHIN_NS + 1, 3, 901)];
        let events = events([told(7, 3, 5000)].into_iter().chain(many).chain(later));
        let expected = [(7, 0, 0, most), (7, most, most, 2), (7, most + WITHIN_NS + 1, 901, 1)];
        assert_eq!(told_of(&events[1..]), expected);
    }

    #[test]
    fn a_page_does_not_wait_for_those_of_another_cpu() {
        let firsts = [told(7, 0, 100), told(8, 1, 500), next(1, 0, 101)];
        let rest = (0..300).map(|n| next(10_000 * n, 1, 600 + n));
        let events = events(firsts.into_iter().chain(rest));
        // The first of the other CPU's spans a millisecond.
        let expected = [(7, 1, 101, 1), (8, 0, 600, 101), (8, 1_010_000, 701, 101)];
        assert_eq!(told_of(&events[2..5]), expected);
    }

    #[test]
    fn a_page_of_a_thread_that_nobody_knows_is_unpinned_all_the_same() {
        assert_eq!(told_of(&events([next(10, 9, 77)])), [(0, 10, 77, 1)]);
    }

    #[test]
    fn bytes_that_are_nothing_stay_what_they_are() {
        let (mut unpins, mut batch) = (Unpins::default(), Batch::new());
        for bytes in [&[][..], &[1], &[2; 15], &[3; 24], &[4; 80]] {
            unpins.take(bytes, &mut batch);
        }
        assert_eq!(batch.len(), 1 + 15 + 24 + 80);
    }
}
