//! The spool alone: accounts, eviction, repeats, and a crash at every sync.

use std::collections::BTreeSet;
use std::sync::Mutex;

use redb::StorageBackend;

use super::*;

/// A disk that loses power at the n-th sync: from then on nothing is written, and what was written since the sync before
/// may be there or not.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
    syncs: u32,
    dies_at: u32,
}

impl Platter {
    fn is_dead(&self) -> std::io::Result<()> {
        if self.syncs >= self.dies_at { Err(std::io::Error::other("no power")) } else { Ok(()) }
    }
}

impl Disk {
    fn dying_at(sync: u32) -> Disk {
        let disk = Disk::default();
        disk.0.lock().unwrap().dies_at = sync;
        disk
    }

    /// What is on the disk after the power failed. Bit n of `survives` says whether the n-th unsynced write made it.
    fn after_the_crash(&self, survives: u64) -> Disk {
        let platter = self.0.lock().unwrap();
        let mut image = platter.synced.clone();
        image.resize(platter.now.len().max(image.len()), 0);
        for (n, (offset, data)) in platter.unsynced.iter().enumerate() {
            if survives >> (n % 64) & 1 == 1 {
                image[*offset as usize..*offset as usize + data.len()].copy_from_slice(data);
            }
        }
        let next = Disk::dying_at(u32::MAX);
        {
            let mut next = next.0.lock().unwrap();
            next.synced.clone_from(&image);
            next.now = image;
        }
        next
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let platter = self.0.lock().unwrap();
        let range = offset as usize..offset as usize + out.len();
        out.copy_from_slice(platter.now.get(range).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.is_dead()?;
        platter.now.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.syncs += 1;
        platter.is_dead()?;
        platter.synced = platter.now.clone();
        platter.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.is_dead()?;
        platter.now[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        platter.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

fn fresh(max_bytes: u64) -> (Spool, Book) {
    let (spool, mut book) = Spool::open_backend(Disk::dying_at(u32::MAX), max_bytes).unwrap();
    configure(&spool, &mut book, &["a"]);
    (spool, book)
}

fn configure(spool: &Spool, book: &mut Book, names: &[&str]) {
    let filters = names.iter().map(|n| ((*n).to_owned(), (Level::Informational, "f".to_owned()))).collect();
    spool.commit(&[Change::Configure(filters)], book).unwrap();
}

fn alert(id: &str, level: Level) -> Outgoing {
    Outgoing { id: id.to_owned(), level, body: format!("{{\"id\":\"{id}\"}}").into_bytes().into() }
}

fn append(ids: &[&str]) -> Change {
    Change::Append(ids.iter().map(|id| alert(id, Level::Medium)).collect())
}

fn settle(endpoint: &str, queued: &Queued, end: End) -> Change {
    Change::Settle(Settlement {
        endpoint: endpoint.into(),
        level: queued.level,
        seq: queued.seq,
        end,
        attempts: Attempts::restored(1, 0, 0, 0),
        requests: 1,
        schedule: Saved::default(),
        error: None,
    })
}

fn queue(spool: &Spool, book: &Book, endpoint: &str) -> Vec<Queued> {
    spool.queued(book.rows[endpoint].number, None, 10_000).unwrap()
}

fn ids(spool: &Spool, book: &Book, endpoint: &str) -> Vec<String> {
    queue(spool, book, endpoint).iter().map(|q| spool.message(q.level, q.seq).unwrap().unwrap().0).collect()
}

/// Invariants 2, 3 and 6, from the tables.
fn balanced(spool: &Spool, book: &Book) {
    let mut held = BTreeSet::new();
    let mut bytes = 0;
    for (name, row) in &book.rows {
        let l = &row.ledger;
        assert_eq!(l.alerts, l.filtered + l.accepted, "{name}: {l:?}");
        assert_eq!(l.accepted, l.delivered + l.pending + l.dead + l.evicted, "{name}: {l:?}");
        let queued = queue(spool, book, name);
        assert_eq!(queued.len() as u64, l.pending, "{name}");
        let dead = spool.dead_keys(row.number).unwrap();
        assert_eq!(dead.len() as u64, l.dead, "{name}");
        held.extend(queued.iter().map(|q| (q.level, q.seq)).chain(dead));
    }
    for (level, seq) in &held {
        let (id, body) = spool.message(*level, *seq).unwrap().expect("a held message has a body");
        bytes += row::charge(&id, &body);
    }
    let messages = spool.with(|db| {
        use redb::ReadableTableMetadata;
        Ok(db.begin_read()?.open_table(MESSAGES)?.len()?)
    });
    assert_eq!(messages.unwrap(), held.len() as u64, "a body that nobody holds");
    assert_eq!(book.bytes, bytes);
    assert!(book.bytes <= spool.max_bytes());
}

#[test]
fn what_is_appended_is_read_in_order_and_gone_when_delivered_everywhere() {
    let (spool, mut book) = fresh(1 << 20);
    configure(&spool, &mut book, &["a", "b"]);
    spool.commit(&[append(&["x", "y", "z"])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["x", "y", "z"]);
    let first = queue(&spool, &book, "a")[0];
    spool.commit(&[settle("a", &first, End::Delivered)], &mut book).unwrap();
    assert_eq!(spool.message(first.level, first.seq).unwrap().unwrap().1, "{\"id\":\"x\"}".as_bytes());
    spool.commit(&[settle("b", &first, End::Delivered)], &mut book).unwrap();
    assert!(spool.message(first.level, first.seq).unwrap().is_none());
    assert_eq!(ids(&spool, &book, "b"), ["y", "z"]);
    balanced(&spool, &book);
}

#[test]
fn an_id_is_stored_once_while_held_and_after() {
    let (spool, mut book) = fresh(1 << 20);
    spool.commit(&[append(&["x", "x"]), append(&["x"])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["x"]);
    let x = queue(&spool, &book, "a")[0];
    spool.commit(&[settle("a", &x, End::Delivered), append(&["x"])], &mut book).unwrap();
    assert!(ids(&spool, &book, "a").is_empty());
    let ledger = &book.rows["a"].ledger;
    assert_eq!((ledger.alerts, ledger.accepted, ledger.repeated), (1, 1, 3));
    balanced(&spool, &book);
}

#[test]
fn ids_leave_the_window_but_not_while_held() {
    let (spool, mut book) = fresh(1 << 20);
    spool.commit(&[append(&["held", "done"])], &mut book).unwrap();
    let done = queue(&spool, &book, "a")[1];
    spool.commit(&[settle("a", &done, End::Delivered)], &mut book).unwrap();
    // As if that many others had come.
    book.next_seq += DEDUP_IDS;
    spool.commit(&[append(&["later"])], &mut book).unwrap();
    spool.commit(&[append(&["held", "done"])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["held", "later", "done"]);
    let held = queue(&spool, &book, "a")[0];
    spool.commit(&[settle("a", &held, End::Delivered)], &mut book).unwrap();
    spool.commit(&[append(&["held"])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["later", "done", "held"]);
    balanced(&spool, &book);
}

#[test]
fn levels_are_filtered_per_endpoint() {
    let (spool, mut book) = fresh(1 << 20);
    let filters = [("a", Level::Low), ("b", Level::High)].map(|(n, l)| (n.to_owned(), (l, "f".to_owned())));
    spool.commit(&[Change::Configure(filters.into())], &mut book).unwrap();
    let batch = Level::ALL.iter().map(|level| alert(level.name(), *level)).collect();
    spool.commit(&[Change::Append(batch)], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["low", "medium", "high", "critical"]);
    assert_eq!(ids(&spool, &book, "b"), ["high", "critical"]);
    assert_eq!(book.rows["b"].ledger.filtered, 3);
    balanced(&spool, &book);
}

#[test]
fn the_lowest_level_gives_way_oldest_first_dead_letters_before() {
    let one = row::charge("c0", b"{\"id\":\"c0\"}");
    let (spool, mut book) = fresh(4 * one);
    let batch = |list: &[(&str, Level)]| Change::Append(list.iter().map(|(id, level)| alert(id, *level)).collect());
    spool
        .commit(
            &[batch(&[("c0", Level::Critical), ("l0", Level::Low), ("l1", Level::Low), ("m0", Level::Medium)])],
            &mut book,
        )
        .unwrap();
    assert_eq!(book.rows["a"].ledger.evicted, 0, "it fits exactly");
    let m0 = queue(&spool, &book, "a")[3];
    spool.commit(&[settle("a", &m0, End::Dead("refused".to_owned()))], &mut book).unwrap();
    spool.commit(&[batch(&[("h0", Level::High)])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["c0", "l0", "l1", "h0"], "the dead letter went");
    spool.commit(&[batch(&[("h1", Level::High)])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["c0", "l1", "h0", "h1"]);
    spool.commit(&[batch(&[("i0", Level::Informational)])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["c0", "l1", "h0", "h1"], "the newcomer itself is the lowest");
    let ledger = &book.rows["a"].ledger;
    assert_eq!((ledger.accepted, ledger.evicted, ledger.dead, ledger.pending), (7, 3, 0, 4));
    balanced(&spool, &book);
}

#[test]
fn dead_letters_are_listed_and_put_back() {
    let (spool, mut book) = fresh(1 << 20);
    spool.commit(&[append(&["x", "y"])], &mut book).unwrap();
    let x = queue(&spool, &book, "a")[0];
    spool.commit(&[settle("a", &x, End::Dead("refused with 400: no".to_owned()))], &mut book).unwrap();
    let number = book.rows["a"].number;
    let letters = spool.dead(number, 10).unwrap();
    assert_eq!(
        (letters[0].id.as_str(), letters[0].reason.as_str(), letters[0].attempts),
        ("x", "refused with 400: no", 1)
    );
    balanced(&spool, &book);
    spool.commit(&[Change::Retry("a".to_owned(), spool.dead_keys(number).unwrap())], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["x", "y"]);
    balanced(&spool, &book);
}

#[test]
fn a_removed_endpoint_keeps_its_queue_until_dropped() {
    let (spool, mut book) = fresh(1 << 20);
    configure(&spool, &mut book, &["a", "b"]);
    spool.commit(&[append(&["x"])], &mut book).unwrap();
    configure(&spool, &mut book, &["b"]);
    spool.commit(&[append(&["y"])], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "a"), ["x"]);
    spool.commit(&[Change::Drop("b".to_owned())], &mut book).unwrap();
    assert_eq!(ids(&spool, &book, "b"), ["x", "y"], "a configured endpoint is not dropped");
    spool.commit(&[Change::Drop("a".to_owned())], &mut book).unwrap();
    assert!(!book.rows.contains_key("a"));
    balanced(&spool, &book);
}

#[test]
fn a_new_url_forgets_410_the_same_does_not() {
    let (spool, mut book) = fresh(1 << 20);
    spool.commit(&[append(&["x"])], &mut book).unwrap();
    let x = queue(&spool, &book, "a")[0];
    let Change::Settle(mut done) = settle("a", &x, End::Retry) else { unreachable!() };
    done.schedule.gone = Some("f".to_owned());
    spool.commit(&[Change::Settle(done)], &mut book).unwrap();
    configure(&spool, &mut book, &["a"]);
    assert!(book.rows["a"].schedule.gone.is_some());
    let moved = [("a".to_owned(), (Level::Low, "other".to_owned()))];
    spool.commit(&[Change::Configure(moved.into())], &mut book).unwrap();
    assert!(book.rows["a"].schedule.gone.is_none());
}

#[test]
fn a_damaged_file_is_moved_aside_and_the_service_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let (spool, mut book, aside) = Spool::open(&path, 1 << 20).unwrap();
    assert!(aside.is_none());
    configure(&spool, &mut book, &["a"]);
    let many: Vec<String> = (0..200).map(|n| format!("id{n}")).collect();
    spool.commit(&[append(&many.iter().map(String::as_str).collect::<Vec<_>>())], &mut book).unwrap();
    drop(spool);
    let sound = std::fs::read(&path).unwrap();
    let used = sound.iter().rposition(|b| *b != 0).unwrap();
    // Garbage, a cut, an empty head, and one flipped bit in a page of the tree.
    let at = sound.windows(5).position(|w| w == b"id150").unwrap();
    let mut flipped = sound.clone();
    flipped[at] ^= 1;
    let mut headless = sound.clone();
    headless[..4096].fill(0);
    for (n, damaged) in [vec![0xaa; 9000], sound[..used / 2].to_vec(), headless, flipped].into_iter().enumerate() {
        std::fs::write(&path, &damaged).unwrap();
        let (spool, mut book, aside) = Spool::open(&path, 1 << 20).unwrap();
        let aside = aside.unwrap_or_else(|| panic!("damage {n} was not seen"));
        assert_eq!(std::fs::read(aside).unwrap().len(), damaged.len());
        configure(&spool, &mut book, &["a"]);
        spool.commit(&[append(&["x"])], &mut book).unwrap();
        balanced(&spool, &book);
    }
}

#[test]
fn two_processes_cannot_share_a_spool() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let _first = Spool::open(&path, 1 << 20).unwrap();
    assert!(matches!(Spool::open(&path, 1 << 20), Err(SpoolError::InUse { .. })));
}

/// One run of a fixed script until the disk dies. Returns what was accepted and what was delivered (both: as reported).
fn script(spool: &Spool, book: &mut Book) -> (BTreeSet<String>, BTreeSet<String>, bool) {
    let (mut accepted, mut delivered) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..12 {
        let batch: Vec<String> = (0..5).map(|n| format!("r{round}n{n}")).collect();
        if spool.commit(&[append(&batch.iter().map(String::as_str).collect::<Vec<_>>())], book).is_err() {
            return (accepted, delivered, false);
        }
        accepted.extend(batch);
        let Ok(queued) = spool.queued(book.rows["a"].number, None, 3) else { return (accepted, delivered, false) };
        let done: Vec<Change> = queued.iter().map(|q| settle("a", q, End::Delivered)).collect();
        // The receiver has them, whether or not the end reaches the disk.
        delivered.extend(queued.iter().filter_map(|q| Some(spool.message(q.level, q.seq).ok()??.0)));
        if spool.commit(&done, book).is_err() {
            return (accepted, delivered, false);
        }
    }
    (accepted, delivered, true)
}

#[test]
fn whatever_the_sync_at_which_the_power_fails_accepted_is_delivered_or_pending() {
    let mut crashes = 0;
    for sync in 1.. {
        let mut finished = false;
        for survives in [0, u64::MAX, 0x5555_5555_5555_5555, 0x0f0f_3c3c_9a7b_1d2e] {
            let disk = Disk::dying_at(sync);
            let Ok((spool, mut book)) = Spool::open_backend(disk.clone(), 1 << 20) else { continue };
            let filters = [("a".to_owned(), (Level::Low, "f".to_owned()))];
            if spool.commit(&[Change::Configure(filters.into())], &mut book).is_err() {
                continue;
            }
            let (accepted, delivered, done) = script(&spool, &mut book);
            finished = done;
            if done {
                break;
            }
            crashes += 1;
            let (again, book) = Spool::open_backend(disk.after_the_crash(survives), 1 << 20).unwrap();
            let pending: BTreeSet<String> = ids(&again, &book, "a").into_iter().collect();
            let lost: Vec<&String> =
                accepted.iter().filter(|id| !delivered.contains(*id) && !pending.contains(*id)).collect();
            assert!(lost.is_empty(), "sync {sync}, writes {survives:x}: lost {lost:?}");
            balanced(&again, &book);
            // All of a batch or nothing of it.
            for round in 0..12 {
                let there = (0..5).filter(|n| {
                    let id = format!("r{round}n{n}");
                    pending.contains(&id) || delivered.contains(&id)
                });
                assert!([0, 5].contains(&there.count()), "sync {sync}: half of batch {round}");
            }
        }
        if finished {
            break;
        }
    }
    assert!(crashes > 100, "only {crashes} crashes were tried");
}
