//! What the kernel side leaves out: exactly what nobody asks for and what is to be ignored, and all of it counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use picket::sensor::ebpf::{Counters, Ebpf, EbpfOptions, Ignore, InterestSet, PathOp, PathTest, Paths, Rung, Wish};
use picket_ebpf::kind::security_file_open::Open;
use picket_ebpf::{Kind, Record};

use crate::checks::{self, Report};
use crate::{Scratch, open, record_until_exit};

const FMODE_WRITE: u32 = 2;
/// Records of a kind that a process may make in a second, in the check of that.
const RATE: u32 = 50;
const FLOOD: u64 = 2_000;

/// Opens each file of a list, `w` to write and `r` to read.
pub fn open_all(list: &Path) -> io::Result<()> {
    for line in fs::read_to_string(list)?.lines() {
        let (how, path) = line.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        OpenOptions::new().read(true).write(how == "w").open(path)?;
    }
    Ok(())
}

/// An open: the path, and whether it was for writing.
type Opened = (Vec<u8>, bool);

struct Bench {
    ebpf: Ebpf,
    scratch: Scratch,
    me: PathBuf,
    report: Report,
}

impl Bench {
    /// Makes the files and a list of them. Each is to be opened twice.
    fn files(&self, name: &str, files: &[String]) -> (PathBuf, BTreeSet<Opened>) {
        let root = self.scratch.0.join(name);
        let (mut lines, mut all) = (String::new(), BTreeSet::new());
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("it is below a directory")).expect("directories of our own");
            fs::write(&path, "").expect("a file of our own");
            for (how, write) in [("r", false), ("w", true)] {
                lines += &format!("{how} {}\n", path.display());
                all.insert((path.as_os_str().as_encoded_bytes().to_vec(), write));
            }
        }
        let list = self.scratch.0.join(format!("{name}.list"));
        fs::write(&list, lines).expect("a file of our own");
        (list, all)
    }

    fn want(&mut self, any: Paths, change: Paths) {
        let mut wanted = InterestSet::default();
        wanted.add_paths(Kind::SecurityFileOpen, 0, &Wish { any, change });
        self.ebpf.attach(&wanted).expect("maps can be written");
    }

    fn ignore(&mut self, ignore: &Ignore) -> Vec<String> {
        self.ebpf.ignore(ignore).expect("maps can be written")
    }

    fn counters(&self) -> Counters {
        self.ebpf.counters().expect("the counters can be read")
    }

    fn filtered(&self, reason: &str) -> u64 {
        self.counters().kinds[&Kind::SecurityFileOpen].filtered[reason]
    }

    /// Empties the ring, lets `child` finish, and returns the opens below `name`, by whomever.
    fn opened(&mut self, name: &str, child: &mut Child) -> BTreeSet<Opened> {
        let root = self.scratch.0.join(name).join("");
        let root = root.as_os_str().as_encoded_bytes();
        let mut seen = BTreeSet::new();
        let succeeded = record_until_exit(&mut self.ebpf, child, |bytes| {
            let record = Record::parse(bytes).expect("the ring has records");
            let path = record.slice(Open::PATHNAME).present().unwrap_or_default();
            if record.kind() == Kind::SecurityFileOpen && path.starts_with(root) {
                let write = record.body::<Open>().is_some_and(|b| b.f_mode & FMODE_WRITE != 0);
                seen.insert((path.to_vec(), write));
            }
        });
        self.report.that(&format!("{name}: the child did it"), succeeded, || "it failed".to_owned());
        seen
    }

    fn act(&mut self, name: &str, list: &Path) -> BTreeSet<Opened> {
        let mut child = Command::new(&self.me).arg("--open").arg(list).stdin(Stdio::null()).spawn().expect("ourselves");
        self.opened(name, &mut child)
    }

    fn same(&mut self, what: &str, seen: &BTreeSet<Opened>, expected: &BTreeSet<Opened>) {
        let show = |set: BTreeSet<&Opened>| {
            let texts: Vec<String> =
                set.iter().take(5).map(|(p, w)| format!("{} {w}", String::from_utf8_lossy(p))).collect();
            texts.join(", ")
        };
        self.report.that(what, seen == expected, || {
            let (missing, more) = (expected.difference(seen).collect(), seen.difference(expected).collect());
            format!("missing {}; too many {}", show(missing), show(more))
        });
    }
}

pub fn left_out(rung: Option<Rung>) -> usize {
    let scratch = Scratch::new("left-out");
    let me = fs::read_link("/proc/self/exe").expect("our own path");
    let mut bench = Bench { ebpf: open(rung, None), scratch, me, report: Report::default() };
    paths(&mut bench);
    unaffected(&mut bench);
    binaries(&mut bench);
    cgroups(&mut bench);
    filesystems(&mut bench);
    throttle(&mut bench);
    own(&mut bench, rung);
    let counters = bench.counters();
    checks::counters(&counters, &mut bench.report);
    bench.report.print("left out")
}

fn holds(paths: &Paths, path: &[u8]) -> bool {
    let Paths::Some(tests) = paths else { return *paths == Paths::Everything };
    let path = path.to_ascii_lowercase();
    tests.iter().any(|test| {
        let text = test.text.to_ascii_lowercase();
        match test.op {
            PathOp::Equals => path == text,
            PathOp::Prefix => path.starts_with(&text),
            PathOp::Suffix => path.ends_with(&text),
            PathOp::Contains => path.windows(text.len()).any(|w| w == text),
        }
    })
}

/// Random questions about the paths of many files: what is seen is what the questions say, and nothing else.
fn paths(bench: &mut Bench) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let words = ["etc", "Etc", "cron.d", "shadow", "x", "\u{e4}", "a\u{212A}", ".ssh", "id_rsa"];
    let mut files: BTreeSet<String> = BTreeSet::new();
    while files.len() < 120 {
        let depth = 1 + below(5);
        let parts: Vec<&str> = (0..depth).map(|_| words[below(words.len())]).collect();
        files.insert(format!("{}/f{}", parts.join("/"), below(4)));
    }
    // As deep as a path can be that is not cut.
    files.insert(format!("{}deep", "d/".repeat(100)));
    let files: Vec<String> = files.into_iter().collect();
    let (list, all) = bench.files("paths", &files);
    let root = bench.scratch.0.join("paths");
    let (mut left_out, mut shown) = (0, 0);
    for round in 0..6 {
        let mut some = |most: usize| {
            let tests = (0..below(most)).map(|_| {
                let path = root.join(&files[below(files.len())]).into_os_string().into_encoded_bytes();
                let at = root.as_os_str().len() + below(path.len() - root.as_os_str().len());
                let (op, text) = match below(4) {
                    0 => (PathOp::Equals, &path[..]),
                    1 => (PathOp::Prefix, &path[..at]),
                    2 => (PathOp::Suffix, &path[at..]),
                    _ => (PathOp::Contains, &path[at..path.len().min(at + 4)]),
                };
                let text = if below(2) == 0 { text.to_ascii_uppercase() } else { text.to_vec() };
                PathTest { op, text }
            });
            Paths::Some(tests.collect())
        };
        let (any, change) = (some(6), some(6));
        bench.want(any.clone(), change.clone());
        let seen = bench.act("paths", &list);
        let expected: BTreeSet<Opened> =
            all.iter().filter(|(p, write)| holds(&any, p) || (*write && holds(&change, p))).cloned().collect();
        bench.same(&format!("paths, round {round}: what is asked for"), &seen, &expected);
        shown += expected.len();
        left_out += all.len() - expected.len();
    }
    bench.report.that("paths: some are asked for, some are not", shown > 50 && left_out > 200, || {
        format!("{shown} and {left_out} make a poor test")
    });
    let counted = bench.filtered("path");
    bench.report.that("paths: all that is left out is counted", counted >= left_out as u64, || {
        format!("{counted} of {left_out}")
    });
    // What cannot be told is not left out.
    let (list, all) = bench.files("cut", &[format!("{}file", "d/".repeat(160))]);
    bench.want(Paths::Some(BTreeSet::new()), Paths::Nothing);
    let mut child = Command::new(&bench.me).arg("--open").arg(&list).stdin(Stdio::null()).spawn().expect("ourselves");
    let mut cut = 0;
    let pid = child.id();
    record_until_exit(&mut bench.ebpf, &mut child, |bytes| {
        let record = Record::parse(bytes).expect("the ring has records");
        let path = record.slice(Open::PATHNAME);
        cut += usize::from(
            record.kind() == Kind::SecurityFileOpen && record.header().pid == pid && path.bytes.ends_with(b"d/file"),
        );
    });
    bench.report.that("paths: one too deep to be known is not left out", cut == all.len(), || format!("{cut} records"));
}

/// Reading the same files without any filter, and with one that is taken away again.
fn unaffected(bench: &mut Bench) {
    let (list, all) = bench.files("open", &["a".to_owned(), "b/c".to_owned()]);
    bench.want(Paths::Everything, Paths::Nothing);
    let seen = bench.act("open", &list);
    bench.same("everything is seen where everything is asked for", &seen, &all);
}

fn binaries(bench: &mut Bench) {
    // Under its own name: it may be one of many in one program.
    let copy = |dir: &str| {
        let dir = bench.scratch.0.join(dir);
        fs::create_dir(&dir).and_then(|()| fs::copy("/bin/sh", dir.join("sh"))).map(|_| dir.join("sh"))
    };
    let (Ok(shell), Ok(other)) = (copy("ignored"), copy("other")) else {
        println!("  skipped: left out: ignored binaries: there is no shell here");
        return;
    };
    let (list, all) = bench.files("binary", &["a".to_owned(), "b".to_owned()]);
    let script = format!("read line; {} --open {}; true", bench.me.display(), list.display());
    let run = |shell: &Path| {
        Command::new(shell).args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("a shell of our own")
    };
    let go = |child: &mut Child| drop(child.stdin.take().map(|mut pipe| pipe.write_all(b"go\n")));
    let mut early = run(&shell);
    let before = bench.filtered("binary");
    let nowhere = bench.scratch.0.join("nowhere");
    let problems = bench.ignore(&Ignore { binaries: vec![shell.clone(), nowhere.clone()], ..Ignore::default() });
    bench.report.that("binaries: one that is not there is named", problems.len() == 1, || format!("{problems:?}"));
    let nothing = BTreeSet::new();
    go(&mut early);
    let seen = bench.opened("binary", &mut early);
    bench.same("binaries: a process from before is ignored with its children", &seen, &nothing);
    let mut late = run(&shell);
    go(&mut late);
    let seen = bench.opened("binary", &mut late);
    bench.same("binaries: so is a new one", &seen, &nothing);
    let counted = bench.filtered("binary") - before;
    bench.report.that("binaries: what is left out is counted", counted >= 2 * all.len() as u64, || counted.to_string());
    let seen = bench.act("binary", &list);
    bench.same("binaries: what is not a child of it is seen", &seen, &all);
    let mut other = run(&other);
    go(&mut other);
    let seen = bench.opened("binary", &mut other);
    bench.same("binaries: a copy elsewhere is seen", &seen, &all);
    bench.ignore(&Ignore::default());
    let mut after = run(&shell);
    go(&mut after);
    let seen = bench.opened("binary", &mut after);
    bench.same("binaries: nothing is ignored any more", &seen, &all);
}

fn cgroups(bench: &mut Bench) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let group = Path::new(unified.unwrap_or("/nonexistent")).join(format!("picket-live-{}", std::process::id()));
    let inner = group.join("inner");
    if fs::create_dir_all(&inner).is_err() {
        println!("  skipped: left out: control groups: none can be made here");
        return;
    }
    let (list, all) = bench.files("cgroup", &["a".to_owned()]);
    let nothing = BTreeSet::new();
    let inside = |bench: &mut Bench| {
        let mut child = Command::new(&bench.me)
            .arg("--open")
            .arg(&list)
            .arg("--in")
            .arg(&inner)
            .stdin(Stdio::null())
            .spawn()
            .expect("ourselves");
        bench.opened("cgroup", &mut child)
    };
    bench.ignore(&Ignore { cgroups: vec![group.clone()], ..Ignore::default() });
    let seen = inside(bench);
    bench.same("control groups: one below an ignored one is ignored", &seen, &nothing);
    let seen = bench.act("cgroup", &list);
    bench.same("control groups: others are seen", &seen, &all);
    bench.ignore(&Ignore { only_cgroups: vec![group.clone()], ..Ignore::default() });
    let seen = inside(bench);
    bench.same("control groups: the one that alone is wanted is seen", &seen, &all);
    let seen = bench.act("cgroup", &list);
    bench.same("control groups: then others are not", &seen, &nothing);
    let problems = bench.ignore(&Ignore { only_cgroups: vec!["/no/such/group".into()], ..Ignore::default() });
    let seen = bench.act("cgroup", &list);
    bench.same("control groups: one that is not there leaves nothing out", &seen, &all);
    bench.report.that("control groups: it is named", problems.len() == 1, || format!("{problems:?}"));
    bench.ignore(&Ignore::default());
    let _ = fs::remove_dir(&inner).and_then(|()| fs::remove_dir(&group));
}

fn filesystems(bench: &mut Bench) {
    const PROC: u64 = 0x9fa0;
    let list = bench.scratch.0.join("proc.list");
    let (_, all) = bench.files("filesystem", &["a".to_owned()]);
    let file = bench.scratch.0.join("filesystem/a");
    fs::write(&list, format!("r /proc/version\nr {}\nw {}\n", file.display(), file.display()))
        .expect("a file of our own");
    let before = bench.filtered("filesystem");
    bench.ignore(&Ignore { filesystems: vec![PROC], ..Ignore::default() });
    let seen = bench.act("filesystem", &list);
    bench.same("file systems: others are seen", &seen, &all);
    let counted = bench.filtered("filesystem") - before;
    bench.report.that("file systems: files of an ignored one are not", counted > 0, || "none was left out".to_owned());
    bench.ignore(&Ignore::default());
}

/// What we do is left out; what others do to us is not.
fn own(bench: &mut Bench, rung: Option<Rung>) {
    let mut wanted = InterestSet::default();
    wanted.add(Kind::SecurityFileOpen, 0);
    wanted.add(Kind::SecurityInodeUnlink, 0);
    let file = bench.scratch.0.join("ours");
    let me = std::process::id();
    let seen = |ebpf: &mut Ebpf| {
        ebpf.attach(&wanted).expect("maps can be written");
        fs::write(&file, "").expect("a file of our own");
        let _held = fs::File::open(&file).expect("it is there");
        let mut child = Command::new("rm").arg("-f").arg(&file).stdin(Stdio::null()).spawn().expect("rm is everywhere");
        let other = child.id();
        let (mut opened, mut removed) = (0, 0);
        record_until_exit(ebpf, &mut child, |bytes| {
            let record = Record::parse(bytes).expect("the ring has records");
            let (kind, pid) = (record.kind(), record.header().pid);
            opened += usize::from(kind == Kind::SecurityFileOpen && pid == me);
            removed += usize::from(kind == Kind::SecurityInodeUnlink && pid == other);
        });
        (opened, removed)
    };
    let found = seen(&mut bench.ebpf);
    bench
        .report
        .that("own: our opens are left out, a removal of our file is not", found == (0, 1), || format!("{found:?}"));
    let mut open_eyed =
        Ebpf::open(EbpfOptions { rung, see_own: true, ..EbpfOptions::default() }).expect("it opened before");
    let (opened, removed) = seen(&mut open_eyed);
    bench.report.that("own: our opens are seen when they are to be", opened >= 2 && removed == 1, || {
        format!("{opened} {removed}")
    });
}

fn throttle(bench: &mut Bench) {
    let (list, _) = bench.files("throttle", &["a".to_owned()]);
    let file = bench.scratch.0.join("throttle/a");
    let lines = format!("r {}\n", file.display()).repeat(FLOOD as usize);
    fs::write(&list, lines).expect("a file of our own");
    bench.ignore(&Ignore { rate: RATE, ..Ignore::default() });
    let before = bench.filtered("throttled");
    let mut child = Command::new(&bench.me).arg("--open").arg(&list).stdin(Stdio::null()).spawn().expect("ourselves");
    let pid = child.id();
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut opens = 0;
    record_until_exit(&mut bench.ebpf, &mut child, |bytes| {
        let record = Record::parse(bytes).expect("the ring has records");
        if record.header().pid == pid {
            *kinds.entry(record.kind()).or_default() += 1;
        }
        let path = record.slice(Open::PATHNAME).present().unwrap_or_default();
        opens += u64::from(record.kind() == Kind::SecurityFileOpen && path.ends_with(b"throttle/a"));
    });
    let left_out = bench.filtered("throttled") - before;
    let seen = kinds.get(&Kind::SecurityFileOpen).copied().unwrap_or_default();
    bench.report.that(
        "throttle: at least what may be at once is seen",
        opens > 0 && seen >= u64::from(2 * RATE),
        || format!("{seen}"),
    );
    bench.report.that("throttle: what is not seen is counted", opens < FLOOD && opens + left_out >= FLOOD, || {
        format!("{opens} seen, {left_out} left out")
    });
    let execs = kinds.get(&Kind::SchedProcessExec).copied().unwrap_or_default();
    let exits = kinds.get(&Kind::SchedProcessExit).copied().unwrap_or_default();
    bench.report.that("throttle: exec and exit are seen", execs == 1 && exits == 1, || format!("{kinds:?}"));
    let noisy = bench.ebpf.noisy();
    let named = noisy.iter().find(|n| n.pid == pid && n.kind == Kind::SecurityFileOpen);
    let comm = bench.me.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    bench.report.that(
        "throttle: the process is named",
        named.is_some_and(|n| n.count > 0 && n.count <= left_out && comm.starts_with(&n.comm)),
        || format!("{noisy:?}"),
    );
    bench.ignore(&Ignore::default());
}
