//! Canaries: the sensor does an operation itself and looks whether its hook ran. A hook that loads and
//! attaches can still never fire (an LSM program on a kernel without the BPF LSM, a function that was
//! inlined), and nothing but an operation shows it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::{Ipv4Addr, TcpStream, UdpSocket},
    path::PathBuf,
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
        fs::remove_file(path)
    });
    // SAFETY: a constant name ended by NUL; the descriptor, if there is one, is ours alone.
    unsafe {
        let memory = libc::syscall(libc::SYS_memfd_create, c"picket-canary".as_ptr(), libc::MFD_CLOEXEC);
        if let Ok(fd @ 0..) = i32::try_from(memory) {
            libc::close(fd);
        }
    }
    let loopback = (Ipv4Addr::LOCALHOST, 9); // discard: nobody listens, and if somebody does, no matter
    let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.connect(loopback));
    let _ = TcpStream::connect_timeout(&loopback.into(), Duration::from_millis(100));
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
