//! System calls about processes, owners, mounts and namespaces.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt, PermissionsExt},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use picket_ebpf::{
    Flags, Kind, Layout, Record, SliceFlags,
    kind::{
        chown::Chown, commit_creds::CommitCreds, fchownat::Fchownat, kill::Kill, mount::Mount, ptrace::Ptrace,
        switch_task_ns::SwitchTaskNs, unlink::Unlink,
    },
};

use crate::checks::{Observed, Report, show, text};

/// Nobody, and the signals that tell the calls apart.
const NOBODY: u32 = 65_534;
const SIGNALS: [i32; 5] = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD, libc::SIGCONT, libc::SIGTERM];

pub fn act(dir: &Path) -> io::Result<()> {
    signals()?;
    tracing()?;
    owners(dir)?;
    removals()?;
    // Namespaces belong to threads, and what is mounted in them goes with the last one.
    thread::spawn(mounts).join().map_err(|_| io::Error::other("thread"))??;
    thread::spawn(identity).join().map_err(|_| io::Error::other("thread"))??;
    user_namespace()
}

/// The result of a raw call.
fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A child that does nothing until it is killed: it reads from a pipe that nobody writes to.
fn idle() -> io::Result<Child> {
    super::spawned(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()))
}

fn signals() -> io::Result<()> {
    let mut child = idle()?;
    let pid = child.id().cast_signed();
    println!("signalled {pid}");
    let info = [0u8; 128];
    // SAFETY: signals to a child of our own that is not waited for yet; `info` is as large as the kernel reads.
    unsafe {
        let pidfd = checked(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        checked(libc::syscall(libc::SYS_tkill, pid, SIGNALS[0]))?;
        checked(libc::syscall(libc::SYS_tgkill, pid, pid, SIGNALS[1]))?;
        checked(libc::syscall(libc::SYS_pidfd_send_signal, pidfd, SIGNALS[2], 0, 0))?;
        let mut queued = info;
        // a code below 0 is what a process may send
        queued[8..12].copy_from_slice(&(-1i32).to_ne_bytes());
        checked(libc::syscall(libc::SYS_rt_sigqueueinfo, pid, SIGNALS[3], queued.as_ptr()))?;
        checked(i64::from(libc::kill(pid, SIGNALS[4])))?;
        libc::close(pidfd as i32);
        child.wait()?;
        assert!(libc::kill(pid, 0) < 0);
        // a thread signals its own process
        checked(libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), SIGNALS[0]))?;
    }
    Ok(())
}

fn tracing() -> io::Result<()> {
    let mut child = idle()?;
    let pid = child.id().cast_signed();
    // The first mapping of a program comes a little after its name.
    let maps = File::open(format!("/proc/{pid}/maps"))?;
    let mut line = [0; 64];
    let start = loop {
        let read = maps.read_at(&mut line, 0)?;
        if let Some((start, _)) = String::from_utf8_lossy(&line[..read]).split_once('-') {
            break usize::from_str_radix(start, 16).map_err(io::Error::other)?;
        }
        thread::yield_now();
    };
    println!("traced {pid}");
    println!("traced-exe {}", fs::read_link(format!("/proc/{pid}/exe"))?.display());
    let mut bytes = [0u8; 4];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: start as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: reads four bytes of a child into a buffer of four, and traces the child until it is killed.
    unsafe {
        assert_eq!(libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0), 4);
        checked(libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0))?;
        // not reported: it changes nothing
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKDATA, pid, 0, 0);
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn owners(dir: &Path) -> io::Result<()> {
    let file = File::create("owned")?;
    let at = CString::new("owned").map_err(io::Error::other)?;
    let here = File::open(".")?;
    std::os::unix::fs::chown(dir.join("owned"), Some(1), Some(2))?;
    std::os::unix::fs::lchown("owned", Some(3), None)?;
    std::os::unix::fs::fchown(&file, None, Some(4))?;
    // SAFETY: a NUL-terminated name and a descriptor of our own.
    checked(unsafe { libc::fchownat(here.as_raw_fd(), at.as_ptr(), 5, 6, libc::AT_SYMLINK_NOFOLLOW) }.into())?;
    assert!(std::os::unix::fs::chown("missing", Some(7), Some(7)).is_err());
    #[cfg(target_arch = "x86_64")]
    {
        const I386_CHOWN16: u64 = 182;
        if crate::compat::call(I386_CHOWN16, &dir.join("owned"), None, 0xffff, 8).is_ok() {
            println!("compat-chown 1");
        }
    }
    println!("owned-fd {}", here.as_raw_fd());
    Ok(())
}

fn removals() -> io::Result<()> {
    let name = CString::new("by-at").map_err(io::Error::other)?;
    for name in ["by-unlink", "by-at"] {
        File::create(name)?;
    }
    let here = File::open(".")?;
    fs::remove_file("by-unlink")?;
    // SAFETY: a NUL-terminated name and a descriptor of our own.
    checked(unsafe { libc::unlinkat(here.as_raw_fd(), name.as_ptr(), 0) }.into())?;
    fs::create_dir("by-rmdir")?;
    fs::remove_dir("by-rmdir")
}

fn mount(source: Option<&str>, target: &str, fstype: Option<&str>, flags: u64) -> io::Result<()> {
    let text = |t: &str| CString::new(t).map_err(io::Error::other);
    let (source, target) = (source.map(text).transpose()?, text(target)?);
    let fstype = fstype.map(text).transpose()?;
    let at = |t: &Option<CString>| t.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
    // SAFETY: NUL-terminated texts or null, as mount takes them.
    checked(unsafe { libc::mount(at(&source), target.as_ptr(), at(&fstype), flags, std::ptr::null()) }.into())?;
    Ok(())
}

fn mounts() -> io::Result<()> {
    const CLONE_TREE: u32 = 1;
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    const ATTR_NOEXEC: u32 = 8;
    const EMPTY_PATH: u32 = 4;
    let uts = File::open("/proc/thread-self/ns/uts")?;
    println!("uts {}", uts.metadata()?.ino());
    // SAFETY: changes this thread's namespaces only.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS) }.into())?;
    println!("unshared-mnt {}", fs::metadata("/proc/thread-self/ns/mnt")?.ino());
    println!("unshared-uts {}", fs::metadata("/proc/thread-self/ns/uts")?.ino());
    // SAFETY: likewise.
    checked(unsafe { libc::setns(uts.as_raw_fd(), 0) }.into())?;
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE)?;
    for place in ["m", "n", "bound", "cloned", "m-missing"] {
        fs::create_dir(place)?;
    }
    fs::remove_dir("m-missing")?;
    mount(Some("picket-m"), "m", Some("tmpfs"), libc::MS_NODEV)?;
    assert!(mount(Some("picket-m"), "m-missing", Some("tmpfs"), 0).is_err());
    fs::create_dir("m/inside")?;
    mount(Some("m/inside"), "bound", None, libc::MS_BIND)?;

    let text = |t: &str| CString::new(t).map_err(io::Error::other);
    let (fstype, key, value) = (text("tmpfs")?, text("source")?, text("picket-n")?);
    let (empty, to, inside, cloned) = (text("")?, text("n")?, text("m/inside")?, text("cloned")?);
    // SAFETY: NUL-terminated texts, and descriptors that the kernel has just given.
    unsafe {
        let context = OwnedFd::from_raw_fd(checked(libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), 0))? as i32);
        checked(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), SET_STRING, key.as_ptr(), value.as_ptr(), 0))?;
        checked(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, 0, 0, 0))?;
        let made = checked(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 0, ATTR_NOEXEC))?;
        let made = OwnedFd::from_raw_fd(made as i32);
        let (from, here) = (empty.as_ptr(), libc::AT_FDCWD);
        checked(libc::syscall(libc::SYS_move_mount, made.as_raw_fd(), from, here, to.as_ptr(), EMPTY_PATH))?;
        let tree = checked(libc::syscall(libc::SYS_open_tree, here, inside.as_ptr(), CLONE_TREE))?;
        let tree = OwnedFd::from_raw_fd(tree as i32);
        checked(libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), from, here, cloned.as_ptr(), EMPTY_PATH))?;
    }
    set_user_id()
}

/// A set-user-id program, on a file system that only this thread sees.
fn set_user_id() -> io::Result<()> {
    let program = Path::new("m/as-root");
    fs::copy("/proc/self/exe", program)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o4755))?;
    fs::set_permissions("m", fs::Permissions::from_mode(0o755))?;
    let status = Command::new(program).args(["--exit", "0", "set-user-id"]).uid(NOBODY).gid(NOBODY).status()?;
    assert!(status.success());
    Ok(())
}

/// Another effective user and back; as raw calls, which change this thread only.
fn identity() -> io::Result<()> {
    let keep = u32::MAX;
    // SAFETY: no memory is passed.
    unsafe {
        checked(libc::syscall(libc::SYS_setresuid, keep, NOBODY, keep))?;
        checked(libc::syscall(libc::SYS_setresuid, keep, 0, keep))?;
        checked(libc::syscall(libc::SYS_setresuid, keep, 0, keep))?; // changes nothing
    }
    Ok(())
}

fn user_namespace() -> io::Result<()> {
    let mut command = Command::new(fs::read_link("/proc/self/exe")?);
    command.args(["--exit", "0", "own users"]).stdin(Stdio::null());
    // SAFETY: one system call that allocates nothing, in the child.
    unsafe { command.pre_exec(|| checked(libc::unshare(libc::CLONE_NEWUSER).into()).map(|_| ())) };
    match command.status() {
        Ok(status) => assert!(status.success()),
        Err(error) => println!("user-namespace-unavailable {error}"),
    }
    Ok(())
}

/// The actor's records of a kind with their bodies.
fn of<'o, B: Layout>(o: &'o Observed<'_>, kind: Kind) -> Vec<(&'o Record<'o>, B)> {
    o.kind(kind).filter_map(|r| Some((r, r.body::<B>()?))).collect()
}

pub fn check(o: &Observed<'_>, r: &mut Report) {
    check_signals(o, r);
    check_tracing(o, r);
    check_owners(o, r);
    check_removals(o, r);
    check_mounts(o, r);
    check_namespaces(o, r);
    check_identity(o, r);
}

fn check_signals(o: &Observed<'_>, r: &mut Report) {
    let kills = of::<Kill>(o, Kind::Kill);
    let pid = o.number("signalled");
    let calls = ["tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "kill"];
    for (call, sig) in calls.into_iter().zip(SIGNALS) {
        let found: Vec<_> = kills
            .iter()
            .filter(|(_, b)| Kill::CALLS[usize::from(b.call)] == call && b.sig == sig && b.target_known == 1)
            .filter(|(_, b)| {
                u64::from(b.target_pid) == pid && b.pid_known == 1 && u64::from(b.pid.cast_unsigned()) == pid
            })
            .collect();
        r.that(
            &format!("signal by {call}: once, its target found"),
            found.len() == 1 && found[0].1.result == 0,
            || format!("{found:?} among {kills:?}"),
        );
    }
    let exe = kills.iter().find(|(k, b)| {
        let name = k.slice(Kill::TARGET_EXE).bytes;
        b.sig == SIGNALS[0] && (name.ends_with(b"/cat") || name.ends_with(b"/busybox") || name.ends_with(b"ebpf_live"))
    });
    r.that("signal: executable of the target", exe.is_some(), || {
        format!("{:?}", kills.iter().map(|(k, _)| show(k.slice(Kill::TARGET_EXE))).collect::<Vec<_>>())
    });
    let asked: Vec<_> = kills.iter().filter(|(_, b)| b.sig == 0).collect();
    r.that(
        "signal: a failure says so, and has no target",
        asked.len() == 1 && asked[0].1.result == -libc::ESRCH && asked[0].1.target_known == 0,
        || format!("{asked:?}"),
    );
    let own = kills.iter().filter(|(_, b)| b.target_known == 1 && b.target_pid == o.pid).count();
    r.that("signal: threads among themselves are left out", own == 0, || own.to_string());
}

fn check_tracing(o: &Observed<'_>, r: &mut Report) {
    let traces = of::<Ptrace>(o, Kind::Ptrace);
    let exe = o.facts.get("traced-exe").map(String::as_bytes).unwrap_or_default();
    let aimed = |b: &Ptrace| u64::from(b.target_pid) == o.number("traced") && b.target_known == 1;
    let read = traces.iter().find(|(_, b)| Ptrace::CALLS[usize::from(b.call)] == "process_vm_readv");
    r.that(
        "trace: memory read, with target and result",
        read.is_some_and(|(t, b)| aimed(b) && b.result == 4 && t.slice(Ptrace::TARGET_EXE).bytes == exe),
        || format!("{read:?}"),
    );
    let seized: Vec<_> = traces.iter().filter(|(_, b)| b.call == 0).collect();
    r.that(
        "trace: what begins it, and nothing that only looks",
        seized.len() == 1 && seized[0].1.request == 0x4206 && aimed(&seized[0].1) && seized[0].1.result == 0,
        || format!("{seized:?}"),
    );
}

fn check_owners(o: &Observed<'_>, r: &mut Report) {
    let chowns = of::<Chown>(o, Kind::Chown);
    let said = |b: &Chown| (Chown::CALLS[usize::from(b.call)], b.owner, b.group);
    let mut wanted = vec![("chown", 1, 2), ("lchown", 3, -1), ("fchown", -1, 4)];
    if o.facts.contains_key("compat-chown") {
        wanted.push(("chown", -1, 8));
    }
    let got: Vec<_> = chowns.iter().map(|(_, b)| said(b)).collect();
    r.that("owner: each success, in its order", got == wanted, || format!("{got:?}"));
    let paths: Vec<_> = chowns.iter().map(|(c, _)| c.slice(Chown::PATHNAME)).collect();
    let path = o.path("owned");
    r.that(
        "owner: paths given, and joined by their base; the kernel's own for a descriptor",
        paths.len() >= 3
            && paths[0].bytes == path
            && paths[1].bytes == b"owned"
            && chowns[1].0.slice(Chown::BASE).bytes == o.dir.as_os_str().as_bytes()
            && paths[1].flags.has(SliceFlags::USER_MEMORY | SliceFlags::AS_GIVEN)
            && paths[2].bytes == path
            && !paths[2].flags.has(SliceFlags::USER_MEMORY),
        || format!("{:?}", paths.iter().map(|p| show(*p)).collect::<Vec<_>>()),
    );
    if o.facts.contains_key("compat-chown") {
        r.that(
            "owner by int 0x80: told apart",
            chowns.last().is_some_and(|(c, _)| c.flags().has(Flags::COMPAT) && c.slice(Chown::PATHNAME).bytes == path),
            || format!("{:?}", chowns.last()),
        );
    }
    let at = of::<Fchownat>(o, Kind::Fchownat);
    r.that(
        "owner by directory: everything",
        at.len() == 1
            && u64::from(at[0].1.dirfd.cast_unsigned()) == o.number("owned-fd")
            && (at[0].1.owner, at[0].1.group, at[0].1.flags) == (5, 6, 0x100)
            && at[0].0.slice(Fchownat::PATHNAME).bytes == b"owned"
            && at[0].0.slice(Fchownat::BASE).bytes == o.dir.as_os_str().as_bytes(),
        || format!("{at:?}"),
    );
}

fn check_removals(o: &Observed<'_>, r: &mut Report) {
    let removals = of::<Unlink>(o, Kind::Unlink);
    let names = |name: &[u8]| -> Vec<&str> {
        let of_name = removals.iter().filter(|(u, _)| u.slice(Unlink::PATHNAME).bytes == name);
        of_name.map(|(_, b)| Unlink::CALLS[usize::from(b.call)]).collect()
    };
    r.that(
        "removal: by either call, once",
        names(b"by-unlink") == ["unlink"] && names(b"by-at") == ["unlinkat"],
        || format!("{:?}", removals.iter().map(|(u, _)| show(u.slice(Unlink::PATHNAME))).collect::<Vec<_>>()),
    );
    r.that("removal: no directory", names(b"by-rmdir").is_empty(), String::new);
    let both = o.kind(Kind::SecurityInodeUnlink).count();
    r.that("removal: the kind beside it still sees its own", both >= removals.len(), || {
        format!("{both} of {}", removals.len())
    });
}

fn check_mounts(o: &Observed<'_>, r: &mut Report) {
    let mounts = of::<Mount>(o, Kind::Mount);
    let describe = || {
        let one = |(m, b): &(&Record<'_>, Mount)| {
            let slices = [Mount::SOURCE, Mount::TARGET, Mount::FILESYSTEMTYPE, Mount::BASE, Mount::ROOT];
            format!("{:?} {:#x}", slices.map(|s| text(m.slice(s).bytes)), b.flags)
        };
        mounts.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let by = |call: &str, target: &[u8]| {
        let found = mounts
            .iter()
            .find(|(m, b)| Mount::CALLS[usize::from(b.call)] == call && m.slice(Mount::TARGET).bytes == target);
        found.map(|(m, b)| (*m, *b))
    };
    let plain = by("mount", b"m");
    r.that(
        "mount: source, target, type, flags",
        plain.is_some_and(|(m, b)| {
            m.slice(Mount::SOURCE).bytes == b"picket-m"
                && m.slice(Mount::FILESYSTEMTYPE).bytes == b"tmpfs"
                && m.slice(Mount::BASE).bytes == o.dir.as_os_str().as_bytes()
                && b.flags == libc::MS_NODEV
                && b.data_known == 1
        }),
        describe,
    );
    let bound = by("mount", b"bound");
    r.that(
        "mount: bind",
        bound.is_some_and(|(m, b)| {
            m.slice(Mount::SOURCE).bytes == b"m/inside"
                && m.slice(Mount::FILESYSTEMTYPE).present().is_none()
                && b.flags == libc::MS_BIND
        }),
        describe,
    );
    let modern = by("move_mount", &o.path("n"));
    r.that(
        "mount by fsopen and move_mount: from the kernel's mount",
        modern.is_some_and(|(m, b)| {
            m.slice(Mount::SOURCE).bytes == b"picket-n"
                && m.slice(Mount::FILESYSTEMTYPE).bytes == b"tmpfs"
                && m.slice(Mount::ROOT).present().is_none()
                && b.flags & libc::MS_NOEXEC != 0
                && !m.slice(Mount::TARGET).flags.has(SliceFlags::USER_MEMORY)
        }),
        describe,
    );
    let cloned = by("move_mount", &o.path("cloned"));
    r.that(
        "mount of a cloned tree: its root inside the file system",
        cloned.is_some_and(|(m, _)| {
            m.slice(Mount::SOURCE).bytes == b"picket-m" && m.slice(Mount::ROOT).bytes == b"/inside"
        }),
        describe,
    );
    let failed = mounts.iter().any(|(m, _)| m.slice(Mount::TARGET).bytes.ends_with(b"m-missing"));
    r.that("mount: a failure is none", !failed && mounts.len() >= 5, describe);
}

fn check_namespaces(o: &Observed<'_>, r: &mut Report) {
    let switches = of::<SwitchTaskNs>(o, Kind::SwitchTaskNs);
    let unshared = switches.iter().find(|(_, b)| SwitchTaskNs::CALLS[usize::from(b.call)] == "unshare");
    r.that(
        "namespace: unshare names what it was about",
        unshared.is_some_and(|(_, b)| {
            u64::from(b.mnt) == o.number("unshared-mnt")
                && u64::from(b.uts) == o.number("unshared-uts")
                && (b.pid, b.ipc, b.net, b.cgroup, b.user) == (0, 0, 0, 0, 0)
        }),
        || format!("{switches:?}"),
    );
    let entered = switches.iter().find(|(_, b)| SwitchTaskNs::CALLS[usize::from(b.call)] == "setns");
    r.that(
        "namespace: setns without flags names the file's",
        entered.is_some_and(|(_, b)| u64::from(b.uts) == o.number("uts") && b.mnt == 0 && b.flags == 0),
        || format!("{switches:?}"),
    );
}

fn check_identity(o: &Observed<'_>, r: &mut Report) {
    let changes = of::<CommitCreds>(o, Kind::CommitCreds);
    let ids: Vec<_> = changes.iter().map(|(_, b)| (b.before.euid, b.after.euid)).collect();
    r.that("credentials: another user and back, and no third change", ids == [(0, NOBODY), (NOBODY, 0)], || {
        format!("{changes:?}")
    });
    let back = changes.get(1).map(|(_, b)| *b);
    r.that(
        "credentials: capabilities come back with the user",
        back.is_some_and(|b| {
            b.before.effective == 0 && b.after.effective != 0 && b.after.permitted == b.before.permitted
        }),
        || format!("{back:?}"),
    );
    let of_child = |needle: &str| -> Vec<CommitCreds> {
        let pid = o.exec(needle).map_or(0, |(e, _)| e.header().pid);
        o.of(pid).filter(|r| r.kind() == Kind::CommitCreds).filter_map(Record::body).collect()
    };
    let raised = of_child("set-user-id");
    r.that(
        "credentials: a set-user-id program",
        raised.last().is_some_and(|b| {
            (b.before.euid, b.after.euid, b.after.uid) == (NOBODY, 0, NOBODY)
                && (o.on_kprobe || b.call == CommitCreds::EXEC)
        }),
        || format!("{raised:?}"),
    );
    if !o.facts.contains_key("user-namespace-unavailable") {
        let owned = of_child("own users");
        r.that(
            "credentials: a user namespace of its own, with capabilities",
            owned.first().is_some_and(|b| b.before.user_ns != b.after.user_ns && b.after.effective != 0),
            || format!("{owned:?}"),
        );
    }
}
