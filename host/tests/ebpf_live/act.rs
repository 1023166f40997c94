//! What the observed process does. It runs in a process of its own, because the sensor leaves out the
//! operations of the process it lives in, and says on stdout what the observer cannot know.

use std::{
    env,
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            fs::MetadataExt,
            net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// Does everything in `dir`, which is empty and our own. Failures end the process: the observer sees it.
pub fn all(dir: &Path) -> io::Result<()> {
    env::set_current_dir(dir)?;
    files(dir)?;
    sockets()?;
    programs(dir)?;
    super::area::act(dir)?;
    if let Err(error) = uring(dir) {
        println!("uring-unavailable {error}");
    }
    #[cfg(target_arch = "x86_64")]
    match super::compat::open(&dir.join("created")) {
        Ok(fd) => println!("compat-fd {fd}"),
        Err(error) => println!("compat-unavailable {error}"),
    }
    Ok(())
}

fn files(dir: &Path) -> io::Result<()> {
    let created = dir.join("created");
    let file = OpenOptions::new().write(true).create_new(true).open(&created)?;
    let meta = file.metadata()?;
    println!("created-inode {}", meta.ino());
    println!("created-ctime {}", meta.ctime() * 1_000_000_000 + meta.ctime_nsec());
    println!("created-dev {}", meta.dev());
    println!("created-fd {}", file.as_raw_fd());
    drop(file);
    OpenOptions::new().append(true).create(true).open(&created)?;
    File::open("created")?;
    assert!(File::open("missing").is_err());

    for name in ["absolute", "relative", "at"] {
        File::create(name)?;
    }
    println!("absolute-inode {}", fs::metadata("absolute")?.ino());
    fs::remove_file(dir.join("absolute"))?;
    fs::remove_file("relative")?;
    let here = File::open(".")?;
    let name = CString::new("at").map_err(io::Error::other)?;
    env::set_current_dir("/")?;
    // SAFETY: a descriptor of our own and a NUL-terminated name.
    let result = unsafe { libc::unlinkat(here.as_raw_fd(), name.as_ptr(), 0) };
    assert_eq!(result, 0);
    env::set_current_dir(dir)?;
    fs::create_dir("directory")?;
    fs::remove_dir("directory")?;
    assert!(fs::remove_file("missing").is_err());

    // an unlinked file, opened again through /proc
    let gone = OpenOptions::new().read(true).write(true).create_new(true).open("gone")?;
    fs::remove_file("gone")?;
    File::open(format!("/proc/self/fd/{}", gone.as_raw_fd()))?;
    Ok(())
}

fn uring(dir: &Path) -> io::Result<()> {
    let ring = super::uring::Ring::new()?;
    ring.open_create(&dir.join("uring"), 0)?;
    ring.unlink(Path::new("uring"))?;
    ring.register_table()?;
    ring.open_create(&dir.join("direct"), 1)
}

fn sockets() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listen-port {}", listener.local_addr()?.port());
    println!("listen-fd {}", listener.as_raw_fd());
    let stream = TcpStream::connect(listener.local_addr()?)?;
    println!("connect-fd {}", stream.as_raw_fd());
    let refused = {
        let unused = TcpListener::bind("127.0.0.1:0")?;
        unused.local_addr()?
    };
    println!("refused-port {}", refused.port());
    assert!(TcpStream::connect(refused).is_err());
    match TcpListener::bind("[::1]:0") {
        Ok(six) => {
            println!("six-port {}", six.local_addr()?.port());
            TcpStream::connect(six.local_addr()?)?;
        }
        Err(error) => println!("six-unavailable {error}"),
    }
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.connect("127.0.0.2:5353")?;
    let _unix = UnixListener::bind("socket")?;
    let _client = UnixStream::connect("socket")?;
    let abstract_name = SocketAddr::from_abstract_name(format!("picket-test-{}", std::process::id()))?;
    let _datagram = UnixDatagram::bind_addr(&abstract_name)?;
    Ok(())
}

fn programs(dir: &Path) -> io::Result<()> {
    let me = fs::read_link("/proc/self/exe")?;
    // a symbolic link: executed and resolved path differ
    std::os::unix::fs::symlink(&me, "link")?;
    assert_eq!(
        Command::new(dir.join("link")).args(["--exit", "7", "two words"]).stdin(Stdio::null()).status()?.code(),
        Some(7)
    );

    // arguments longer than a record takes
    let long = "x".repeat(20_000);
    Command::new(&me).args(["--exit", "0", &long, &long, "the last one"]).stdin(Stdio::piped()).status()?;

    // a file in memory
    let name = CString::new("picket-test").map_err(io::Error::other)?;
    // SAFETY: a NUL-terminated name; the descriptor is checked and owned by nobody else.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
    assert!(fd >= 0);
    let in_memory = format!("/proc/{}/fd/{fd}", std::process::id());
    fs::copy(&me, &in_memory)?;
    Command::new(&in_memory).args(["--exit", "0", "in memory"]).stdin(Stdio::null()).status()?;

    // a working directory deeper than a path is walked
    let mut depth = 0;
    while depth < 200 {
        fs::create_dir("deep")?;
        env::set_current_dir("deep")?;
        depth += 1;
    }
    Command::new(&me).args(["--exit", "0", "deep"]).stdin(Stdio::null()).status()?;
    env::set_current_dir(dir)?;

    // a thread ends; the process does not
    thread::spawn(|| ()).join().map_err(|_| io::Error::other("thread"))?;
    Ok(())
}

/// Opens `path` for reading `count` times in a thread while starting `children` processes, one after
/// the other.
pub fn flood(path: &Path, count: u64, children: u32) -> io::Result<()> {
    let opener = {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        thread::spawn(move || {
            for _ in 0..count {
                // SAFETY: a NUL-terminated path, and a descriptor that is closed at once.
                unsafe { libc::close(libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)) };
            }
        })
    };
    let me = fs::read_link("/proc/self/exe")?;
    for _ in 0..children {
        Command::new(&me).args(["--exit", "0"]).stdin(Stdio::null()).status()?;
    }
    opener.join().map_err(|_| io::Error::other("thread"))?;
    io::stdout().flush()
}
