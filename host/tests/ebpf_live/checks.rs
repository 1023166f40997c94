//! What the records must say.

use std::{collections::HashMap, path::PathBuf};

use picket::sensor::ebpf::Counters;
use picket_ebpf::{
    Class, Flags, Hook, Kind, Record, Slice, SliceFlags, Status,
    kind::{
        sched_process_exec::Exec, sched_process_exit::Exit, sched_process_fork::Fork, security_file_open::Open,
        security_inode_unlink::Unlink, security_socket_bind::Bind, security_socket_connect::Connect, seed::Seed,
    },
};

/// Opens and children of the flood. The opens are many times what the ring holds.
pub const FLOOD_OPENS: u64 = 200_000;
pub const FLOOD_CHILDREN: u32 = 150;

/// Checks made and failed.
#[derive(Default)]
pub struct Report {
    checks: Vec<(String, Result<(), String>)>,
}

impl Report {
    fn check(&mut self, name: &str, result: Result<(), String>) {
        self.checks.push((name.to_owned(), result));
    }
    pub fn that(&mut self, name: &str, holds: bool, else_say: impl FnOnce() -> String) {
        self.check(name, if holds { Ok(()) } else { Err(else_say()) });
    }
    /// Prints every check; returns how many failed.
    pub fn print(&self, title: &str) -> usize {
        for (name, result) in &self.checks {
            match result {
                Ok(()) => println!("  ok      {title}: {name}"),
                Err(why) => println!("  FAILED  {title}: {name}: {why}"),
            }
        }
        self.checks.iter().filter(|(_, result)| result.is_err()).count()
    }
}

/// What was observed of the acting child.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one run")]
pub struct Observed<'a> {
    pub pid: u32,
    pub dir: PathBuf,
    pub facts: HashMap<String, String>,
    pub succeeded: bool,
    /// The kinds that some rung of this kernel shows.
    pub seen: Vec<Kind>,
    pub on_kprobe: bool,
    pub sees_interpreter: bool,
    pub sees_uring: bool,
    pub seeds: Vec<Record<'a>>,
    /// Processes that lived before and after the seed was taken.
    pub lasting: Vec<u32>,
    pub records: Vec<Record<'a>>,
}

impl<'a> Observed<'a> {
    pub fn seen(&self, kind: Kind) -> bool {
        self.seen.contains(&kind)
    }
    pub fn of(&self, pid: u32) -> impl Iterator<Item = &Record<'a>> {
        self.records.iter().filter(move |r| r.header().pid == pid)
    }
    pub fn kind(&self, kind: Kind) -> impl Iterator<Item = &Record<'a>> {
        self.of(self.pid).filter(move |r| r.kind() == kind)
    }
    pub fn path(&self, name: &str) -> Vec<u8> {
        self.dir.join(name).into_os_string().into_encoded_bytes()
    }
    pub fn number(&self, fact: &str) -> u64 {
        self.facts.get(fact).and_then(|v| v.parse().ok()).unwrap_or(u64::MAX)
    }
    fn opens(&self, path: &[u8]) -> Vec<(&Record<'a>, Open)> {
        self.kind(Kind::SecurityFileOpen)
            .filter(|r| r.slice(Open::PATHNAME).bytes == path)
            .filter_map(|r| Some((r, r.body::<Open>()?)))
            .collect()
    }
    /// Execs by children of the actor whose arguments contain `needle`.
    pub fn exec(&self, needle: &str) -> Option<(&Record<'a>, Exec)> {
        self.records
            .iter()
            .filter(|r| r.kind() == Kind::SchedProcessExec && r.header().ppid == self.pid)
            .find(|r| contains(r.slice(Exec::ARGV).bytes, needle) || contains(r.slice(Exec::ARGV_TAIL).bytes, needle))
            .and_then(|r| Some((r, r.body::<Exec>()?)))
    }
}

pub fn contains(hay: &[u8], needle: &str) -> bool {
    hay.windows(needle.len()).any(|w| w == needle.as_bytes())
}

pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub fn show(slice: Slice<'_>) -> String {
    format!("{:?} {} of {} flags {:#x}", slice.status, text(slice.bytes), slice.original, slice.flags.0)
}

pub fn all(o: &Observed<'_>, r: &mut Report) {
    r.that("the actor succeeded", o.succeeded, || "see its output".to_owned());
    processes(o, r);
    opens(o, r);
    unlinks(o, r);
    sockets(o, r);
    super::area::check(o, r);
    seeds(o, r);
    own(o, r);
}

fn processes(o: &Observed<'_>, r: &mut Report) {
    let me = std::process::id();
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default().into_os_string().into_encoded_bytes();
    let first = o.kind(Kind::SchedProcessExec).next();
    r.that("the actor's exec", first.is_some(), || "missing".to_owned());
    if let Some((record, body)) = first.and_then(|f| Some((f, f.body::<Exec>()?))) {
        let h = record.header();
        r.that("exec: parent", h.ppid == me && h.parent_start > 0 && h.leader_start > h.parent_start, || {
            format!("{h:?}")
        });
        r.that("exec: path", record.slice(Exec::PATHNAME).bytes == exe, || show(record.slice(Exec::PATHNAME)));
        let argv: Vec<&[u8]> = record.slice(Exec::ARGV).bytes.split(|&b| b == 0).collect();
        r.that("exec: argv", argv.len() == 4 && argv[1] == b"--act" && argv[3].is_empty(), || {
            show(record.slice(Exec::ARGV))
        });
        r.that("exec: argc", body.argc == 3, || body.argc.to_string());
        let cwd = std::env::current_dir().unwrap_or_default().into_os_string().into_encoded_bytes();
        r.that("exec: cwd", record.slice(Exec::CWD).bytes == cwd, || show(record.slice(Exec::CWD)));
        r.that(
            "exec: stdin",
            record.slice(Exec::STDIN_PATH).bytes == b"/dev/null" && body.stdin_type == 0o020_000,
            || format!("{} {:o}", show(record.slice(Exec::STDIN_PATH)), body.stdin_type),
        );
        let meta = std::fs::metadata("/proc/self/exe");
        let inode = meta.as_ref().map_or(0, std::os::unix::fs::MetadataExt::ino);
        r.that("exec: inode", body.inode == inode && body.mode & 0o170_111 == 0o100_111, || format!("{body:?}"));
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let prefix = comm.trim().as_bytes();
        r.that("exec: comm before", record.slice(Exec::PREV_COMM).bytes.starts_with(prefix), || {
            show(record.slice(Exec::PREV_COMM))
        });
        r.that("exec: cgroup present", record.slice(Exec::CGROUP).status == Status::Ok, || {
            show(record.slice(Exec::CGROUP))
        });
        r.that("exec: namespaces", h.mnt_ns != 0 && h.pid_ns != 0 && h.ns_pid != 0, || format!("{h:?}"));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        r.that("exec: node name", h.nodename() == host.trim().as_bytes(), || text(h.nodename()));
    }
    let interpreter = std::fs::read_to_string("/proc/self/maps").ok().and_then(|maps| {
        let line = maps.lines().find(|line| line.contains("/ld-") || line.contains("/ld.so"))?;
        Some((line.split_whitespace().nth(4)?.parse::<u64>().ok()?, line.split_whitespace().nth(5)?.to_owned()))
    });
    if let (Some((record, body)), Some((inode, path)), true) =
        (first.and_then(|f| Some((f, f.body::<Exec>()?))), interpreter, o.sees_interpreter)
    {
        let slice = record.slice(Exec::INTERPRETER_PATHNAME);
        r.that(
            "exec: ELF interpreter",
            slice.bytes == path.as_bytes() && body.interpreter_inode == inode && body.interpreter_ctime > 0,
            || format!("{} {} for {path} {inode}", show(slice), body.interpreter_inode),
        );
    }
    let link = o.exec("two words");
    r.that(
        "exec by link: executed and resolved path",
        link.is_some_and(|(e, _)| {
            e.slice(Exec::CMDPATH).bytes == o.path("link") && e.slice(Exec::PATHNAME).bytes == exe
        }),
        || {
            link.map_or("missing".to_owned(), |(e, _)| {
                format!("{} {}", show(e.slice(Exec::CMDPATH)), show(e.slice(Exec::PATHNAME)))
            })
        },
    );
    if let Some((e, _)) = link {
        let fork =
            o.kind(Kind::SchedProcessFork).filter_map(Record::body::<Fork>).find(|f| f.child_pid == e.header().pid);
        r.that(
            "fork: start and parent of that process",
            fork.is_some_and(|f| {
                f.child_start == e.header().leader_start && f.child_ppid == o.pid && f.child_ns_pid == e.header().ns_pid
            }),
            || format!("{fork:?}"),
        );
        let exits: Vec<_> = o.of(e.header().pid).filter(|x| x.kind() == Kind::SchedProcessExit).collect();
        let code = exits.first().and_then(|x| x.body::<Exit>()).map(|x| x.exit_code);
        r.that("exit: once, with its code", exits.len() == 1 && code == Some(7 << 8), || {
            format!("{} {code:?}", exits.len())
        });
        r.that(
            "exit: same key",
            exits.first().is_some_and(|x| x.header().leader_start == e.header().leader_start),
            String::new,
        );
    }
    let exits = o.kind(Kind::SchedProcessExit).count();
    r.that("exit of the actor: once, although a thread ended before", exits == 1, || exits.to_string());
    let long = o.exec("the last one");
    r.that(
        "exec with long arguments: head, tail, true length",
        long.is_some_and(|(e, b)| {
            let (head, tail) = (e.slice(Exec::ARGV), e.slice(Exec::ARGV_TAIL));
            head.status == Status::Truncated
                && head.bytes.len() == 24_576
                && head.original > 40_000
                && tail.bytes.ends_with(b"the last one\0")
                && b.argc == 6
                && e.flags().has(Flags::TRUNCATED)
        }),
        || {
            long.map_or("missing".to_owned(), |(e, b)| {
                format!("{} {:?} {b:?}", e.slice(Exec::ARGV).bytes.len(), e.slice(Exec::ARGV).status)
            })
        },
    );
    r.that(
        "exec: stdin is a named pipe end",
        long.is_some_and(|(e, b)| {
            e.slice(Exec::STDIN_PATH).bytes == format!("pipe:[{}]", b.stdin_inode).as_bytes()
                && b.stdin_type == 0o010_000
        }),
        || long.map_or(String::new(), |(e, _)| show(e.slice(Exec::STDIN_PATH))),
    );
    let memory = o.exec("in memory");
    r.that(
        "exec from memory is named",
        memory.is_some_and(|(e, _)| {
            let s = e.slice(Exec::PATHNAME);
            s.bytes == b"memfd:picket-test" && s.flags.has(SliceFlags::PSEUDO)
        }),
        || memory.map_or("missing".to_owned(), |(e, _)| show(e.slice(Exec::PATHNAME))),
    );
    let deep = o.exec("deep");
    r.that(
        "a cut path never looks absolute",
        deep.is_some_and(|(e, _)| {
            let cwd = e.slice(Exec::CWD);
            cwd.status == Status::Truncated && cwd.bytes.starts_with(b"deep/deep/") && cwd.bytes.len() > 128 * 5 - 2
        }),
        || deep.map_or("missing".to_owned(), |(e, _)| show(e.slice(Exec::CWD))),
    );
}

fn opens(o: &Observed<'_>, r: &mut Report) {
    let opens = o.opens(&o.path("created"));
    let created = opens.first().copied();
    r.that("open: creates", created.is_some_and(|(_, b)| b.created == 1 && b.flags & 0o301 == 0o301), || {
        format!("{created:?}")
    });
    if let Some((record, b)) = created {
        let dev = o.number("created-dev");
        let (major, minor) = (libc::major(dev), libc::minor(dev));
        r.that("open: inode", b.inode == o.number("created-inode"), || format!("{b:?}"));
        r.that("open: device in the kernel's encoding", b.dev == major << 20 | minor, || {
            format!("{:#x} {major}:{minor}", b.dev)
        });
        r.that("open: ctime", b.ctime == o.number("created-ctime"), || {
            format!("{} {}", b.ctime, o.number("created-ctime"))
        });
        r.that("open: descriptor", u64::from(b.fd.cast_unsigned()) == o.number("created-fd"), || b.fd.to_string());
        r.that("open: path of the call", record.slice(Open::SYSCALL_PATHNAME).bytes == o.path("created"), || {
            show(record.slice(Open::SYSCALL_PATHNAME))
        });
    }
    r.that(
        "open: O_CREAT on what exists is no creation",
        opens.get(1).is_some_and(|(_, b)| b.created == 0 && b.flags & 0o100 == 0o100),
        || format!("{:?}", opens.get(1)),
    );
    r.that(
        "open: relative path resolved, call's path kept",
        opens.get(2).is_some_and(|(rec, b)| {
            rec.slice(Open::SYSCALL_PATHNAME).bytes == b"created"
                && b.flags & 0o3 == libc::O_RDONLY.cast_unsigned()
                && b.created == 0
        }),
        || opens.get(2).map_or("missing".to_owned(), |(rec, _)| show(rec.slice(Open::SYSCALL_PATHNAME))),
    );
    r.that("open: failure is no open", o.opens(&o.path("missing")).is_empty(), String::new);
    let gone = o.opens(&o.path("gone"));
    r.that(
        "open: deleted file flagged",
        gone.iter().any(|(rec, _)| rec.slice(Open::PATHNAME).flags.has(SliceFlags::DELETED)),
        || format!("{} opens", gone.len()),
    );
    if o.sees_uring && !o.facts.contains_key("uring-unavailable") {
        let direct = o.opens(&o.path("direct"));
        r.that(
            "open by io_uring into its own table: seen",
            direct.first().is_some_and(|(_, b)| b.created == 1 && b.fd == -1),
            || format!("{direct:?}"),
        );
        let uring = o.opens(&o.path("uring"));
        r.that(
            "open by io_uring: resolved, created, flagged",
            uring.first().is_some_and(|(rec, b)| {
                b.created == 1 && b.flags & 0o101 == 0o101 && (o.on_kprobe || rec.flags().has(Flags::IO_URING))
            }),
            || format!("{uring:?}"),
        );
    }
    if o.facts.contains_key("compat-fd") {
        let last = o.opens(&o.path("created")).last().copied();
        r.that(
            "open by int 0x80: told apart",
            last.is_some_and(|(rec, _)| {
                rec.flags().has(Flags::COMPAT) && rec.slice(Open::SYSCALL_PATHNAME).bytes == o.path("created")
            }),
            || format!("{last:?}"),
        );
    }
    if o.on_kprobe {
        let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default().into_os_string().into_encoded_bytes();
        let by_exec =
            o.records.iter().any(|x| x.kind() == Kind::SecurityFileOpen && x.slice(Open::PATHNAME).bytes == exe);
        r.that("open: exec's own open is seen", by_exec, String::new);
    }
}

fn unlinks(o: &Observed<'_>, r: &mut Report) {
    let unlinks: Vec<_> = o.kind(Kind::SecurityInodeUnlink).collect();
    let uring = (o.sees_uring && !o.facts.contains_key("uring-unavailable")).then_some("uring");
    let names: Vec<Vec<u8>> = unlinks
        .iter()
        .map(|u| {
            let (path, base) = (u.slice(Unlink::PATHNAME), u.slice(Unlink::BASE));
            if path.bytes.starts_with(b"/") { path.bytes.to_vec() } else { [base.bytes, b"/", path.bytes].concat() }
        })
        .collect();
    for name in ["absolute", "relative", "at", "gone"].into_iter().chain(uring) {
        let n = names.iter().filter(|n| **n == o.path(name)).count();
        r.that(&format!("unlink: {name}"), n == 1, || {
            format!("{n} times among {:?}", names.iter().map(|n| text(n)).collect::<Vec<_>>())
        });
    }
    let others = names.iter().any(|n| *n == o.path("directory") || *n == o.path("missing"));
    r.that("unlink: neither a directory nor a failure", !others, String::new);
    if let Some(body) = unlinks.first().and_then(|u| u.body::<Unlink>()) {
        if o.on_kprobe {
            r.that("unlink: inode", body.inode_known == 1 && body.inode == o.number("absolute-inode"), || {
                format!("{body:?}")
            });
        } else {
            let slice = unlinks[0].slice(Unlink::PATHNAME);
            r.that(
                "unlink: says that the path is from user memory",
                slice.flags.has(SliceFlags::USER_MEMORY) && body.inode_known == 0,
                || show(slice),
            );
        }
    }
}

/// `sockaddr` of AF_INET as (address, port).
pub fn v4(slice: Slice<'_>) -> Option<([u8; 4], u16)> {
    let b = slice.bytes;
    (b.len() >= 8 && u16::from_ne_bytes([b[0], b[1]]) == 2)
        .then(|| ([b[4], b[5], b[6], b[7]], u16::from_be_bytes([b[2], b[3]])))
}

fn sockets(o: &Observed<'_>, r: &mut Report) {
    let connects: Vec<_> =
        o.kind(Kind::SecuritySocketConnect).filter_map(|c| Some((c, c.body::<Connect>()?))).collect();
    let binds: Vec<_> = o.kind(Kind::SecuritySocketBind).filter_map(|c| Some((c, c.body::<Bind>()?))).collect();
    let to = |address: [u8; 4], port: u64| {
        connects
            .iter()
            .filter(|(c, _)| v4(c.slice(Connect::REMOTE)).is_some_and(|(a, p)| a == address && u64::from(p) == port))
            .collect::<Vec<_>>()
    };
    let port = o.number("listen-port");
    let tcp = to([127, 0, 0, 1], port);
    r.that(
        "connect: TCP once, with descriptor and type",
        tcp.len() == 1
            && tcp[0].1.type_ == 1
            && tcp[0].1.protocol == 6
            && u64::from(tcp[0].1.fd.cast_unsigned()) == o.number("connect-fd"),
        || format!("{tcp:?}"),
    );
    r.that(
        "connect: address from the kernel",
        tcp.first().is_some_and(|(c, _)| !c.slice(Connect::REMOTE).flags.has(SliceFlags::USER_MEMORY)),
        String::new,
    );
    if !o.on_kprobe {
        r.that(
            "connect: hook named",
            tcp.first().is_some_and(|(c, _)| c.hook() == Some(Hook::InetSockSetState)),
            || format!("{tcp:?}"),
        );
    }
    let refused = to([127, 0, 0, 1], o.number("refused-port"));
    r.that("connect: refused, once", refused.len() == 1, || format!("{refused:?}"));
    let udp = to([127, 0, 0, 2], 5353);
    r.that(
        "connect: UDP",
        udp.len() == 1 && udp[0].1.type_ == 2 && (o.on_kprobe || (udp[0].1.result_known == 1 && udp[0].1.result == 0)),
        || format!("{udp:?}"),
    );
    if o.facts.contains_key("six-port") {
        let six = connects
            .iter()
            .filter(|(c, b)| {
                let a = c.slice(Connect::REMOTE).bytes;
                b.family == 10
                    && a.len() == 28
                    && a[8..23].iter().all(|&x| x == 0)
                    && a[23] == 1
                    && u64::from(u16::from_be_bytes([a[2], a[3]])) == o.number("six-port")
            })
            .count();
        r.that("connect: IPv6", six == 1, || six.to_string());
    }
    let unix: Vec<_> = connects.iter().filter(|(_, b)| b.family == 1).collect();
    r.that(
        "connect: AF_UNIX path",
        unix.len() == 1 && unix[0].0.slice(Connect::REMOTE).bytes.get(2..8) == Some(b"socket"),
        || format!("{unix:?}"),
    );
    let listen = binds.iter().find(|(_, b)| u64::from(b.fd.cast_unsigned()) == o.number("listen-fd"));
    r.that(
        "bind: descriptor and address",
        listen.is_some_and(|(b, body)| {
            let expected = if o.on_kprobe { 0 } else { port };
            body.type_ == 1
                && v4(b.slice(Bind::LOCAL)).is_some_and(|(a, p)| a == [127, 0, 0, 1] && u64::from(p) == expected)
        }),
        || format!("{listen:?} {:?}", listen.map(|l| v4(l.0.slice(Bind::LOCAL)))),
    );
    let names: Vec<_> = binds.iter().filter(|(_, b)| b.family == 1).map(|(b, _)| b.slice(Bind::LOCAL).bytes).collect();
    r.that(
        "bind: AF_UNIX path and abstract name",
        names.iter().any(|n| n.get(2..8) == Some(b"socket"))
            && names.iter().any(|n| n.get(2..15) == Some(b"\0picket-test-")),
        || format!("{:?}", names.iter().map(|n| text(n)).collect::<Vec<_>>()),
    );
}

fn seeds(o: &Observed<'_>, r: &mut Report) {
    let mine = o.seeds.iter().find(|s| s.header().pid == std::process::id());
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default().into_os_string().into_encoded_bytes();
    r.that("seed: we are in it, with our path", mine.is_some_and(|s| s.slice(Seed::PATHNAME).bytes == exe), || {
        mine.map_or("missing".to_owned(), |s| show(s.slice(Seed::PATHNAME)))
    });
    let start = o.kind(Kind::SchedProcessExec).next().map(|e| e.header().parent_start);
    r.that(
        "seed: our start time is the one events name as the parent's",
        mine.map(|s| s.header().leader_start) == start,
        || format!("{:?} {start:?}", mine.map(|s| s.header().leader_start)),
    );
    let lost: Vec<_> = o.lasting.iter().filter(|pid| !o.seeds.iter().any(|s| s.header().pid == **pid)).collect();
    r.that("seed: every lasting process is in it", lost.is_empty() && !o.lasting.is_empty(), || format!("{lost:?}"));
    let kernel = o.seeds.iter().find(|s| s.header().pid == 2);
    if let Some(kernel) = kernel {
        r.that(
            "seed: a kernel thread has no path",
            kernel.flags().has(Flags::KERNEL_THREAD) && kernel.slice(Seed::PATHNAME).status == Status::Absent,
            || show(kernel.slice(Seed::PATHNAME)),
        );
    }
    r.that(
        "seed: leaders only, once each",
        {
            let mut pids: Vec<_> = o.seeds.iter().map(|s| s.header().pid).collect();
            let n = pids.len();
            pids.sort_unstable();
            pids.dedup();
            pids.len() == n && o.seeds.iter().all(|s| s.header().pid == s.header().tid)
        },
        String::new,
    );
}

/// The sensor's own operations make no records, unlike its processes.
fn own(o: &Observed<'_>, r: &mut Report) {
    let kinds: Vec<_> = o.of(std::process::id()).map(Record::kind).collect();
    r.that("own: no operation of ours", kinds.iter().all(|kind| kind.class() != Class::Bulk), || format!("{kinds:?}"));
    r.that("own: but the process we started", kinds.contains(&Kind::SchedProcessFork), || format!("{kinds:?}"));
}

/// With some kinds wanted only those come, filtered; with none, the hooks are gone.
pub fn filters(name: &str, pid: u32, records: &[Record<'_>], before: &Counters, after: &Counters, r: &mut Report) {
    let of = |kind: Kind| records.iter().filter(move |x| x.kind() == kind && x.header().pid == pid);
    let n = |kind| of(kind).count();
    r.that(
        &format!("{name}: lifecycle stays"),
        n(Kind::SchedProcessFork) > 0 && n(Kind::SchedProcessExit) == 1,
        || format!("{} forks, {} exits", n(Kind::SchedProcessFork), n(Kind::SchedProcessExit)),
    );
    r.that(
        &format!("{name}: neither bind nor unlink"),
        n(Kind::SecuritySocketBind) + n(Kind::SecurityInodeUnlink) == 0,
        String::new,
    );
    let (opens, connects) = (n(Kind::SecurityFileOpen), n(Kind::SecuritySocketConnect));
    if name == "none" {
        r.that("none: nothing else", opens + connects == 0, || format!("{opens} {connects}"));
        let runs = |c: &Counters| -> u64 {
            c.kinds.iter().filter(|(k, _)| k.class() == Class::Bulk).map(|(_, n)| n.run).sum()
        };
        r.that("none: no hook runs", runs(before) == runs(after), || format!("{} {}", runs(before), runs(after)));
        return;
    }
    let changes = of(Kind::SecurityFileOpen)
        .filter_map(Record::body::<Open>)
        .all(|b| b.f_mode & 2 != 0 || b.created == 1 || b.flags & 0o1000 != 0);
    r.that("some: opens that change, only", changes && opens > 0, || opens.to_string());
    let inet = of(Kind::SecuritySocketConnect).filter_map(Record::body::<Connect>).all(|b| b.family != 1);
    r.that("some: connects but AF_UNIX", inet && connects > 0, || connects.to_string());
}

/// The account closes, whatever happened.
pub fn counters(c: &Counters, r: &mut Report) {
    for (kind, n) in &c.kinds {
        let sum = n.submitted + n.filtered.values().sum::<u64>() + n.dropped.values().sum::<u64>();
        r.that(&format!("account of {}: run = filtered + dropped + submitted", kind.name()), n.run == sum, || {
            format!("{n:?}")
        });
        if kind.class() == Class::Lifecycle {
            r.that(&format!("nothing of {} is lost", kind.name()), n.dropped.values().all(|&n| n == 0), || {
                format!("{n:?}")
            });
        }
    }
    let misses: u64 = c.missed.values().sum();
    r.that("no run was skipped", misses == 0, || format!("{:?}", c.missed));
}

/// What the flood test counts as it reads.
pub struct FloodSeen {
    pid: u32,
    pub forks: u32,
    pub execs: u32,
    pub exits: u32,
    pub opens: u64,
}

impl FloodSeen {
    pub fn new(pid: u32) -> FloodSeen {
        FloodSeen { pid, forks: 0, execs: 0, exits: 0, opens: 0 }
    }
    pub fn add(&mut self, record: &Record<'_>) {
        let h = record.header();
        match record.kind() {
            Kind::SchedProcessFork => self.forks += u32::from(h.pid == self.pid),
            Kind::SchedProcessExec => self.execs += u32::from(h.ppid == self.pid),
            Kind::SchedProcessExit => self.exits += u32::from(h.ppid == self.pid),
            Kind::SecurityFileOpen => self.opens += u64::from(h.pid == self.pid),
            _ => {}
        }
    }
}

pub fn flood(seen: &FloodSeen, succeeded: bool, c: &Counters, r: &mut Report) {
    r.that("the generator succeeded", succeeded, String::new);
    for (name, n) in [("forks", seen.forks), ("execs", seen.execs), ("exits", seen.exits)] {
        r.that(&format!("{name}: every one the generator made"), n == FLOOD_CHILDREN, || {
            format!("{n} of {FLOOD_CHILDREN}")
        });
    }
    let open = &c.kinds[&Kind::SecurityFileOpen];
    let shed = open.dropped["headroom"];
    println!("  flood: {} opens read, {shed} shed, {} run", seen.opens, open.run);
    r.that("opens are shed", shed > 0, || format!("{open:?}"));
    r.that("opens: read and shed make all", seen.opens + shed >= FLOOD_OPENS, || format!("{} + {shed}", seen.opens));
}
