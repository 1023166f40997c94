//! Code that gets into the kernel or into memory, and facts about what is executed.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    net::TcpListener,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
    process::{Command, Stdio},
    ptr,
};

use picket_ebpf::{
    Kind, Record, SliceFlags, Status,
    kind::{
        bpf_attach::Attach, memfd_create::Memfd, module_free::ModuleFree, module_load::ModuleLoad,
        sched_process_exec::Exec, sched_process_exit::Exit, sched_process_fork::Fork, security_file_mprotect::Mprotect,
        security_mmap_file::Mmap, socket_dup::Dup,
    },
};

use crate::checks::{Observed, Report, contains, show};

/// Where a virtual machine may have a module for us.
const MODULE: &str = "/root/test.ko";
/// A value that no record may hold.
const SECRET: &str = "correct-horse-battery";

pub fn act(dir: &Path) -> io::Result<()> {
    facts()?;
    descriptors()?;
    executables(dir)?;
    if let Err(error) = overlay(dir) {
        println!("overlay-unavailable {error}");
    }
    memory()?;
    if let Err(error) = crate::bpf::act() {
        println!("bpf-unavailable {error}");
    }
    match module() {
        Ok(()) => println!("module-loaded 1"),
        Err(error) => println!("module-unavailable {error}"),
    }
    Ok(())
}

/// What /proc says about us, to compare.
fn facts() -> io::Result<()> {
    for name in ["mnt", "pid", "net", "user", "cgroup", "uts", "ipc"] {
        println!("ns-{name} {}", fs::metadata(format!("/proc/self/ns/{name}")).map_or(0, |m| m.ino()));
    }
    // SAFETY: no memory is involved.
    println!("session {}", unsafe { libc::getsid(0) });
    let status = fs::read_to_string("/proc/self/status")?;
    for (fact, key) in [("cap-effective", "CapEff:"), ("cap-permitted", "CapPrm:")] {
        let hex = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        println!("{fact} {}", u64::from_str_radix(hex, 16).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// A program whose standard descriptors are a socket, with an environment of which little may be seen.
fn descriptors() -> io::Result<()> {
    let me = fs::read_link("/proc/self/exe")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("shell-port {}", listener.local_addr()?.port());
    let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    let copy = || stream.try_clone().map(|s| Stdio::from(OwnedFd::from(s)));
    // The second kilobyte of a long value begins like a variable that is collected.
    let long = format!("{}LD_AUDIT=/not-a-variable", "x".repeat(1024 - "LONG=".len()));
    let mut command = Command::new(&me);
    command.args(["--exit", "0", "by socket"]).stdin(copy()?).stdout(copy()?).stderr(copy()?).env_clear();
    command.env("LONG", long).env("PASSWORD", SECRET).env("LD_LIBRARY_PATH", "/nonexistent");
    command.env("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22").env("LD_PRELOADED", SECRET).env("ZZZ", SECRET);
    command.status()?;
    Command::new(&me).args(["--exit", "0", "no socket"]).stdin(Stdio::null()).env_clear().status()?;
    Ok(())
}

fn executables(dir: &Path) -> io::Result<()> {
    let me = fs::read_link("/proc/self/exe")?;
    let path = dir.join("setuid");
    fs::copy(&me, &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755))?;
    let open = File::open(&path)?;
    fs::remove_file(&path)?;
    let through = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    Command::new(through).args(["--exit", "0", "no name"]).stdin(Stdio::null()).status()?;
    // ended by a signal
    let mut child = super::spawned(Command::new("sleep").arg("1000").stdin(Stdio::null()))?;
    println!("killed-pid {}", child.id());
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// One program of an overlay's lower layer and one of its upper, in mounts that end with a thread's namespace.
fn overlay(dir: &Path) -> io::Result<()> {
    let place = dir.join("overlay");
    fs::create_dir(&place)?;
    let run = move || -> io::Result<()> {
        let mount = |kind: &str, flags: libc::c_ulong, data: &str, at: &Path| {
            let text = |s: &str| CString::new(s).map_err(io::Error::other);
            let (kind, data, at) = (text(kind)?, text(data)?, text(&at.to_string_lossy())?);
            // SAFETY: every pointer is to a NUL-terminated text that lives until the call returns.
            let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: changes only the namespace of this thread, which ends with it.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        mount("none", libc::MS_REC | libc::MS_PRIVATE, "", Path::new("/"))?;
        mount("tmpfs", 0, "", &place)?;
        let at = |name: &str| place.join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(at(name))?;
        }
        let me = fs::read_link("/proc/self/exe")?;
        fs::copy(&me, at("lower/program"))?;
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower").display(),
            at("upper").display(),
            at("work").display()
        );
        mount("overlay", 0, &data, &at("merged"))?;
        fs::copy(&me, at("merged/added"))?;
        let run = |name: &str, says: &str| {
            Command::new(at(name)).args(["--exit", "0", says]).stdin(Stdio::null()).status().map(|_| ())
        };
        run("merged/program", "lower layer")?;
        run("merged/added", "upper layer")
    };
    std::thread::spawn(run).join().map_err(|_| io::Error::other("thread"))?
}

/// Maps memory and makes it executable; nothing is executed there.
fn memory() -> io::Result<()> {
    const PAGE: usize = 4096;
    let file = File::open("/proc/self/exe")?;
    println!("mapped-inode {}", file.metadata()?.ino());
    let map = |prot, flags, fd| -> io::Result<*mut libc::c_void> {
        // SAFETY: a new mapping at a place the kernel chooses.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE, prot, flags, fd, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
    };
    let (read, write, exec) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    let code = map(read | exec, libc::MAP_PRIVATE, file.as_raw_fd())?;
    let anonymous = map(read | write, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    let data = map(read | write, libc::MAP_PRIVATE, file.as_raw_fd())?;
    println!("anonymous-address {}", anonymous as u64);
    println!("data-address {}", data as u64);
    for (at, prot) in [(anonymous, read | exec), (data, read | exec), (code, read)] {
        // SAFETY: the mapping is ours, and nothing else refers to it.
        if unsafe { libc::mprotect(at, PAGE, prot) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for at in [code, anonymous, data] {
        // SAFETY: as above.
        unsafe { libc::munmap(at, PAGE) };
    }
    Ok(())
}

/// Loads a module and removes it, where there is one for us.
fn module() -> io::Result<()> {
    const COMPRESSED: libc::c_int = 4;
    let file = File::open(MODULE).map_err(|_| io::Error::other(format!("no {MODULE} here")))?;
    let load = |flags: libc::c_int| {
        // SAFETY: a descriptor of ours and an empty text.
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), flags) }
    };
    if load(0) != 0 && load(COMPRESSED) != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a NUL-terminated name.
    let removed = unsafe { libc::syscall(libc::SYS_delete_module, c"dummy".as_ptr(), libc::O_NONBLOCK) };
    if removed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub fn check(o: &Observed<'_>, r: &mut Report) {
    task_facts(o, r);
    standard_descriptors(o, r);
    executed_files(o, r);
    exits(o, r);
    mappings(o, r);
    attachments(o, r);
    modules(o, r);
}

fn task_facts(o: &Observed<'_>, r: &mut Report) {
    let exec = o.kind(Kind::SchedProcessExec).next().and_then(Record::body::<Exec>);
    let child = o.kind(Kind::SchedProcessFork).next().and_then(Record::body::<Fork>);
    for (what, facts) in [("exec", exec.map(|b| b.facts)), ("fork", child.map(|b| b.child))] {
        r.that(
            &format!("{what}: capabilities and namespaces as /proc has them"),
            facts.is_some_and(|f| {
                let namespaces = [
                    ("ns-mnt", f.mnt_ns),
                    ("ns-pid", f.pid_ns),
                    ("ns-net", f.net_ns),
                    ("ns-user", f.user_ns),
                    ("ns-cgroup", f.cgroup_ns),
                    ("ns-uts", f.uts_ns),
                    ("ns-ipc", f.ipc_ns),
                ];
                namespaces.iter().all(|(name, inode)| [0, u64::from(*inode)].contains(&o.number(name)))
                    && f.cap_effective == o.number("cap-effective")
                    && f.cap_permitted == o.number("cap-permitted")
                    && u64::from(f.session_leader) == o.number("session")
            }),
            || format!("{facts:?} {:?}", o.facts),
        );
    }
}

fn standard_descriptors(o: &Observed<'_>, r: &mut Report) {
    let port = u16::try_from(o.number("shell-port")).unwrap_or_default();
    let peer = |record: &Record<'_>, slice: usize| {
        let b = record.slice(slice).bytes;
        b.len() >= 8 && b[..2] == 2u16.to_ne_bytes() && b[2..4] == port.to_be_bytes() && b[4..8] == [127, 0, 0, 1]
    };
    let by_socket = o.exec("by socket");
    r.that(
        "exec: sockets behind the standard descriptors, with their peer",
        by_socket.is_some_and(|(e, b)| {
            [Exec::STDIN_ADDRESS, Exec::STDOUT_ADDRESS, Exec::STDERR_ADDRESS].iter().all(|&s| peer(e, s))
                && [Exec::STDIN_PATH, Exec::STDOUT_PATH, Exec::STDERR_PATH]
                    .iter()
                    .all(|&s| e.slice(s).bytes.starts_with(b"socket:["))
                && [b.stdin_type, b.stdout_type, b.stderr_type] == [0o140_000; 3]
                && [b.stdin_family, b.stdout_family, b.stderr_family] == [2; 3]
        }),
        || by_socket.map_or("missing".to_owned(), |(e, b)| format!("{b:?} {}", show(e.slice(Exec::STDOUT_ADDRESS)))),
    );
    r.that(
        "exec: of the environment the variables on the list, nothing else",
        by_socket.is_some_and(|(e, _)| {
            let slice = e.slice(Exec::ENV);
            slice.bytes == b"LD_LIBRARY_PATH=/nonexistent\0SSH_CONNECTION=192.0.2.1 1 192.0.2.2 22\0"
                && slice.status == Status::Ok
                && !contains(e.bytes(), SECRET)
        }),
        || by_socket.map_or("missing".to_owned(), |(e, _)| show(e.slice(Exec::ENV))),
    );
    let plain = o.exec("no socket");
    r.that(
        "exec: no socket, no address; no environment, no variables",
        plain.is_some_and(|(e, b)| {
            b.stdin_family == 0
                && e.slice(Exec::STDIN_ADDRESS).status == Status::Absent
                && e.slice(Exec::ENV).status == Status::Ok
                && e.slice(Exec::ENV).bytes.is_empty()
                && e.slice(Exec::STDOUT_PATH).status == Status::Ok
        }),
        || plain.map_or("missing".to_owned(), |(e, b)| format!("{b:?} {}", show(e.slice(Exec::ENV)))),
    );
    // The child makes the socket its standard descriptors between its fork and its exec.
    let child = by_socket.map(|(e, _)| e.header().pid).unwrap_or_default();
    let mut copies: Vec<_> = o
        .of(child)
        .filter(|x| x.kind() == Kind::SocketDup && peer(x, Dup::REMOTE))
        .filter_map(|x| Some(x.body::<Dup>()?.new_fd))
        .collect();
    copies.dedup();
    r.that("socket_dup: onto each standard descriptor, with the peer", copies == [0, 1, 2], || format!("{copies:?}"));
}

fn executed_files(o: &Observed<'_>, r: &mut Report) {
    let gone = o.exec("no name");
    r.that(
        "exec: a set-id file that has lost its name",
        gone.is_some_and(|(e, b)| {
            let path = e.slice(Exec::PATHNAME);
            path.flags.has(SliceFlags::DELETED)
                && path.bytes == o.path("setuid")
                && b.mode & 0o7777 == 0o6755
                && (b.owner, b.group) == (0, 0)
                && b.exec_flags & Exec::READ_ONLY_MOUNT == 0
        }),
        || gone.map_or("missing".to_owned(), |(e, b)| format!("{b:?} {}", show(e.slice(Exec::PATHNAME)))),
    );
    if let Some(error) = o.facts.get("overlay-unavailable") {
        println!("  skipped: no overlay file system here: {error}");
        return;
    }
    let upper = |says: &str| {
        let mut execs = o.records.iter().filter(|x| x.kind() == Kind::SchedProcessExec);
        let found = execs.find(|x| contains(x.slice(Exec::ARGV).bytes, says));
        found.and_then(Record::body::<Exec>).map(|b| b.exec_flags & Exec::OVERLAY_UPPER != 0)
    };
    let layers = (upper("lower layer"), upper("upper layer"));
    r.that("exec: layers of an overlay", layers == (Some(false), Some(true)), || format!("{layers:?}"));
}

fn exits(o: &Observed<'_>, r: &mut Report) {
    let pid = u32::try_from(o.number("killed-pid")).unwrap_or_default();
    let killed = o.of(pid).find(|x| x.kind() == Kind::SchedProcessExit);
    r.that(
        "exit: by a signal, after it had run",
        killed.is_some_and(|x| {
            x.body::<Exit>().is_some_and(|b| b.exit_code == 9) && x.header().time > x.header().leader_start
        }),
        || format!("{killed:?}"),
    );
}

fn mappings(o: &Observed<'_>, r: &mut Report) {
    let memfd = o.kind(Kind::MemfdCreate).find(|x| x.slice(Memfd::NAME).bytes == b"memfd:picket-test");
    r.that(
        "memfd_create: name and descriptor",
        memfd.and_then(Record::body::<Memfd>).is_some_and(|b| b.fd > 2 && b.inode != 0 && b.flags == 0),
        || format!("{memfd:?}"),
    );
    let exe = fs::read_link("/proc/self/exe").unwrap_or_default().into_os_string().into_encoded_bytes();
    let mapped = o.kind(Kind::SecurityMmapFile).filter(|x| x.slice(Mmap::PATHNAME).bytes == exe);
    let mapped: Vec<_> = mapped.filter_map(Record::body::<Mmap>).collect();
    r.that(
        "mmap: an executable mapping of a file, and only that",
        mapped.len() == 1
            && mapped[0].prot == 5
            && mapped[0].mmap_flags == 2
            && mapped[0].inode == o.number("mapped-inode"),
        || format!("{mapped:?}"),
    );
    let library = o.kind(Kind::SecurityMmapFile).any(|x| contains(x.slice(Mmap::PATHNAME).bytes, "/libc"));
    r.that("mmap: the C library", library, String::new);
    if o.seen(Kind::SecurityFileMprotect) {
        let at = |fact: &str| {
            let wanted = o.number(fact);
            let mut found = o.kind(Kind::SecurityFileMprotect).filter_map(|x| Some((x, x.body::<Mprotect>()?)));
            found.find(|(_, b)| b.address == wanted)
        };
        let before = if o.on_kprobe { 3 } else { -1 };
        let (anonymous, data) = (at("anonymous-address"), at("data-address"));
        r.that(
            "mprotect: anonymous memory",
            anonymous.is_some_and(|(x, b)| {
                x.slice(Mprotect::PATHNAME).status == Status::Absent
                    && (b.mapping_known, b.prot, b.prev_prot, b.length, b.pkey) == (1, 5, before, 4096, -1)
            }),
            || format!("{anonymous:?}"),
        );
        r.that(
            "mprotect: a mapping of a file",
            data.is_some_and(|(x, b)| x.slice(Mprotect::PATHNAME).bytes == exe && b.inode == o.number("mapped-inode")),
            || format!("{data:?}"),
        );
    } else {
        println!("  skipped: this kernel shows no change of protection");
    }
}

fn attachments(o: &Observed<'_>, r: &mut Report) {
    if let Some(error) = o.facts.get("bpf-unavailable") {
        println!("  skipped: no BPF program can be loaded here: {error}");
        return;
    }
    let all: Vec<_> = o.kind(Kind::BpfAttach).filter_map(|x| Some((x, x.body::<Attach>()?))).collect();
    let named = |name: &[u8]| all.iter().find(|(x, _)| x.slice(Attach::PROG_NAME).bytes == name);
    let raw = named(b"picket_raw");
    r.that(
        "bpf_attach: a raw tracepoint, by name",
        raw.is_some_and(|(x, b)| {
            x.slice(Attach::SYMBOL_NAME).bytes == b"sys_enter"
                && (b.prog_type, b.attach_type, b.link_known, b.link_type) == (17, 0, 1, 1)
                && u64::from(b.prog_id) == o.number("bpf-raw-id")
        }),
        || format!("{all:?}"),
    );
    if let Some(error) = o.facts.get("bpf-perf-unavailable") {
        println!("  skipped: no perf event here: {error}");
    } else {
        let perf = named(b"picket_perf");
        r.that(
            "bpf_attach: a perf event",
            perf.is_some_and(|(_, b)| (b.prog_type, b.attach_type, b.link_known) == (7, -1, 0)),
            || format!("{all:?}"),
        );
    }
    if let Some(error) = o.facts.get("bpf-kprobe-unavailable") {
        println!("  skipped: no kprobe here: {error}");
    } else {
        let kprobe = named(b"picket_kprobe");
        r.that(
            "bpf_attach: a kprobe, by the name of its function",
            kprobe.is_some_and(|(x, b)| {
                x.slice(Attach::SYMBOL_NAME).bytes == b"do_nanosleep"
                    && (b.prog_type, b.attach_type, b.address_known) == (2, 2, 1)
                    && b.symbol_address != 0
            }),
            || format!("{all:?}"),
        );
    }
    if let Some(error) = o.facts.get("bpf-tracepoint-unavailable") {
        println!("  skipped: no tracepoint by number here: {error}");
    } else {
        let tracepoint = named(b"picket_trace");
        r.that(
            "bpf_attach: a tracepoint, by its name",
            tracepoint.is_some_and(|(x, b)| {
                x.slice(Attach::SYMBOL_NAME).bytes == b"sched_switch" && (b.prog_type, b.attach_type) == (5, 1)
            }),
            || format!("{all:?}"),
        );
    }
}

fn modules(o: &Observed<'_>, r: &mut Report) {
    if let Some(error) = o.facts.get("module-unavailable") {
        println!("  skipped: no module to load: {error}");
        return;
    }
    let loaded = o.kind(Kind::ModuleLoad).next();
    r.that(
        "module_load: name, file and inode",
        loaded.is_some_and(|x| {
            let inode = fs::metadata(MODULE).map_or(0, |m| m.ino());
            x.slice(ModuleLoad::NAME).bytes == b"dummy"
                && x.slice(ModuleLoad::PATHNAME).bytes == MODULE.as_bytes()
                && x.body::<ModuleLoad>().is_some_and(|b| b.file_known == 1 && b.inode == inode)
        }),
        || {
            loaded.map_or("missing".to_owned(), |x| {
                format!("{:?} {}", x.body::<ModuleLoad>(), show(x.slice(ModuleLoad::PATHNAME)))
            })
        },
    );
    let freed = o.kind(Kind::ModuleFree).any(|x| x.slice(ModuleFree::NAME).bytes == b"dummy");
    r.that("module_free: name", freed, String::new);
}
