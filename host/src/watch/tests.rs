//! With real files and the real inotify. Nothing here asserts how long anything takes; where a quiet time must be longer than
//! the gaps of a slow writer, it is longer by orders of magnitude.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// How long a test waits for what must come: only failing tests wait so long.
const PATIENCE: Duration = Duration::from_mins(1);

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        put(dir.path(), name, text);
    }
    dir
}

fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn rules(dir: &Path) -> FileSet {
    FileSet::rules(vec![dir.to_owned()])
}

fn contents(snapshot: &Snapshot) -> Vec<(String, String)> {
    let text = |f: &File| std::str::from_utf8(&f.content).unwrap().to_owned();
    snapshot.files.iter().map(|f| (f.name.clone(), text(f))).collect()
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.iter().map(|f| f.name.as_str()).collect()
}

fn sha256(text: &str) -> String {
    crate::text::hex(&Sha256::digest(text))
}

/// Follows one set.
struct Follow {
    watcher: Watcher,
    events: Receiver<Event>,
}

impl Follow {
    fn start(set: FileSet, settle: Duration) -> (Follow, Snapshot) {
        // Never by polling: what arrives was noticed.
        let options = WatchOptions { settle, poll: Duration::from_hours(1), ..WatchOptions::default() };
        let (watcher, events) = Watcher::start(vec![set], options).unwrap();
        let follow = Follow { watcher, events };
        let first = follow.settled();
        (follow, first)
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("a report")
    }

    /// The next snapshot.
    fn settled(&self) -> Snapshot {
        loop {
            if let Event::Settled(mut snapshots) = self.next() {
                assert_eq!(snapshots.len(), 1);
                return snapshots.remove(0);
            }
        }
    }

    /// Reads on until a snapshot is as it should be. A slow machine may see the steps of a change one by one.
    fn until(&self, expected: impl Fn(&Snapshot) -> bool) -> Snapshot {
        loop {
            let snapshot = self.settled();
            if expected(&snapshot) {
                return snapshot;
            }
        }
    }
}

const SETTLE: Duration = Duration::from_millis(50);

#[test]
fn a_snapshot_holds_the_wanted_files_in_order() {
    let dir = tree(&[
        ("b.yml", "b"),
        ("a.yaml", "a"),
        ("deep/er/c.yml", "c"),
        ("readme.md", "-"),
        ("a.test.yml", "-"),
        (".hidden.yml", "-"),
        (".git/x.yml", "-"),
        (".#b.yml", "-"),
        ("#b.yml#", "-"),
        ("b.yml~", "-"),
        (".b.yml.swp", "-"),
        ("4913", "-"),
    ]);
    let snapshot = Snapshot::read(&rules(dir.path())).unwrap();
    assert_eq!(names(&snapshot), ["a.yaml", "b.yml", "deep/er/c.yml"]);
    assert_eq!(snapshot.files[0].digest, sha256("a"));
    assert_eq!(snapshot.errors, []);
    let with_tests = Snapshot::read(&FileSet::rules_and_tests(vec![dir.path().to_owned()])).unwrap();
    assert_eq!(names(&with_tests), ["a.test.yml", "a.yaml", "b.yml", "deep/er/c.yml"]);
}

#[test]
fn the_digest_follows_content_names_and_errors_only() {
    let dir = tree(&[("a.yml", "one"), ("b.yml", "two")]);
    let read = || Snapshot::read(&rules(dir.path())).unwrap().digest;
    let first = read();
    put(dir.path(), "a.yml", "one");
    put(dir.path(), "notes.txt", "x");
    assert_eq!(read(), first);
    put(dir.path(), "a.yml", "two");
    put(dir.path(), "b.yml", "one");
    assert_ne!(read(), first, "contents were exchanged");
    put(dir.path(), "a.yml", "one");
    put(dir.path(), "b.yml", "two");
    assert_eq!(read(), first);
    symlink("nowhere", dir.path().join("c.yml")).unwrap();
    assert_ne!(read(), first, "a link to nothing was added");
}

#[test]
fn a_file_that_cannot_be_read_is_an_entry_and_the_rest_stands() {
    let dir = tree(&[("a.yml", "a"), ("z.yml", "z")]);
    symlink("nowhere", dir.path().join("dangling.yml")).unwrap();
    symlink(dir.path(), dir.path().join("loop")).unwrap();
    fs::create_dir(dir.path().join("dir.yml")).unwrap();
    let fifo = std::ffi::CString::new(dir.path().join("pipe.yml").to_str().unwrap()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(fifo.to_str().unwrap()).status().unwrap().success());
    fs::write(dir.path().join("large.yml"), vec![b' '; 101]).unwrap();
    let set = FileSet { max_file: 100, ..rules(dir.path()) };
    let snapshot = Snapshot::read(&set).unwrap();
    assert_eq!(names(&snapshot), ["a.yml", "z.yml"]);
    let problems: Vec<_> = snapshot.errors.iter().map(|e| (e.name.as_str(), e.problem.clone())).collect();
    assert_eq!(
        problems,
        [
            ("dangling.yml", Problem::Missing),
            ("large.yml", Problem::TooLarge { limit: 100 }),
            ("pipe.yml", Problem::NotAFile),
        ]
    );
}

#[test]
fn a_file_without_permission_is_an_entry() {
    let dir = tree(&[("a.yml", "a"), ("secret.yml", "s")]);
    fs::set_permissions(dir.path().join("secret.yml"), fs::Permissions::from_mode(0o000)).unwrap();
    let snapshot = Snapshot::read(&rules(dir.path())).unwrap();
    if snapshot.errors.is_empty() {
        // Root reads everything.
        assert_eq!(names(&snapshot), ["a.yml", "secret.yml"]);
        return;
    }
    assert_eq!(names(&snapshot), ["a.yml"]);
    assert_eq!(snapshot.errors[0].problem, Problem::Denied);
}

#[test]
fn a_root_may_be_missing_a_file_or_a_link() {
    let dir = tree(&[("real/a.yml", "a"), ("single.sigma", "s")]);
    symlink("real", dir.path().join("link")).unwrap();
    let read = |name: &str| Snapshot::read(&rules(&dir.path().join(name))).unwrap();
    assert_eq!(read("none").errors[0].problem, Problem::Missing);
    assert_eq!(names(&read("single.sigma")), ["single.sigma"]);
    assert_eq!(names(&read("link")), ["a.yml"]);
}

#[test]
fn a_manifest_makes_a_set_all_or_nothing() {
    let dir = tree(&[("a.yml", "a"), ("b.yml", "b"), ("stray.yml", "s")]);
    let manifest = format!("{}  a.yml\n{}  b.yml\n{}  readme.md\n", sha256("a"), sha256("b2"), sha256("r"));
    put(dir.path(), MANIFEST, &manifest);
    let read = || Snapshot::read(&rules(dir.path()));
    assert_eq!(
        read().unwrap_err(),
        WatchError::Incomplete { root: dir.path().to_owned(), missing: "b.yml".to_owned() }
    );
    put(dir.path(), "b.yml", "b2");
    let snapshot = read().unwrap();
    assert_eq!(names(&snapshot), ["a.yml", "b.yml"]);
    assert_eq!(snapshot.errors[0].problem, Problem::Unlisted);
    fs::remove_file(dir.path().join("a.yml")).unwrap();
    assert!(matches!(read(), Err(WatchError::Incomplete { missing, .. }) if missing == "a.yml"));
    put(dir.path(), MANIFEST, "nonsense\n");
    assert!(matches!(read(), Err(WatchError::Manifest { line: 1, .. })));
}

#[test]
fn edits_of_every_kind_are_noticed() {
    let dir = tree(&[("a.yml", "1"), ("b.yml", "1")]);
    let (follow, first) = Follow::start(rules(dir.path()), SETTLE);
    assert_eq!(contents(&first), [("a.yml".into(), "1".into()), ("b.yml".into(), "1".into())]);
    let is = |name: &'static str, text: &'static str| {
        move |s: &Snapshot| contents(s).contains(&(name.to_owned(), text.to_owned()))
    };

    // In place, with the same length, twice at once.
    put(dir.path(), "a.yml", "2");
    put(dir.path(), "a.yml", "3");
    follow.until(is("a.yml", "3"));

    // As vim: probe, move away, write anew, remove the old.
    put(dir.path(), "4913", "");
    fs::remove_file(dir.path().join("4913")).unwrap();
    fs::rename(dir.path().join("a.yml"), dir.path().join("a.yml~")).unwrap();
    put(dir.path(), "a.yml", "4");
    fs::remove_file(dir.path().join("a.yml~")).unwrap();
    follow.until(is("a.yml", "4"));

    // And again: the file that is watched by its inode would be deaf now.
    put(dir.path(), ".a.yml.new", "5");
    fs::rename(dir.path().join(".a.yml.new"), dir.path().join("a.yml")).unwrap();
    follow.until(is("a.yml", "5"));

    fs::remove_file(dir.path().join("a.yml")).unwrap();
    put(dir.path(), "a.yml", "6");
    follow.until(is("a.yml", "6"));

    fs::remove_file(dir.path().join("b.yml")).unwrap();
    follow.until(|s| names(s) == ["a.yml"]);

    // A new directory, with a file that is there before it is watched, and one after.
    put(dir.path(), "new/c.yml", "1");
    follow.until(is("new/c.yml", "1"));
    put(dir.path(), "new/c.yml", "2");
    follow.until(is("new/c.yml", "2"));

    // The same directory removed and made again.
    fs::remove_dir_all(dir.path().join("new")).unwrap();
    follow.until(|s| names(s) == ["a.yml"]);
    put(dir.path(), "new/c.yml", "3");
    follow.until(is("new/c.yml", "3"));
    put(dir.path(), "new/c.yml", "4");
    follow.until(is("new/c.yml", "4"));
    assert_eq!(follow.watcher.mode(), Mode::Notified);
}

#[test]
fn links_that_are_turned_elsewhere_are_followed() {
    let dir = tree(&[("v1/a.yml", "1"), ("v2/a.yml", "2"), ("v3/a.yml", "3"), ("volume/..1/k.yml", "k1")]);
    let turn = |to: &str, link: &str| {
        let new = dir.path().join(link).with_extension("new");
        symlink(to, &new).unwrap();
        fs::rename(new, dir.path().join(link)).unwrap();
    };
    let is = |name: &'static str, text: &'static str| {
        move |s: &Snapshot| contents(s).contains(&(name.to_owned(), text.to_owned()))
    };
    // The root itself is a link, as with releases; `current/a.yml` also through a second one.
    turn("v1", "current");
    turn("current", "active");
    let (follow, _) = Follow::start(rules(&dir.path().join("active")), SETTLE);
    turn("v2", "current");
    follow.until(is("a.yml", "2"));
    turn("v3", "active");
    follow.until(is("a.yml", "3"));
    put(dir.path(), "v3/a.yml", "3b");
    follow.until(is("a.yml", "3b"));
    drop(follow);

    // As Kubernetes mounts a ConfigMap: k.yml -> ..data/k.yml, ..data -> ..1, and then ..data is renamed over.
    symlink("..1", dir.path().join("volume/..data")).unwrap();
    symlink("..data/k.yml", dir.path().join("volume/k.yml")).unwrap();
    let (follow, first) = Follow::start(rules(&dir.path().join("volume")), SETTLE);
    assert_eq!(contents(&first), [("k.yml".into(), "k1".into())]);
    put(dir.path(), "volume/..2/k.yml", "k2");
    symlink("..2", dir.path().join("volume/..data_tmp")).unwrap();
    fs::rename(dir.path().join("volume/..data_tmp"), dir.path().join("volume/..data")).unwrap();
    follow.until(is("k.yml", "k2"));
}

#[test]
fn a_missing_root_is_noticed_when_it_appears() {
    let dir = tree(&[]);
    let (follow, first) = Follow::start(rules(&dir.path().join("not/yet")), SETTLE);
    assert_eq!(first.errors[0].problem, Problem::Missing);
    put(dir.path(), "not/yet/a.yml", "1");
    follow.until(|s| names(s) == ["a.yml"]);
    put(dir.path(), "not/yet/b.yml", "1");
    follow.until(|s| names(s) == ["a.yml", "b.yml"]);
}

#[test]
fn a_slow_copy_is_never_seen_in_part() {
    let dir = tree(&[]);
    // The gaps of the copy are a millisecond; even a stalled machine keeps them below two seconds.
    let (follow, first) = Follow::start(rules(dir.path()), Duration::from_secs(2));
    assert_eq!(first.files.len(), 0);
    let root = dir.path().to_owned();
    let copy = std::thread::spawn(move || {
        for i in 0..500 {
            put(&root, &format!("rule-{i:03}.yml"), &format!("title: {i}\n"));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut settling = 0;
    let counts: Vec<usize> = std::iter::from_fn(|| match follow.next() {
        Event::Settling { .. } => {
            settling += 1;
            Some(None)
        }
        Event::Settled(s) => Some(Some(s[0].files.len())),
        Event::Unchanged => Some(Some(0)),
    })
    .flatten()
    .take_while(|n| *n != 500)
    .collect();
    copy.join().unwrap();
    assert!(counts.iter().all(|n| *n == 0), "seen in part: {counts:?}");
    assert_eq!(settling, 1, "said once while it goes on");
}

#[test]
fn a_set_with_a_manifest_waits_however_slow_the_copy() {
    let dir = tree(&[]);
    let (follow, _) = Follow::start(rules(dir.path()), SETTLE);
    put(dir.path(), MANIFEST, &format!("{}  a.yml\n{}  b.yml\n", sha256("a"), sha256("b")));
    let lacks = |name: &str| loop {
        match follow.next() {
            Event::Settling { reason: Some(WatchError::Incomplete { missing, .. }), .. } if missing == name => break,
            Event::Settled(s) => panic!("seen in part: {:?}", names(&s[0])),
            _ => {}
        }
    };
    lacks("a.yml");
    put(dir.path(), "a.yml", "a");
    lacks("b.yml");
    put(dir.path(), "b.yml", "not yet b");
    follow.watcher.kick();
    lacks("b.yml");
    put(dir.path(), "b.yml", "b");
    assert_eq!(names(&follow.settled()), ["a.yml", "b.yml"]);
}

#[test]
fn files_that_vanish_while_they_are_read_never_fail_or_tear_a_snapshot() {
    let dir = tree(&[]);
    let root = dir.path().to_owned();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let churn = std::thread::spawn(move || {
        let mut i = 0u32;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            // A version is one line many times over.
            for name in ["a.yml", "b.yml"] {
                let _ = fs::remove_file(root.join(name));
            }
            for name in ["a.yml", "b.yml"] {
                fs::write(root.join(name), format!("{i}\n").repeat(2000)).unwrap();
            }
            i += 1;
        }
    });
    let mut seen = 0;
    let mut tries = 0;
    while seen < 20 && tries < 20_000 {
        tries += 1;
        match Snapshot::read(&rules(dir.path())) {
            Ok(snapshot) => {
                seen += 1;
                assert_eq!(snapshot.errors, []);
                for file in &snapshot.files {
                    assert_eq!(file.digest, sha256(std::str::from_utf8(&file.content).unwrap()));
                    // Of one version, never of two. Its end may be missing where the writer was interrupted in the middle
                    // of a write: to anyone who reads then, that is what the file holds, and why a watcher waits for quiet.
                    let mut lines = file.content.split(|b| *b == b'\n');
                    let first = lines.next().unwrap_or_default();
                    assert!(lines.all(|line| line == first || first.starts_with(line)), "torn");
                }
            }
            Err(error) => assert!(matches!(error, WatchError::Changing { .. }), "{error}"),
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    churn.join().unwrap();
    assert!(seen > 0, "no snapshot in {tries} tries");
}

#[test]
fn a_kick_is_always_answered() {
    let dir = tree(&[("a.yml", "1")]);
    let set = rules(dir.path());
    let known = vec![Snapshot::read(&set).unwrap().digest];
    let options = WatchOptions { watch: false, known, ..WatchOptions::default() };
    let (watcher, events) = Watcher::start(vec![set], options).unwrap();
    let next = || events.recv_timeout(PATIENCE).expect("an answer");
    watcher.kick();
    assert!(matches!(next(), Event::Unchanged));
    put(dir.path(), "a.yml", "2");
    watcher.kick();
    assert!(matches!(next(), Event::Settled(s) if contents(&s[0]) == [("a.yml".to_owned(), "2".to_owned())]));
    assert_eq!(watcher.mode(), Mode::Asked);
    drop(watcher);
    assert!(events.recv_timeout(PATIENCE).is_err(), "the thread ends");
}

#[test]
fn a_touch_ends_as_it_was() {
    let dir = tree(&[("a.yml", "1")]);
    let (follow, _) = Follow::start(rules(dir.path()), SETTLE);
    put(dir.path(), "a.yml", "1");
    assert!(matches!(follow.next(), Event::Settling { reason: None, .. }));
    assert!(matches!(follow.next(), Event::Unchanged));
}

#[test]
fn the_poll_finds_what_nothing_told() {
    let dir = tree(&[("a.yml", "1")]);
    let set = rules(dir.path());
    let mut watch = unheard(&set);
    put(dir.path(), "a.yml", "2");
    assert!(watch.0.episode(Woken::Timeout).is_ok());
    let found = watch.1.try_iter().filter_map(|e| match e {
        Event::Settled(s) => Some(contents(&s[0])),
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), [[("a.yml".to_owned(), "2".to_owned())]]);
}

/// A watch that has read `set` and hears nothing of later changes, as on a network file system.
fn unheard(set: &FileSet) -> (Watch, Receiver<Event>) {
    let (events, receiver) = sync_channel(QUEUE);
    let first = Snapshot::read(set).unwrap();
    let watch = Watch {
        sets: vec![set.clone()].into(),
        options: WatchOptions { watch: false, settle: Duration::from_millis(5), ..WatchOptions::default() },
        reported: vec![first.digest.clone()],
        last: vec![first],
        unsettled: None,
        interest: Interest::default(),
        inotify: None,
        mode: Arc::new(Mutex::new(Mode::Polled { reason: "test".to_owned() })),
        bell: Arc::default(),
        events,
    };
    (watch, receiver)
}
