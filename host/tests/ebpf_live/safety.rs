//! What the sensor still can when it has given up its privileges, and what it notices when somebody takes it apart.

use std::{fs, os::fd::RawFd, process::Command, time::Duration};

use picket::privilege::{self, Needs};
use picket::sensor::ebpf::{Ebpf, InterestSet, Rung, Tamper};
use picket_ebpf::{Class, Kind};

use crate::checks::Report;
use crate::{Scratch, open, start};

fn everything() -> InterestSet {
    let mut wanted = InterestSet::default();
    for &kind in Kind::ALL.iter().filter(|kind| kind.class() == Class::Bulk) {
        wanted.add(kind, 0);
    }
    wanted
}

/// The process that gives up its privileges and then attaches, detaches, probes and seeds.
pub fn confined(rung: Option<Rung>) {
    let mut ebpf = open(rung, None);
    let wanted = everything();
    let before: Vec<_> =
        ebpf.attach(&wanted).expect("maps can be written").into_iter().map(|s| (s.kind, s.rung)).collect();
    ebpf.attach(&InterestSet::default()).expect("maps can be written");
    privilege::give_up(&Needs { network_hooks: ebpf.has_network_hooks(), low_port: false })
        .expect("there is one thread");
    let after: Vec<_> =
        ebpf.attach(&wanted).expect("maps can be written").into_iter().map(|s| (s.kind, s.rung)).collect();
    assert_eq!(before, after, "with less privilege, less attaches");
    let probed: Vec<_> = ebpf.probe().expect("maps can be written").into_iter().map(|s| (s.kind, s.rung)).collect();
    assert_eq!(before, probed);
    assert!(ebpf.seed(&mut |_| ()).expect("the task iterator serves") > 0);
    ebpf.poll(Duration::from_millis(50), &mut |_| ()).expect("the ring can be read");
    ebpf.counters().expect("the counters can be read");
    println!("{}", privilege::report());
}

pub fn check(rung: Option<Rung>) -> usize {
    let mut report = Report::default();
    let scratch = Scratch::new("safety");
    let output = scratch.0.join("confined");
    let mut args = vec!["--confined"];
    args.extend(rung.map(|rung| ["--rung", rung.name()]).into_iter().flatten());
    let ended = start(&args, &output).wait().expect("our own child");
    let said = fs::read_to_string(&output).unwrap_or_default();
    let last = said.lines().last().unwrap_or_default();
    report.that(
        "attaches, probes and seeds after it gave up its privileges",
        ended.success()
            && last.contains("CAP_BPF")
            && last.contains("\"no_new_privs\":true")
            && last.contains("SYS_ADMIN") == privilege::perf_needs_admin(),
        || said.clone(),
    );
    let mut ebpf = open(rung, None);
    probes(&ebpf, &mut report);
    links(&mut ebpf, &mut report);
    silence(&mut ebpf, &mut report);
    report.print("safety")
}

/// The table of bounds, and that each is one.
fn probes(ebpf: &Ebpf, report: &mut Report) {
    /// Where every kernel since 5.2 gives up.
    const LIMIT: u32 = 1_000_000;
    let probes = ebpf.probes().expect("the kernel answers");
    println!("  {:<60} {:>9} {:>7} {:>6}", "program", "verified", "bytes", "calls");
    for p in &probes {
        println!("  {:<60} {:>9} {:>7} {:>6}", p.program, p.verified_instructions, p.code_bytes, p.helper_calls);
    }
    let loaded = probes.iter().filter(|p| p.refused.is_none());
    let wrong: Vec<_> = loaded.filter(|p| p.code_bytes == 0 || p.verified_instructions >= LIMIT).collect();
    report.that("every loaded program says its size", wrong.is_empty(), || format!("{wrong:?}"));
    let attached = probes.iter().filter(|p| p.attached).count();
    report.that("some are attached, and each of those is loaded", attached > 3, || format!("{attached}"));
}

/// Takes one of our own links away, as a debugger could, and expects to be told.
fn links(ebpf: &mut Ebpf, report: &mut Report) {
    report
        .that("nothing is found where nothing was done", ebpf.check_links().is_empty(), || "a link is gone".to_owned());
    let counters = ebpf.counters().expect("the counters can be read");
    let signs = ebpf.check_maps(&counters).expect("maps can be read");
    report.that("no map is found changed where none was", signs.is_empty(), || format!("{signs:?}"));
    let Some(link) = a_link() else {
        println!("  skipped: this kernel makes no links that could be taken away");
        return;
    };
    // Kinds that this kernel has no hook for are no news.
    let seen = ebpf.status().filter(|s| s.rung.is_some()).count();
    let null = fs::File::open("/dev/null").expect("/dev/null is there");
    // SAFETY: both descriptors are open; the number of the link stays one, of something else, so that closing it later is no harm.
    let replaced = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), link) };
    assert_eq!(replaced, link);
    let signs = ebpf.check_links();
    let one = matches!(signs.as_slice(), [Tamper::Link { .. }]);
    report.that("a link that was taken away is noticed", one, || format!("{signs:?}"));
    let statuses = ebpf.probe().expect("maps can be written");
    report.that("and attached again", statuses.iter().filter(|s| s.rung.is_some()).count() == seen, || {
        format!("{statuses:?}")
    });
    report.that("which is the end of it", ebpf.check_links().is_empty(), || "a link is gone".to_owned());
}

/// The descriptor of one of our links.
fn a_link() -> Option<RawFd> {
    let entries = fs::read_dir("/proc/self/fdinfo").expect("/proc is mounted").flatten();
    let mut links = entries.filter(|e| fs::read_to_string(e.path()).is_ok_and(|t| t.contains("link_id:")));
    links.next()?.file_name().to_str()?.parse().ok()
}

/// Switches every kernel probe off, which leaves all links as they were: only the canaries tell. In the virtual machine only,
/// where nobody else needs them.
fn silence(ebpf: &mut Ebpf, report: &mut Report) {
    const SWITCH: &str = "/sys/kernel/debug/kprobes/enabled";
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if hostname.trim() != "guest" {
        println!("  skipped: kernel probes are switched off in a virtual machine only");
        return;
    }
    let _ = Command::new("mount").args(["-t", "debugfs", "debug", "/sys/kernel/debug"]).status();
    let before: Vec<_> =
        ebpf.status().filter(|s| s.rung == Some(Rung::Kprobe) && s.kind.has_canary()).cloned().collect();
    if before.is_empty() || fs::write(SWITCH, "0").is_err() {
        println!("  skipped: no kernel probes to switch off");
        return;
    }
    let after = ebpf.probe().expect("maps can be written");
    let notices = picket::notice::Notice::of_probe(&before, &after, 1);
    fs::write(SWITCH, "1").expect("it was written before");
    report.that("probes that see nothing are noticed by their canaries", notices.len() == before.len(), || {
        format!("{notices:?} of {before:?}")
    });
}
