//! Canaries: the sensor does an operation itself and looks whether its hook ran. A hook that loads and
//! attaches can still never fire (an LSM program on a kernel without the BPF LSM, a function that was
//! inlined), and nothing but an operation shows it.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions, Permissions},
    io,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Does each operation that a kind may be about, once. All are done because the operations are cheap
/// and the counters tell the kinds apart; failures do not matter, a hook that saw nothing will show.
pub fn operate() {
    // fork and exit hooks also run for threads (and count them)
    let _ = thread::Builder::new().spawn(|| ()).map(thread::JoinHandle::join);
    let _ = OpenOptions::new().write(true).open("/dev/null");
    let _ = temporary_file().and_then(|(path, file)| {
        std::mem::drop(file);
        names(&path);
        let _ = owner(&path);
        fs::remove_file(path)
    });
    aim_at_ourselves();
    // SAFETY: a constant name ended by NUL; the descriptor, if there is one, is ours alone.
    unsafe {
        let memory = libc::syscall(libc::SYS_memfd_create, c"picket-canary".as_ptr(), libc::MFD_CLOEXEC);
        if let Ok(fd @ 0..) = i32::try_from(memory) {
            libc::close(fd);
        }
    }
    let loopback = (Ipv4Addr::LOCALHOST, 9); // discard: nobody listens, and if somebody does, no matter
    let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| {
        socket.send_to(&[], loopback)?;
        socket.connect(loopback)
    });
    let _ = TcpStream::connect_timeout(&loopback.into(), Duration::from_millis(100));
    let _ = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        // Not waiting: should the connection fail, nobody comes.
        listener.set_nonblocking(true)?;
        let _stream = TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_millis(100))?;
        listener.accept()
    });
}

/// Changes the mode of a file of our own, and makes and removes names beside it.
fn names(path: &Path) {
    let beside = path.with_extension("other");
    // Another mode than before: setting what is set already is no change.
    let _ = fs::set_permissions(path, Permissions::from_mode(0o400));
    let makes: [fn(&Path, &Path) -> io::Result<()>; 3] = [|a, b| fs::hard_link(a, b), |a, b| symlink(a, b), fifo];
    for make in makes {
        let _ = make(path, &beside);
        let _ = fs::remove_file(&beside);
    }
    let _ = fs::rename(path, &beside).and_then(|()| fs::rename(&beside, path));
}

/// Makes a named pipe; the shape is that of the functions which make links.
fn fifo(_: &Path, at: &Path) -> io::Result<()> {
    let name = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: a NUL-terminated path.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives a file the owner it has, with both calls that do it by path.
fn owner(path: &Path) -> io::Result<()> {
    chown(path, None, None)?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    let keep = u32::MAX;
    // SAFETY: a NUL-terminated path that outlives the call.
    unsafe { libc::fchownat(libc::AT_FDCWD, name.as_ptr(), keep, keep, 0) };
    Ok(())
}

/// Asks whether we may signal ourselves, and to trace ourselves, which the kernel refuses.
fn aim_at_ourselves() {
    // SAFETY: no memory is passed; signal 0 is not sent, and no process can attach to itself.
    unsafe {
        let own = libc::getpid();
        libc::kill(own, 0);
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, own, 0, 0);
    }
}

/// A new empty file, in the first directory that takes one.
fn temporary_file() -> io::Result<(PathBuf, File)> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = format!(".picket-canary-{}-{serial}", std::process::id());
    let directories = [std::env::temp_dir(), "/run".into(), "/dev/shm".into(), "/var/tmp".into()];
    let mut result = Err(io::ErrorKind::NotFound.into());
    for directory in directories {
        let path = directory.join(&name);
        result = OpenOptions::new().write(true).create_new(true).open(&path).map(|file| (path, file));
        if result.is_ok() {
            break;
        }
    }
    result
}
