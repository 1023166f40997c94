//! What is read is what was written, for every kind; and what a crash or a disk did to it spoils nothing else.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::block::{Block, Columns, Open, columns, next};
use super::store::Store;
use super::*;
use crate::kind::{self, Decoder, KINDS, KindId};
use crate::ledger::RecorderAccount;

/// An event of each kind, as if it were live: without the JSON it was read from.
fn slab() -> Slab {
    let mut slab = Slab::default();
    let origin = Origin { machine: "m".into(), boot: "b".into(), hostname: "h".into() };
    let mut decoder = Decoder::new(Arc::new(origin));
    let kinds = KINDS.iter().enumerate().filter(|(at, _)| !KindId(*at as u16).is_derived());
    for (n, (_, kind)) in kinds.enumerate() {
        let fields = json!({
            "kind": kind.name, "Image": format!("/usr/bin/p{}", n % 3), "CommandLine": format!("p{} --x", n % 3),
            "ParentImage": "/bin/sh", "User": "root",
        });
        let event = kind::build(fields.as_object().unwrap()).unwrap();
        decoder.json(n as u64 + 1, &event.to_string(), &mut slab).unwrap();
    }
    slab.rows.iter_mut().for_each(|row| row.raw = None);
    slab.rows[1].repeat = true;
    slab.rows[2].partial = true;
    slab
}

fn lines(slab: &Slab) -> Vec<String> {
    (0..slab.len()).map(|row| kind::render(slab, row)).collect()
}

fn read_back(bytes: &[u8], wanted: &dyn Fn(KindId) -> bool) -> Slab {
    let mut file = bytes;
    let (summary, length) = next(&mut file).unwrap().unwrap();
    assert_eq!(file.len(), length as usize);
    let origin = Arc::new(Origin { machine: "m".into(), boot: "b".into(), hostname: "h".into() });
    let mut block = Block::read(&summary, file, &Columns::of(&columns()), origin, wanted).unwrap();
    let mut slab = Slab::default();
    (0..block.rows()).for_each(|row| block.put(row, row as u64, &mut slab, 1));
    slab
}

#[test]
fn every_kind_comes_back_as_it_was() {
    let slab = slab();
    let mut open = Open::default();
    assert_eq!(open.add(&slab), slab.len() as u64);
    let (summary, bytes) = open.write(&[]).unwrap();
    assert_eq!(summary.rows as usize, slab.len());
    let again = read_back(&bytes, &|_| true);
    assert_eq!(lines(&again), lines(&slab));
    let flags = |s: &Slab| s.rows.iter().map(|r| (r.repeat, r.partial, r.time, r.kind)).collect::<Vec<_>>();
    assert_eq!(flags(&again), flags(&slab));
    let process = |s: &Slab| s.rows.iter().map(|r| r.process.as_ref().map(|p| p.id)).collect::<Vec<_>>();
    assert_eq!(process(&again), process(&slab));
}

#[test]
fn only_the_kinds_that_are_asked_for_are_read() {
    let slab = slab();
    let mut open = Open::default();
    open.add(&slab);
    let (_, bytes) = open.write(&[]).unwrap();
    let some = [slab.rows[3].kind, slab.rows[0].kind];
    let again = read_back(&bytes, &|kind| some.contains(&kind));
    assert_eq!(lines(&again), [kind::render(&slab, 0), kind::render(&slab, 3)], "in host order");
}

fn config(max_bytes: &str, max_age: &str) -> RecorderConfig {
    RecorderConfig { enabled: true, max_bytes: max_bytes.parse().unwrap(), max_age: max_age.parse().unwrap() }
}

/// A recording of `blocks` blocks, the n-th at time `start + n * step`.
fn recording(max_bytes: &str, max_age: &str, times: impl Iterator<Item = u64>) -> (tempfile::TempDir, RecorderAccount) {
    let dir = tempfile::tempdir().unwrap();
    let account = RecorderAccount::default();
    let mut store = Store::open(&dir.path().join(DIR), &config(max_bytes, max_age), Origin::default()).unwrap();
    for time in times {
        let mut slab = slab();
        slab.rows.iter_mut().for_each(|row| row.time = time);
        let mut open = Open::default();
        open.add(&slab);
        store.append(&open, &["a".to_owned()], &account).unwrap();
        store.tidy(&account);
    }
    (dir, account)
}

fn files(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.path().join(DIR)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// Times of the first row of each block, and problems.
fn times(dir: &tempfile::TempDir, range: std::ops::RangeInclusive<u64>) -> (Vec<u64>, usize) {
    let mut recording = Recording::open(dir.path(), range).unwrap();
    let mut times = Vec::new();
    while let Some(block) = recording.next(&|_| true) {
        times.push(block.time(0));
    }
    (times, recording.problems.len())
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_time_is_found_and_the_rest_is_skipped() {
    let now = crate::notice::now();
    let at = |n: u64| now - (100 - n) * 60 * SECOND;
    let (dir, _) = recording("16MiB", "24h", (0..100).map(at));
    assert!(files(&dir).len() > 1, "an hour and more is not one file of a day's {}", files(&dir).len());
    assert_eq!(times(&dir, 0..=u64::MAX), ((0..100).map(at).collect(), 0));
    assert_eq!(times(&dir, at(40)..=at(42)), ((40..=42).map(at).collect(), 0));
    let mut part = Recording::open(dir.path(), at(95)..=u64::MAX).unwrap();
    let all = Recording::open(dir.path(), 0..=u64::MAX).unwrap();
    assert!(part.size < all.size);
    while part.next(&|_| true).is_some() {}
    assert_eq!((part.blocks, part.collected["a"]), (5, 5));
}

#[test]
fn old_events_go() {
    let now = crate::notice::now();
    let (dir, account) = recording("16MiB", "1h", (0..100).map(|n| now - (300 - n) * 60 * SECOND));
    assert!(account.dropped_files.get() > 0);
    let (times, _) = times(&dir, 0..=u64::MAX);
    assert!(times.iter().all(|t| *t >= now - 210 * 60 * SECOND), "{times:?}");
    assert_eq!(account.held.get(), files(&dir).iter().map(|f| fs::metadata(f).unwrap().len()).sum::<u64>());
}

#[test]
fn it_stays_within_its_size() {
    let now = crate::notice::now();
    // Every block makes a file, because it is later than the one before by more than a part of the age.
    let (dir, account) = recording("100KiB", "365d", (0..40).map(|n| now - (41 - n) * 86_400 * 12 * SECOND / 4));
    let size: u64 = files(&dir).iter().map(|f| fs::metadata(f).unwrap().len()).sum();
    let largest = files(&dir).iter().map(|f| fs::metadata(f).unwrap().len()).max().unwrap();
    assert!(
        size <= (100 << 10) + largest && account.dropped_files.get() > 0,
        "{size} with {} dropped",
        account.dropped_files.get()
    );
}

#[test]
fn the_same_time_twice_overwrites_nothing() {
    let now = crate::notice::now();
    let hour = 3600 * SECOND;
    // The clock was set back by hours: the third block is as old as the first, and begins a file of its own.
    let (dir, _) = recording("16MiB", "24h", [now - 9 * hour, now - 3 * hour, now - 9 * hour].into_iter());
    assert_eq!(times(&dir, 0..=u64::MAX).0.len(), 3);
    let mut store = Store::open(&dir.path().join(DIR), &config("16MiB", "24h"), Origin::default()).unwrap();
    let mut again = slab();
    again.rows.iter_mut().for_each(|row| row.time = now - 9 * hour);
    let mut open = Open::default();
    open.add(&again);
    store.append(&open, &[], &RecorderAccount::default()).unwrap();
    assert_eq!(times(&dir, 0..=u64::MAX).0.len(), 4);
}

#[test]
fn a_block_that_a_crash_cut_is_left_out_and_the_rest_is_read() {
    let now = crate::notice::now();
    let (dir, _) = recording("16MiB", "24h", (0..3).map(|n| now - (3 - n) * SECOND));
    let [file] = &files(&dir)[..] else { panic!("one file") };
    let whole = fs::read(file).unwrap();
    for cut in [whole.len() - 1, whole.len() - 200] {
        fs::write(file, &whole[..cut]).unwrap();
        let (times, problems) = times(&dir, 0..=u64::MAX);
        assert_eq!((times.len(), problems), (2, 0), "cut at {cut}");
    }
}

#[test]
fn damage_is_said_and_spoils_nothing_before_it_nor_other_files() {
    let now = crate::notice::now();
    let (dir, _) = recording("16MiB", "24h", (0..3).map(|n| now - (300 - 100 * n) * 60 * SECOND));
    let all = files(&dir);
    assert_eq!(all.len(), 3);
    let whole = fs::read(&all[1]).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&all[1], bytes).unwrap();
        let (times, problems) = times(&dir, 0..=u64::MAX);
        // The heading has no checksum: a change to a name in it is a column that is not known.
        assert!(times.len() == 3 || (times.len() == 2 && problems <= 1), "byte {at}: {} {problems}", times.len());
    }
    fs::write(&all[1], b"not a recording").unwrap();
    assert_eq!(times(&dir, 0..=u64::MAX).0.len(), 2);
}

#[test]
fn what_is_passed_is_recorded_or_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<Ledger> = Arc::default();
    let (mut recorder, running) =
        start(dir.path(), &config("16MiB", "24h"), &Origin::default(), ledger.clone()).unwrap();
    let flight = Flight::of(slab());
    for _ in 0..2 * QUEUE {
        recorder.pass(&flight);
    }
    running.flusher().flush();
    recorder.pass(&flight);
    drop(recorder);
    running.finish();
    let a = &ledger.recorder;
    assert_eq!(a.offered.get(), (2 * QUEUE as u64 + 1) * flight.slab.len() as u64);
    assert_eq!(a.offered.get(), a.recorded.get() + a.shed.get() + a.failed.get());
    assert_eq!(times(&dir, 0..=u64::MAX).1, 0);
    let mut recording = Recording::open(dir.path(), 0..=u64::MAX).unwrap();
    let mut rows = 0;
    while let Some(block) = recording.next(&|_| true) {
        rows += block.rows() as u64;
    }
    assert_eq!(rows, a.recorded.get());
}
