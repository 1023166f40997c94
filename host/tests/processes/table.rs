//! Identity, ancestry and memory, with records made here.

use std::sync::Arc;

use picket::process::{Key, Process, Table, Users};
use picket_ebpf::{Kind, Record};

use crate::records::{Id, Made, exec, exit, fork};
use crate::{alone, resident};

const INIT: Id = (1, 10);

fn table() -> Table {
    Table::new("boot", Users::new("/etc/passwd".into()))
}

fn apply(table: &mut Table, bytes: &[u8]) -> Arc<Process> {
    table.apply(&Record::parse(bytes).expect("a record"))
}

fn exe(process: &Process) -> String {
    String::from_utf8_lossy(process.image.exe.as_deref().unwrap_or_default()).into_owned()
}

fn ancestors(process: &Process) -> Vec<String> {
    process
        .ancestors
        .iter()
        .map(|a| String::from_utf8_lossy(a.exe.as_deref().unwrap_or_default()).into_owned())
        .collect()
}

/// A process of numbers far above any real one: nothing about it is in /proc.
fn id(n: u64) -> Id {
    (1_000_000_000 + n as u32, 1_000 + n)
}

/// `creator` forks `child`, which runs `program`.
fn start(table: &mut Table, time: u64, creator: Id, child: Id, program: &str) -> Arc<Process> {
    apply(table, &fork(time, creator, INIT, child));
    apply(table, &exec(time, child, creator, program, &[program]))
}

/// An event of the process that is none of its life: who is behind it now.
fn acts(table: &mut Table, time: u64, actor: Id, parent: Id) -> Arc<Process> {
    let bulk = Kind::ALL.iter().find(|k| k.class() == picket_ebpf::Class::Bulk).expect("a bulk kind");
    apply(table, &Made::new(*bulk, time, actor, parent).bytes())
}

#[test]
fn the_creator_stays_the_parent_when_it_has_ended() {
    let _alone = alone();
    let mut table = table();
    start(&mut table, 1, INIT, id(1), "/bin/shell");
    start(&mut table, 2, id(1), id(2), "/bin/middle");
    apply(&mut table, &fork(3, id(2), id(1), id(3)));
    apply(&mut table, &exit(4, id(2), id(1)));
    // Its real parent is the first process now, and the record says so.
    let orphan = apply(&mut table, &exec(5, id(3), INIT, "/bin/orphan", &["orphan"]));
    assert_eq!(ancestors(&orphan)[..2], ["/bin/middle", "/bin/shell"]);
    // Long after the row of the parent is gone, too.
    let later = 5 + 120_000_000_000;
    start(&mut table, later, INIT, id(4), "/bin/other");
    apply(&mut table, &exit(later, id(4), INIT));
    assert!(table.get(Key { tgid: id(2).0, start: id(2).1 }).is_none());
    assert_eq!(ancestors(&acts(&mut table, later, id(3), INIT))[..2], ["/bin/middle", "/bin/shell"]);
}

#[test]
fn a_row_that_had_to_go_still_is_an_ancestor() {
    let _alone = alone();
    let mut table = table();
    start(&mut table, 1, INIT, id(0), "/bin/parent");
    let key = Key { tgid: id(0).0, start: id(0).1 };
    let mut children = 0;
    // Live processes, until the parent's own row has to go.
    while table.get(key).is_some() {
        children += 1;
        assert!(children < 500_000, "the table never had to drop the parent");
        apply(&mut table, &fork(2, INIT, INIT, id(children)));
        if children == 1 {
            apply(&mut table, &fork(2, id(0), INIT, id(1_000_000)));
        }
    }
    assert!(table.counters().evicted > 0);
    // Either the child's row is still there and has its ancestors, or it had to go as well, and then nobody is made up.
    let child = Key { tgid: id(1_000_000).0, start: id(1_000_000).1 };
    if table.get(child).is_some() {
        let process = apply(&mut table, &exec(3, id(1_000_000), id(0), "/bin/child", &["child"]));
        assert_eq!(ancestors(&process).first().map(String::as_str), Some("/bin/parent"));
        // And its own children have both.
        let grandchild = start(&mut table, 4, id(1_000_000), id(1_000_001), "/bin/grandchild");
        assert_eq!(ancestors(&grandchild)[..2], ["/bin/child", "/bin/parent"]);
    }
    assert_eq!(table.counters().live, 65_536);
}

#[test]
fn ten_ancestors_and_no_more() {
    let _alone = alone();
    let mut table = table();
    start(&mut table, 1, INIT, id(0), "/bin/p0");
    for n in 1..40 {
        let process = start(&mut table, 1 + n, id(n - 1), id(n), &format!("/bin/p{n}"));
        let wanted: Vec<String> = (n.saturating_sub(10)..n).rev().map(|a| format!("/bin/p{a}")).collect();
        let got = ancestors(&process);
        assert_eq!(got[..wanted.len()], wanted);
        assert!(got.len() <= 10);
    }
}

#[test]
fn one_number_used_twice_is_two_processes() {
    let _alone = alone();
    let mut table = table();
    let (first, second): (Id, Id) = ((1_000_000_777, 50), (1_000_000_777, 90));
    start(&mut table, 1, INIT, id(1), "/bin/one");
    start(&mut table, 1, INIT, id(2), "/bin/two");
    let a = start(&mut table, 2, id(1), first, "/bin/first");
    apply(&mut table, &exit(3, first, id(1)));
    let b = start(&mut table, 4, id(2), second, "/bin/second");
    assert_ne!(a.id, b.id);
    assert_eq!((exe(&a), ancestors(&a)[0].clone()), ("/bin/first".into(), "/bin/one".into()));
    assert_eq!((exe(&b), ancestors(&b)[0].clone()), ("/bin/second".into(), "/bin/two".into()));
    // A late event of the first one is still the first one's.
    assert_eq!(exe(&acts(&mut table, 5, first, id(1))), "/bin/first");
}

/// `count` short lives, `step` nanoseconds apart, from `from` on.
fn lives(table: &mut Table, from: u64, count: u64, step: u64) {
    for n in from..from + count {
        let (time, child) = (n * step, id(n));
        start(table, time, id(0), child, "/usr/bin/true");
        apply(table, &exit(time + 1, child, id(0)));
    }
}

#[test]
fn a_million_short_lives_leave_the_memory_as_it_was() {
    let _alone = alone();
    let mut table = table();
    start(&mut table, 1, INIT, id(0), "/bin/sh");
    // 50,000 a second, so that all of them would linger.
    lives(&mut table, 1, 200_000, 20_000);
    let before = resident();
    lives(&mut table, 200_001, 800_000, 20_000);
    let after = resident();
    let counters = table.counters();
    println!("resident after 200,000: {before} MiB, after 1,000,000: {after} MiB; {counters:?}");
    assert!(after <= before + 4, "{before} MiB became {after} MiB");
    // Nothing that lived had to go, and all that is not there any more was counted.
    assert_eq!(counters.evicted, 0);
    assert_eq!(counters.lingering + counters.forgotten, 1_000_000);
}

#[test]
fn long_command_lines_are_bounded_by_their_bytes() {
    let _alone = alone();
    let mut table = table();
    let long = "x".repeat(20_000);
    let before = resident();
    for n in 0..30_000 {
        apply(&mut table, &exec(n, id(n), INIT, "/bin/long", &["long", &long]));
        if n % 2 == 0 {
            apply(&mut table, &exit(n, id(n), INIT));
        }
    }
    let (after, counters) = (resident(), table.counters());
    println!("resident before {before} MiB, after {after} MiB; {counters:?}");
    assert!(counters.bytes <= 128 << 20);
    assert!(after <= before + 256, "{before} MiB became {after} MiB");
    assert_eq!(counters.live + counters.lingering + counters.evicted + counters.forgotten, 30_000);
}
