//! The thread's side, message by message, in this one.

use std::{fs, path::PathBuf};

use super::{
    super::{plan::Limit, seal::Allowance},
    *,
};
use crate::{decode::Records, encode::Writer, event::Time, source::recording::Recording};

/// A recorder without a thread in a folder that is removed at the end.
struct Scene {
    folder: PathBuf,
    writing: Writing,
    sealed: Receiver<Told>,
    now: Time,
}

impl Scene {
    fn new(name: &str, plan: Plan) -> Self {
        let folder = std::env::temp_dir().join(format!("cowtrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (tell, sealed) = mpsc::channel();
        let parts = Parts::create(&folder.join("x.cow"), plan, tell).expect("created");
        let writing = Writing::new(parts, plan, Duration::MAX, Arc::default());
        Self { folder, writing, sealed, now: 0 }
    }

    fn records(&mut self) {
        self.now += 1;
        self.writing.records(&self.fact()).expect("written");
        self.writing.parts.sync().expect("written");
    }

    fn keyframe(&mut self) {
        self.writing.keyframe(&self.fact()).expect("written");
    }

    /// A record of now.
    fn fact(&self) -> Batch {
        let mut batch = Batch::new();
        Writer::new(&mut batch, self.now).fact("a", "b");
        batch
    }

    /// Whether a keyframe is wanted; from now on the loop is about to send one.
    fn asks(&self) -> bool {
        self.writing.due.swap(false, Ordering::Relaxed)
    }

    /// Seals what was found, and waits until it is there.
    fn seal(&mut self) {
        self.writing.seal_if_due(Instant::now()).expect("begun");
        self.sealed();
    }

    /// Waits until what is being sealed is there.
    fn sealed(&mut self) {
        while self.writing.parts.sealing().is_some_and(|sealing| !sealing.is_over()) {
            thread::yield_now();
        }
        self.writing.seal_if_due(Instant::now()).expect("sealed");
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.folder).expect("the folder").count()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn one_keyframe_is_asked_for_however_much_comes_before_it() {
    let mut scene = Scene::new("once", Plan::rotating(Limit::Bytes(1), None));
    scene.records();
    assert!(scene.asks());
    scene.records();
    assert!(!scene.asks(), "it is under way");
    scene.keyframe();
    scene.records();
    assert!(scene.asks(), "the next part has enough as well");
}

#[test]
fn a_part_has_something_later_than_those_before_it() {
    let mut scene = Scene::new("later", Plan::rotating(Limit::Bytes(1), None));
    scene.records();
    scene.keyframe();
    scene.keyframe();
    assert_eq!(scene.files(), 2, "no time has passed");
    scene.records();
    scene.keyframe();
    assert_eq!(scene.files(), 3);
}

#[test]
fn a_ring_is_as_small_as_before_once_a_finding_is_sealed() {
    let mut scene = Scene::new("small", Plan::ring(Limit::Bytes(8), Duration::ZERO));
    for _ in 0..20 {
        scene.writing.found("finding-1-lost".to_owned(), 8);
        scene.records();
        scene.keyframe();
    }
    assert!(scene.files() > 20, "what led to it stays");
    scene.seal();
    assert_eq!(scene.sealed.try_iter().count(), 1);
    assert!(
        scene.files() <= 3,
        "{} files: the sealed one, and what is being written",
        scene.files()
    );
}

#[test]
fn while_a_file_is_sealed_nothing_is_removed_and_the_next_one_waits() {
    let mut scene = Scene::new("meanwhile", Plan::ring(Limit::Bytes(8), Duration::ZERO));
    let (open, gate) = mpsc::channel::<()>();
    scene.writing.parts.seal_by(move || gate.iter().for_each(drop));
    scene.writing.found("finding-2-lost".to_owned(), 8);
    for _ in 0..20 {
        scene.records();
        scene.keyframe();
        scene.writing.seal_if_due(Instant::now()).expect("waits");
    }
    assert!(scene.files() > 20, "{}", scene.files());
    assert_eq!(scene.sealed.try_iter().count(), 0);
    drop(open);
    scene.sealed();
    scene.sealed();
    assert_eq!(scene.sealed.try_iter().count(), 1);
    assert!(scene.files() <= 3, "{}", scene.files());
}

#[test]
fn a_file_that_is_sealed_ends_where_it_was_found_and_lacks_what_somebody_took_away() {
    let mut scene = Scene::new("taken", Plan::ring(Limit::Bytes(1 << 20), Duration::ZERO));
    scene.records();
    scene.writing.parts.next(&scene.fact(), None).expect("the next part");
    fs::remove_file(scene.folder.join("x-0001.cow")).expect("taken away");
    scene.records();
    scene.writing.found("finding-1-lost".to_owned(), 8);
    scene.writing.seal_if_due(Instant::now()).expect("begun");
    scene.records();
    scene.sealed();
    let sealed = scene.sealed.try_iter().next().expect("told").expect("sealed");
    let mut recording = Recording::open(&sealed.path).expect("a recording");
    let mut times = Vec::new();
    while let Some(batch) = recording.batch() {
        times.extend(Records::new(&batch).filter_map(Result::ok).map(|event| event.time));
    }
    assert_eq!(times.iter().max(), Some(&2), "what was there when it was found");
}

#[test]
fn what_cannot_be_sealed_is_told_and_the_ring_goes_on() {
    let mut scene = Scene::new("cannot", Plan::ring(Limit::Bytes(8), Duration::ZERO));
    scene.writing.found("no/such/folder".to_owned(), 8);
    scene.records();
    scene.seal();
    let told = scene.sealed.try_iter().next().expect("told").expect_err("not sealed");
    assert!(told.starts_with("cannot seal "), "{told}");
    scene.records();
    scene.keyframe();
}

#[test]
fn findings_that_seal_nothing_any_more_keep_nothing() {
    let mut scene = Scene::new("nothing", Plan::ring(Limit::Bytes(8), Duration::ZERO));
    for n in 0..Allowance::MOST {
        scene.writing.found(format!("finding-{n}-lost"), 8);
        scene.seal();
    }
    let told = scene.sealed.try_iter().map(|told| told.expect("sealed").is_last);
    let last: Vec<bool> = told.collect();
    assert_eq!(last.len(), Allowance::MOST);
    assert!(
        last[Allowance::MOST - 1] && !last[Allowance::MOST - 2],
        "the last one is told as such"
    );
    for _ in 0..20 {
        scene.writing.found("finding-99-lost".to_owned(), 8);
        scene.records();
        scene.keyframe();
    }
    assert!(scene.files() <= Allowance::MOST + 2, "{}", scene.files());
}

#[test]
fn a_piece_of_a_long_batch_is_whole_records_and_what_is_no_record_is_one_piece() {
    let mut batch = Batch::new();
    while batch.len() < 2 * PIECE {
        Writer::new(&mut batch, 1).fact("a", "b");
    }
    let first = piece(&batch);
    assert!(first <= PIECE && first > PIECE / 2, "{first}");
    assert!(columns::header(&batch[first..]).is_some(), "a record begins there");
    assert_eq!(piece(&batch[1..]), batch.len() - 1, "no record begins there");
}
