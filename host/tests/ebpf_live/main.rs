//! The kernel side for real: a child process does one of everything, the records say what it did.
//!
//! Runs as `cargo test --test ebpf_live` (as root; otherwise it says that it was skipped), and alone in
//! a virtual machine: `ebpf_live --rung kprobe`.

mod act;
mod area;
mod bpf;
mod checks;
#[cfg(target_arch = "x86_64")]
mod compat;
mod left_out;
mod safety;
mod uring;

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio, exit},
    time::{Duration, Instant},
};

use picket::sensor::ebpf::{Ebpf, EbpfOptions, InterestSet, KindStatus, Rung};
use picket_ebpf::{Class, Interest, Kind, OBJECT, Record};

const POLL: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).and_then(|at| args.get(at + 1));
    if let Some(code) = after("--exit") {
        exit(code.parse().unwrap_or(99));
    }
    if let Some(dir) = after("--act") {
        act::all(Path::new(dir)).expect("the acts succeed");
        return ExitCode::SUCCESS;
    }
    for what in ["--files-mount", "--files-chroot"] {
        if let Some(here) = after(what) {
            area::files::act_as_child(what, Path::new(here)).expect("the child's acts succeed");
            return ExitCode::SUCCESS;
        }
    }
    if let Some(list) = after("--open") {
        if let Some(group) = after("--in") {
            fs::write(Path::new(group).join("cgroup.procs"), "0").expect("a control group of our own");
        }
        left_out::open_all(Path::new(list)).expect("the files are there");
        return ExitCode::SUCCESS;
    }
    if let Some(path) = after("--flood") {
        act::flood(Path::new(path), checks::FLOOD_OPENS, checks::FLOOD_CHILDREN).expect("the flood succeeds");
        return ExitCode::SUCCESS;
    }
    // SAFETY: no arguments, no memory.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: loading BPF programs needs root");
        return ExitCode::SUCCESS;
    }
    let rung = match after("--rung").map(String::as_str) {
        Some("kprobe") => Some(Rung::Kprobe),
        Some("tracepoint") => Some(Rung::Tracepoint),
        _ => None,
    };
    if let Some(seconds) = after("--hold") {
        hold(rung, seconds.parse().unwrap_or(10));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|a| a == "--confined") {
        safety::confined(rung);
        return ExitCode::SUCCESS;
    }
    let mut failures = 0;
    failures += safety::check(rung);
    failures += observe(rung);
    if args.iter().any(|a| a == "--observe") {
        println!("ebpf_live: observed, {failures} checks failed");
        return ExitCode::from(u8::from(failures > 0));
    }
    failures += filters(rung);
    failures += left_out::left_out(rung);
    failures += refusals();
    failures += flood(rung);
    if failures == 0 {
        println!("ebpf_live: all checks passed");
        ExitCode::SUCCESS
    } else {
        println!("ebpf_live: {failures} checks failed");
        ExitCode::FAILURE
    }
}

/// Everything wanted, on the rung in question.
fn open(rung: Option<Rung>, ring_bytes: Option<usize>) -> Ebpf {
    let start = Instant::now();
    let mut ebpf = match Ebpf::open(EbpfOptions { rung, ring_bytes, ..EbpfOptions::default() }) {
        Ok(ebpf) => ebpf,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            panic!("{text}");
        }
    };
    let loaded = start.elapsed();
    for (program, error) in ebpf.programs() {
        if let Some(error) = error {
            println!("  not loaded: {program}: {error}");
        }
    }
    let mut wanted = InterestSet::default();
    for &kind in Kind::ALL.iter().filter(|kind| kind.class() == Class::Bulk) {
        wanted.add(kind, 0);
    }
    let statuses = ebpf.attach(&wanted).expect("maps can be written");
    println!("object {} bytes, loaded in {loaded:?}, all attached after {:?}", OBJECT.len(), start.elapsed());
    for status in statuses {
        println!("  {} on {} {}", status.kind.name(), status.hook, status.degraded.as_deref().unwrap_or(""));
    }
    ebpf
}

/// Only reads, for measuring from outside what the hooks cost.
fn hold(rung: Option<Rung>, seconds: u64) {
    let mut ebpf = open(rung, None);
    let (start, mut records) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        records += ebpf.poll(POLL, &mut |_| ()).expect("the ring can be read");
    }
    println!("{records} records read: {:?}", ebpf.counters());
}

/// A fresh directory that goes away with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = env::temp_dir().join(format!("picket-live-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a directory of our own");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts ourselves with `args`, stdout in `output`.
fn start(args: &[&str], output: &Path) -> Child {
    let me = fs::read_link("/proc/self/exe").expect("our own path");
    let stdout = fs::File::create(output).expect("a file of our own");
    Command::new(me).args(args).stdin(Stdio::null()).stdout(stdout).spawn().expect("we can start ourselves")
}

/// Reads records until the child is gone and the ring is empty.
fn record_until_exit(ebpf: &mut Ebpf, child: &mut Child, mut f: impl FnMut(&[u8])) -> bool {
    let mut status = None;
    loop {
        let read = ebpf.poll(POLL, &mut f).expect("the ring can be read");
        if status.is_some() && read == 0 {
            return status.is_some_and(|status: std::process::ExitStatus| status.success());
        }
        status = status.or(child.try_wait().expect("our own child"));
    }
}

fn observe(rung: Option<Rung>) -> usize {
    let mut ebpf = open(rung, None);
    let scratch = Scratch::new("observe");
    let mut seeds = Vec::new();
    let before = processes();
    ebpf.seed(&mut |bytes| seeds.push(bytes.to_vec())).expect("the task iterator serves");
    let mut lasting = processes();
    lasting.retain(|process| before.contains(process));
    let dir = scratch.0.join("work");
    fs::create_dir(&dir).expect("a directory of our own");
    let output = scratch.0.join("facts");
    let mut child = start(&["--act", dir.to_str().unwrap_or_default()], &output);
    let mut records = Vec::new();
    let succeeded = record_until_exit(&mut ebpf, &mut child, |bytes| records.push(bytes.to_vec()));
    let facts: HashMap<String, String> = fs::read_to_string(&output)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let counters = ebpf.counters().expect("the counters can be read");
    // where a hook beside the main one does not exist, what it would show is not asked for
    let complete = |kind| {
        let lacks = |s: &KindStatus| s.degraded.as_ref().is_some_and(|why| why.contains("is not there"));
        ebpf.status().any(|s| s.kind == kind && !lacks(s))
    };
    let observed = checks::Observed {
        pid: child.id(),
        dir,
        facts,
        succeeded,
        sees_interpreter: complete(Kind::SchedProcessExec),
        sees_uring: complete(Kind::SecurityFileOpen),
        seen: ebpf.status().filter(|s| s.rung.is_some()).map(|s| s.kind).collect(),
        on_kprobe: ebpf.status().any(|s| s.rung == Some(Rung::Kprobe)),
        lasting: lasting.into_iter().map(|(pid, _)| pid).collect(),
        seeds: seeds.iter().map(|bytes| Record::parse(bytes).expect("a seed is a record")).collect(),
        records: records.iter().map(|bytes| Record::parse(bytes).expect("the ring has records")).collect(),
    };
    println!(
        "{} seeds, {} records, {} of the child",
        observed.seeds.len(),
        observed.records.len(),
        observed.of(child.id()).count()
    );
    let run = if rung == Some(Rung::Tracepoint) { "tracepoint" } else { "best" };
    for status in ebpf.status() {
        let own = |r: &&Record<'_>| r.header().pid == child.id() || r.header().ppid == child.id();
        let records = observed.records.iter().filter(|r| r.kind() == status.kind).filter(own).count();
        let (on, lacks) = (status.rung.map_or("none", Rung::name), status.degraded.as_deref().unwrap_or_default());
        println!("table {} {run} {on} {records} {lacks}", status.kind.name());
    }
    let mut report = checks::Report::default();
    checks::all(&observed, &mut report);
    checks::counters(&counters, &mut report);
    report.print("observe")
}

/// Wants less and less, and must get no more than that.
fn filters(rung: Option<Rung>) -> usize {
    let mut ebpf = open(rung, None);
    let mut report = checks::Report::default();
    let scratch = Scratch::new("filters");
    let mut wanted = InterestSet::default();
    wanted.add(Kind::SecurityFileOpen, Interest::CHANGES_ONLY);
    wanted.add(Kind::SecuritySocketConnect, Interest::NO_UNIX);
    for (name, wanted) in [("some", wanted), ("none", InterestSet::default())] {
        ebpf.attach(&wanted).expect("maps can be written");
        while ebpf.poll(Duration::ZERO, &mut |_| ()).expect("the ring can be read") > 0 {}
        let before = ebpf.counters().expect("the counters can be read");
        let dir = scratch.0.join(name);
        fs::create_dir(&dir).expect("a directory of our own");
        let mut child = start(&["--act", dir.to_str().unwrap_or_default()], &scratch.0.join(format!("{name}-facts")));
        let mut records = Vec::new();
        record_until_exit(&mut ebpf, &mut child, |bytes| records.push(bytes.to_vec()));
        let records: Vec<_> = records.iter().map(|bytes| Record::parse(bytes).expect("the ring has records")).collect();
        let after = ebpf.counters().expect("the counters can be read");
        checks::filters(name, child.id(), &records, &before, &after, &mut report);
    }
    report.print("filters")
}

/// What cannot work says so.
fn refusals() -> usize {
    let mut report = checks::Report::default();
    let refused = Ebpf::open(EbpfOptions { btf: Some("/nonexistent".into()), ..EbpfOptions::default() });
    let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
    report.that(
        "no type information: the file and the way out are named",
        text.contains("/nonexistent") && text.contains("--btf"),
        || text.clone(),
    );
    report.print("refusals")
}

/// The processes with an executable that we may look into: pid and start, so that a pid used twice
/// is not one process. (A machine may hide its first process even from root.)
fn processes() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok())
        .filter_map(|pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, stat.rsplit_once(')')?.1.split(' ').nth(20)?.to_owned()))
        })
        .collect()
}

fn flood(rung: Option<Rung>) -> usize {
    let mut ebpf = open(rung, Some(8 << 20));
    let scratch = Scratch::new("flood");
    let target = scratch.0.join("target");
    fs::write(&target, "x").expect("a file of our own");
    let mut child = start(&["--flood", target.to_str().unwrap_or_default()], &scratch.0.join("facts"));
    let mut seen = checks::FloodSeen::new(child.id());
    let succeeded = record_until_exit(&mut ebpf, &mut child, |bytes| {
        seen.add(&Record::parse(bytes).expect("the ring has records"));
        // a reader that cannot keep up
        std::thread::sleep(Duration::from_micros(20));
    });
    let counters = ebpf.counters().expect("the counters can be read");
    let mut report = checks::Report::default();
    checks::flood(&seen, succeeded, &counters, &mut report);
    checks::counters(&counters, &mut report);
    report.print("flood")
}
