//! The same with the real kernel: another process acts, its records go through the table.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use picket::process::{Key, Process, Table, Users};
use picket::sensor::ebpf::{Ebpf, EbpfOptions, InterestSet};
use picket_ebpf::{Kind, Record};

use crate::{alone, resident};

/// Tells the child what to do.
const ACT: &str = "PICKET_TEST_ACT";

/// Children that only come and go, before and after the first look at the memory: the first fill the table.
const BEFORE: u32 = 70_000;
const AFTER: u32 = 30_000;

/// The acting process: this test again, with a word in its environment.
#[test]
fn act() {
    match std::env::var(ACT).as_deref() {
        Ok("flood-before") => come_and_go(BEFORE),
        Ok("flood-after") => come_and_go(AFTER),
        Ok("orphan") => orphan(),
        Ok("reuse") => reuse(),
        _ => {}
    }
}

/// A kernel side, a seeded table, and what is read from one into the other.
struct Watch {
    ebpf: Ebpf,
    table: Table,
}

impl Watch {
    fn start() -> Option<Watch> {
        // SAFETY: no arguments, no memory.
        if unsafe { libc::geteuid() } != 0 {
            println!("skipped: loading BPF programs needs root");
            return None;
        }
        let mut ebpf = Ebpf::open(EbpfOptions::default()).expect("the kernel side loads");
        ebpf.attach(&InterestSet::default()).expect("maps can be written");
        let mut table = Table::new("boot", Users::new("/etc/passwd".into()));
        let mut seeds = Vec::new();
        ebpf.seed(&mut |bytes| seeds.push(bytes.to_vec())).expect("the task iterator serves");
        table.seed(&seeds, false);
        table.set_offset(u64::try_from(ebpf.clock_offset()).unwrap_or_default());
        Some(Watch { ebpf, table })
    }

    /// Lets a child act and reads until it is gone and the ring is empty.
    fn act(&mut self, what: &str, mut seen: impl FnMut(&Record<'_>, &Arc<Process>)) -> (u32, String) {
        let me = std::fs::read_link("/proc/self/exe").expect("our own path");
        let mut child = Command::new(me)
            .args(["--exact", "live::act", "--nocapture"])
            .env(ACT, what)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("we can start ourselves");
        let pid = child.id();
        let mut ended = false;
        loop {
            let table = &mut self.table;
            let read = self
                .ebpf
                .poll(Duration::from_millis(5), &mut |bytes| {
                    let record = Record::parse(bytes).expect("the ring has records");
                    let process = table.apply(&record);
                    seen(&record, &process);
                })
                .expect("the ring can be read");
            if ended && read == 0 {
                break;
            }
            ended = ended || child.try_wait().expect("our own child").is_some();
        }
        let output = child.wait_with_output().expect("our own child");
        assert!(output.status.success(), "the actor failed at {what}");
        (pid, String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Forks a child that runs `then` and never returns; `set_tid`: which number it gets.
fn clone(set_tid: Option<i32>, then: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: plain integers, all of which may be zero.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    let wanted = set_tid.map(|tid| [tid]);
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(wanted) = &wanted {
        args.set_tid = wanted.as_ptr() as u64;
        args.set_tid_size = 1;
    }
    // SAFETY: no new stack and no shared memory: this is fork, and the argument lives on our stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) } as i32;
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        then();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(99) };
    }
    Ok(pid)
}

fn wait(pid: i32) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn become_program(program: &str, arguments: &[&str]) {
    use std::os::unix::process::CommandExt as _;
    let _ = Command::new(program).args(arguments).exec();
}

fn come_and_go(count: u32) {
    for _ in 0..count {
        // SAFETY: ends the child at once.
        let child = clone(None, || unsafe { libc::_exit(0) }).expect("a child");
        wait(child);
    }
}

fn orphan() {
    // Orphans come to us, so that we know when they have ended.
    // SAFETY: changes an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let status = Command::new("sh").args(["-c", "(sleep 0.3; exec /bin/true orphaned) & :"]).status().expect("sh runs");
    assert!(status.success());
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

fn reuse() {
    let first = clone(None, || become_program("/bin/true", &["first-use"])).expect("a child");
    wait(first);
    let other = clone(None, || {
        let made = clone(Some(first), || become_program("/bin/sh", &["-c", ": second-use"]));
        match made {
            Ok(pid) => wait(pid),
            Err(e) => println!("refused {e}"),
        }
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    })
    .expect("a child");
    wait(other);
    println!("pids {first} {other}");
}

#[test]
fn children_that_come_and_go_leave_the_memory_as_it_was() {
    let _alone = alone();
    let Some(mut watch) = Watch::start() else { return };
    let counts = |watch: &mut Watch, what: &str| {
        let mut made: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let (actor, _) = watch.act(what, |record, _| match record.kind() {
            Kind::SchedProcessFork => made.entry(record.header().pid).or_default().0 += 1,
            Kind::SchedProcessExit => made.entry(record.header().ppid).or_default().1 += 1,
            _ => {}
        });
        made.remove(&actor).unwrap_or_default()
    };
    // The test runner of the actor makes one or two threads, which are no processes.
    assert_eq!(counts(&mut watch, "flood-before"), (BEFORE, BEFORE));
    let before = resident();
    assert_eq!(counts(&mut watch, "flood-after"), (AFTER, AFTER));
    let (after, counters) = (resident(), watch.table.counters());
    println!("resident after {BEFORE}: {before} MiB, after {AFTER} more: {after} MiB; {counters:?}");
    assert!(after <= before + 4, "{before} MiB became {after} MiB");
    assert_eq!(counters.evicted, 0);
}

#[test]
fn an_orphan_keeps_its_creator() {
    let _alone = alone();
    let Some(mut watch) = Watch::start() else { return };
    let mut found = None;
    let (actor, _) = watch.act("orphan", |record, process| {
        let args = process.image.cmdline.as_deref().unwrap_or_default();
        if record.kind() == Kind::SchedProcessExec && args.ends_with(b"true orphaned") {
            found = Some((record.header().ppid, process.clone()));
        }
    });
    let (parent, process) = found.expect("the orphan's exec");
    assert_eq!(parent, actor, "it has been given to the actor");
    let line =
        |i: usize| String::from_utf8_lossy(process.ancestors[i].cmdline.as_deref().unwrap_or_default()).into_owned();
    assert!(line(0).starts_with("sh -c"), "the creator is the shell, not {:?}", line(0));
    assert_ne!(process.ancestors[0].key.tgid, actor);
    assert_eq!(process.ancestors[1].key.tgid, actor);
}

#[test]
fn a_number_used_again_is_another_process() {
    let _alone = alone();
    let Some(mut watch) = Watch::start() else { return };
    let mut runs: Vec<(Key, Arc<Process>)> = Vec::new();
    let (actor, said) = watch.act("reuse", |record, process| {
        if record.kind() == Kind::SchedProcessExec {
            runs.push((process.image.key, process.clone()));
        }
    });
    if let Some(why) = said.lines().find_map(|l| l.strip_prefix("refused ")) {
        println!("skipped: this kernel gives nobody a number of their choice: {why}");
        return;
    }
    let run = |words: &str| {
        let holds =
            |p: &Process| String::from_utf8_lossy(p.image.cmdline.as_deref().unwrap_or_default()).contains(words);
        runs.iter().find(|(_, p)| holds(p)).unwrap_or_else(|| panic!("no exec of {words}"))
    };
    let ((a, first), (b, second)) = (run("first-use"), run("second-use"));
    assert_eq!(a.tgid, b.tgid, "the very same number");
    assert_ne!(a.start, b.start);
    assert_ne!(first.id, second.id);
    assert_ne!(first.image.exe, second.image.exe);
    assert_eq!(first.ancestors[0].key.tgid, actor);
    assert_ne!(second.ancestors[0].key.tgid, actor, "it was made by another process");
    assert_eq!(second.ancestors[1].key.tgid, actor);
    // Both are there at the same time, each as what it was.
    let in_table = |key: &Key| watch.table.get(*key).map(|p| p.image.exe.clone());
    assert_eq!(in_table(a), Some(first.image.exe.clone()));
    assert_eq!(in_table(b), Some(second.image.exe.clone()));
}
