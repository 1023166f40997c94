//! Names and modes of files.

use std::{
    env,
    ffi::CString,
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, chroot, symlink},
            net::UnixListener,
        },
    },
    path::Path,
    process::Command,
    ptr,
};

use picket_ebpf::{
    Flags, Hook, Kind, Record, SliceFlags, Status,
    kind::{
        chmod_common::Chmod, security_file_open::Open, security_inode_mknod::Mknod, security_inode_rename::Rename,
        security_inode_symlink::Symlink, security_inode_unlink::Unlink,
    },
};

use crate::{
    checks::{Observed, Report, show, text},
    uring::Ring,
};

/// Everything happens below this directory, so that the checks need not look at what other areas do.
const HERE: &str = "names";
const DEVICE: (u32, u32) = (1, 3);

pub fn act(dir: &Path) -> io::Result<()> {
    let here = dir.join(HERE);
    fs::create_dir(&here)?;
    env::set_current_dir(&here)?;
    renames(&here)?;
    links(&here)?;
    modes(&here)?;
    nodes()?;
    mounts(&here)?;
    in_a_chroot(&here)?;
    by_io_uring()?;
    #[cfg(target_arch = "x86_64")]
    compat(&here)?;
    refused_by_the_file_system()?;
    env::set_current_dir(dir)
}

fn renames(here: &Path) -> io::Result<()> {
    File::create("r1")?;
    println!("renamed-inode {}", fs::metadata("r1")?.ino());
    fs::rename(here.join("r1"), here.join("r2"))?;
    fs::create_dir("sub")?;
    fs::rename("r2", "./sub/../sub/r3")?;
    let sub = File::open("sub")?;
    env::set_current_dir("/")?;
    rename_at(sub.as_raw_fd(), "r3", sub.as_raw_fd(), "r4", 0)?;
    env::set_current_dir(here)?;
    assert!(fs::rename("missing", "elsewhere").is_err());
    File::create("x1")?;
    File::create("x2")?;
    // A file system may lack the exchange (the rename then says EINVAL); the check looks at what succeeded.
    match rename_at(libc::AT_FDCWD, "x1", libc::AT_FDCWD, "x2", libc::RENAME_EXCHANGE) {
        Ok(()) => println!("exchanged 1"),
        Err(error) => println!("exchange-unavailable {error}"),
    }
    assert!(rename_at(libc::AT_FDCWD, "x1", libc::AT_FDCWD, "x2", libc::RENAME_NOREPLACE).is_err());
    Ok(())
}

fn links(here: &Path) -> io::Result<()> {
    fs::hard_link("x1", here.join("l1"))?;
    fs::hard_link(here.join("x1"), "l2")?;
    assert!(fs::hard_link("x1", "l1").is_err());
    symlink("../not/there", "s1")?;
    symlink("/etc/passwd", here.join("s2"))?;
    assert!(symlink("x", "s1").is_err());
    Ok(())
}

fn modes(here: &Path) -> io::Result<()> {
    let file = File::create("m1")?;
    fs::set_permissions(here.join("m1"), Permissions::from_mode(0o4711))?;
    file.set_permissions(Permissions::from_mode(0o640))?;
    fs::set_permissions("m1", Permissions::from_mode(0o600))?;
    assert!(fs::set_permissions("missing", Permissions::from_mode(0o600)).is_err());
    println!("mode-inode {}", file.metadata()?.ino());
    Ok(())
}

fn nodes() -> io::Result<()> {
    node("fifo", libc::S_IFIFO | 0o600, 0)?;
    node("plain", 0o600, 0)?;
    assert!(node("fifo", libc::S_IFIFO | 0o600, 0).is_err());
    if let Err(error) = node("device", libc::S_IFCHR | 0o600, libc::makedev(DEVICE.0, DEVICE.1)) {
        println!("device-unavailable {error}");
    }
    UnixListener::bind("sock")?;
    Ok(())
}

/// A rename below a mount point, in a mount namespace of a child's own.
fn mounts(here: &Path) -> io::Result<()> {
    fs::create_dir("mnt")?;
    println!("mount-child {}", child("--files-mount", here)?);
    Ok(())
}

/// A rename by a child that lives in a chroot: its root is not ours.
fn in_a_chroot(here: &Path) -> io::Result<()> {
    fs::create_dir("jail")?;
    File::create("jail/c1")?;
    println!("chroot-child {}", child("--files-chroot", here)?);
    Ok(())
}

/// Runs ourselves with `what`; its pid.
fn child(what: &str, here: &Path) -> io::Result<u32> {
    let mut child = Command::new(fs::read_link("/proc/self/exe")?).arg(what).arg(here).spawn()?;
    let pid = child.id();
    assert!(child.wait()?.success(), "{what}");
    Ok(pid)
}

/// What the children of [`act`] do.
pub fn act_as_child(what: &str, here: &Path) -> io::Result<()> {
    if what == "--files-chroot" {
        chroot(here.join("jail"))?;
        env::set_current_dir("/")?;
        return fs::rename("/c1", "c2");
    }
    let mount = |kind: *const libc::c_char, target: &CString, flags| {
        // SAFETY: NUL-terminated strings, no data.
        check_call(unsafe { libc::mount(kind, target.as_ptr(), kind, flags, ptr::null()) })
    };
    // SAFETY: no memory is involved.
    check_call(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(ptr::null(), &path("/")?, libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"tmpfs".as_ptr(), &path(here.join("mnt"))?, 0)?;
    File::create(here.join("mnt/f1"))?;
    fs::rename(here.join("mnt/f1"), here.join("mnt/f2"))?;
    fs::hard_link(here.join("mnt/f2"), here.join("mnt/f3"))
}

fn by_io_uring() -> io::Result<()> {
    File::create("u1")?;
    match Ring::new().and_then(|ring| ring.rename("u1", "u2")) {
        Ok(()) => println!("uring-renamed 1"),
        Err(error) => println!("uring-rename-unavailable {error}"),
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn compat(here: &Path) -> io::Result<()> {
    const I386_RENAME: u64 = 38;
    const I386_CHMOD: u64 = 15;
    File::create("i1")?;
    let done = crate::compat::call(I386_RENAME, &here.join("i1"), Some(&here.join("i2")), 0, 0)
        .and_then(|_| crate::compat::call(I386_CHMOD, &here.join("i2"), None, 0o2755, 0));
    match done {
        Ok(_) => println!("compat-names 1"),
        Err(error) => println!("compat-names-unavailable {error}"),
    }
    Ok(())
}

/// The security modules let these pass, and the file system does not.
fn refused_by_the_file_system() -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_NONBLOCK;
    // SAFETY: a NUL-terminated path; it fails, because nobody reads the pipe.
    let result = unsafe { libc::open(path("fifo")?.as_ptr(), flags) };
    assert_eq!((result, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENXIO)));
    Ok(())
}

fn path(path: impl AsRef<Path>) -> io::Result<CString> {
    CString::new(path.as_ref().as_os_str().as_bytes()).map_err(io::Error::other)
}

fn check_call(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn rename_at(from_dir: i32, from: &str, to_dir: i32, to: &str, flags: u32) -> io::Result<()> {
    let (from, to) = (path(from)?, path(to)?);
    // SAFETY: descriptors of our own and NUL-terminated paths. By number, because musl has no such function.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, from_dir, from.as_ptr(), to_dir, to.as_ptr(), flags) };
    check_call(result as i32)
}

fn node(name: &str, mode: libc::mode_t, device: libc::dev_t) -> io::Result<()> {
    // SAFETY: a NUL-terminated path.
    check_call(unsafe { libc::mknod(path(name)?.as_ptr(), mode, device) })
}

/// A slice of a path joined with its base the way the host does it, but for the dots.
fn joined(r: &Record<'_>, index: usize) -> Vec<u8> {
    let (given, base) = (r.slice(index), r.slice(index + 1));
    if !given.flags.has(SliceFlags::AS_GIVEN) {
        return given.bytes.to_vec();
    }
    let base = base.bytes.strip_suffix(b"/").unwrap_or(base.bytes);
    [base, b"/", given.bytes.strip_prefix(b"/").unwrap_or(given.bytes)].concat()
}

pub fn check(o: &Observed<'_>, r: &mut Report) {
    check_renames(o, r);
    check_links(o, r);
    check_modes(o, r);
    check_nodes(o, r);
    check_children(o, r);
    check_deviations(o, r);
    let of_files = o.records.iter().filter(|x| {
        [Kind::SecurityInodeRename, Kind::SecurityInodeLink, Kind::SecurityInodeSymlink].contains(&x.kind())
    });
    let wrong: Vec<_> = of_files
        .filter(|x| {
            let given = x.slice(0).flags.has(SliceFlags::AS_GIVEN);
            given == o.on_kprobe || (x.hook() == Some(Hook::Kprobe)) != o.on_kprobe
        })
        .collect();
    r.that("names: the kernel's on kprobes, the process's at the end of calls", wrong.is_empty(), || {
        format!("{wrong:?}")
    });
}

/// (from, to) of the renames of a process below our directory.
fn moves<'a>(o: &'a Observed<'_>, pid: u32, kind: Kind) -> Vec<(&'a Record<'a>, String, String)> {
    let here = o.path(HERE);
    o.of(pid)
        .filter(|x| x.kind() == kind)
        .map(|x| (x, joined(x, Rename::OLD), joined(x, Rename::NEW)))
        .filter_map(|(x, from, to)| {
            let inside = |p: &[u8]| Some(text(p.strip_prefix(here.as_slice())?.strip_prefix(b"/")?));
            Some((x, inside(&from)?, inside(&to)?))
        })
        .collect()
}

fn pairs<'m>(moves: &'m [(&Record<'_>, String, String)]) -> Vec<(&'m str, &'m str)> {
    moves.iter().map(|(_, from, to)| (from.as_str(), to.as_str())).collect()
}

fn check_renames(o: &Observed<'_>, r: &mut Report) {
    let all = moves(o, o.pid, Kind::SecurityInodeRename);
    let dotted = if o.on_kprobe { "sub/r3" } else { "./sub/../sub/r3" };
    let mut expected = vec![("r1", "r2"), ("r2", dotted), ("sub/r3", "sub/r4")];
    if o.facts.contains_key("exchanged") {
        expected.extend([("x1", "x2"), ("x2", "x1")]);
    }
    if o.facts.contains_key("uring-renamed") && (o.on_kprobe || o.sees_uring) {
        expected.push(("u1", "u2"));
    }
    if o.facts.contains_key("compat-names") {
        expected.push(("i1", "i2"));
    }
    r.that("rename: each success once, absolute, relative, by descriptor, exchanged", pairs(&all) == expected, || {
        format!("{:?}", pairs(&all))
    });
    let body = |to: &str| all.iter().find(|(_, _, t)| t == to).and_then(|(x, ..)| x.body::<Rename>());
    if o.on_kprobe {
        r.that(
            "rename: inode",
            body("r2").is_some_and(|b| b.inode_known == 1 && b.inode == o.number("renamed-inode")),
            || format!("{:?}", body("r2")),
        );
    }
    if o.facts.contains_key("exchanged") {
        r.that("rename: the exchange is told", body("x1").is_some_and(|b| b.rename_flags == 2), String::new);
    }
    let compat = all.iter().find(|(_, from, _)| from == "i1");
    r.that("rename: 32-bit call told apart", compat.is_none_or(|(x, ..)| x.flags().has(Flags::COMPAT)), || {
        format!("{compat:?}")
    });
}

fn check_links(o: &Observed<'_>, r: &mut Report) {
    let all = moves(o, o.pid, Kind::SecurityInodeLink);
    r.that("link: each success once", pairs(&all) == [("x1", "l1"), ("x1", "l2")], || format!("{:?}", pairs(&all)));
    let links: Vec<_> = o
        .kind(Kind::SecurityInodeSymlink)
        .map(|x| (joined(x, Symlink::LINKPATH), x.slice(Symlink::TARGET)))
        .filter(|(path, _)| path.starts_with(&o.path(HERE)))
        .collect();
    let expected = [(o.path("names/s1"), &b"../not/there"[..]), (o.path("names/s2"), &b"/etc/passwd"[..])];
    r.that(
        "symlink: each success once, with the target word for word",
        links.iter().map(|(path, target)| (path.clone(), target.bytes)).eq(expected),
        || format!("{:?}", links.iter().map(|(path, target)| (text(path), show(*target))).collect::<Vec<_>>()),
    );
}

fn check_modes(o: &Observed<'_>, r: &mut Report) {
    let inode = o.number("mode-inode");
    let all: Vec<_> = o
        .kind(Kind::ChmodCommon)
        .filter_map(|x| Some((joined(x, Chmod::PATHNAME), x.body::<Chmod>()?)))
        .filter(|(path, _)| path.starts_with(&o.path(HERE)))
        .collect();
    let mut expected = vec![("names/m1", 0o4711), ("names/m1", 0o640), ("names/m1", 0o600)];
    if o.facts.contains_key("compat-names") {
        expected.push(("names/i2", 0o2755));
    }
    let expected: Vec<_> = expected.into_iter().map(|(name, mode)| (o.path(name), mode)).collect();
    let seen: Vec<_> = all.iter().map(|(path, b)| (path.clone(), b.requested)).collect();
    r.that("chmod: each success once, by path and by descriptor", seen == expected, || format!("{all:?}"));
    let known: Vec<bool> = all.iter().map(|(_, b)| b.inode_known == 1 && b.inode == inode).collect();
    r.that(
        "chmod: inode of the descriptor always, of a path on kprobes",
        known.get(1) == Some(&true) && known.first() == Some(&o.on_kprobe),
        || format!("{all:?}"),
    );
}

fn check_nodes(o: &Observed<'_>, r: &mut Report) {
    let all: Vec<_> = o
        .kind(Kind::SecurityInodeMknod)
        .filter_map(|x| Some((joined(x, Mknod::FILE_NAME), x.body::<Mknod>()?)))
        .filter(|(path, _)| path.starts_with(&o.path(HERE)))
        .map(|(path, b)| (path, u32::from(b.mode) & libc::S_IFMT, b.rdev))
        .collect();
    let mut expected = vec![("names/fifo", libc::S_IFIFO, 0), ("names/plain", libc::S_IFREG, 0)];
    if !o.facts.contains_key("device-unavailable") {
        expected.push(("names/device", libc::S_IFCHR, DEVICE.0 << 20 | DEVICE.1));
    }
    if o.on_kprobe {
        expected.push(("names/sock", libc::S_IFSOCK, 0));
    }
    let expected: Vec<_> = expected.into_iter().map(|(name, mode, dev)| (o.path(name), mode, dev)).collect();
    r.that("mknod: each success once, with type and device", all == expected, || format!("{all:?}"));
}

fn check_children(o: &Observed<'_>, r: &mut Report) {
    let pid = |fact: &str| u32::try_from(o.number(fact)).unwrap_or_default();
    let mount = moves(o, pid("mount-child"), Kind::SecurityInodeRename);
    r.that("rename over a mount point: whole path", pairs(&mount) == [("mnt/f1", "mnt/f2")], || {
        format!("{:?}", pairs(&mount))
    });
    let link = moves(o, pid("mount-child"), Kind::SecurityInodeLink);
    r.that("link over a mount point: whole path", pairs(&link) == [("mnt/f2", "mnt/f3")], || {
        format!("{:?}", pairs(&link))
    });
    let jail = moves(o, pid("chroot-child"), Kind::SecurityInodeRename);
    r.that("rename in a chroot: path from outside", pairs(&jail) == [("jail/c1", "jail/c2")], || {
        format!("{:?}", pairs(&jail))
    });
}

fn check_deviations(o: &Observed<'_>, r: &mut Report) {
    let opened: Vec<_> =
        o.kind(Kind::SecurityFileOpen).filter(|x| x.slice(Open::PATHNAME).bytes == o.path("names/fifo")).collect();
    r.that("open that the file system refuses: no record", opened.is_empty(), || format!("{opened:?}"));
    let absent = o
        .kind(Kind::SecurityInodeUnlink)
        .filter(|x| x.slice(Unlink::PATHNAME).flags.has(SliceFlags::AS_GIVEN))
        .filter(|x| x.slice(Unlink::BASE).status == Status::Absent)
        .count();
    r.that("a path as given always has what it starts from", absent == 0, || absent.to_string());
}
