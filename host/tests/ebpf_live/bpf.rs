//! A BPF program that does nothing, put at hooks and taken away at once: what another tool does, by hand.

use std::{
    fs::{self, File},
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// `bpf(2)` commands and what they need.
const PROG_LOAD: u32 = 5;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const KPROBE: u32 = 2;
const TRACEPOINT: u32 = 5;
const PERF_EVENT: u32 = 7;
const RAW_TRACEPOINT: u32 = 17;
const IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
/// `perf_event_attr` up to version 6.
const PERF_ATTR_BYTES: usize = 112;

/// Bytes of a structure that the kernel reads: numbers at offsets, the rest zero.
struct Attr([u8; 120]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 120])
    }
    fn set(mut self, at: usize, bytes: &[u8]) -> Attr {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
    fn pointer<T: ?Sized>(self, at: usize, to: *const T) -> Attr {
        self.set(at, &(to.cast::<u8>() as u64).to_ne_bytes())
    }
}

/// A descriptor, or why there is none.
fn checked(result: libc::c_long) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

fn bpf(command: u32, attr: &Attr) -> io::Result<i32> {
    // SAFETY: the attributes, and what they point to, live until the call returns.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, attr.0.as_ptr(), attr.0.len()) })
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a call just returned this descriptor to us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads `return 0`.
fn program(kind: u32, name: &str) -> io::Result<OwnedFd> {
    // mov64 r0, 0; exit
    let instructions: [u64; 2] = [0x0000_0000_0000_00b7, 0x95];
    let attr = Attr::new()
        .set(0, &kind.to_ne_bytes())
        .set(4, &2u32.to_ne_bytes())
        .pointer(8, instructions.as_ptr())
        .pointer(16, c"GPL".as_ptr())
        .set(48, name.as_bytes());
    bpf(PROG_LOAD, &attr).map(owned)
}

/// The number the kernel gave a program.
fn id(program: &OwnedFd) -> io::Result<u32> {
    let mut info = [0u32; 4];
    let attr = Attr::new()
        .set(0, &program.as_raw_fd().to_ne_bytes())
        .set(4, &u32::try_from(mem::size_of_val(&info)).unwrap_or_default().to_ne_bytes())
        .pointer(8, info.as_mut_ptr());
    bpf(OBJ_GET_INFO_BY_FD, &attr)?;
    Ok(info[1])
}

/// Makes a perf event and puts a program at it.
fn perf_event(program: &OwnedFd, attr: &Attr) -> io::Result<()> {
    // SAFETY: as above; the event is ours.
    let event =
        checked(unsafe { libc::syscall(libc::SYS_perf_event_open, attr.0.as_ptr(), -1, 0, -1, 8) }).map(owned)?;
    // SAFETY: two descriptors of ours.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), IOC_SET_BPF as _, program.as_raw_fd()) };
    checked(result.into()).map(|_| ())
}

/// The kprobe of one event, as the kernel numbers that type.
fn kprobe() -> io::Result<()> {
    let number: u32 =
        fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?.trim().parse().map_err(io::Error::other)?;
    let attr = Attr::new()
        .set(0, &number.to_ne_bytes())
        .set(4, &(PERF_ATTR_BYTES as u32).to_ne_bytes())
        .pointer(56, c"do_nanosleep".as_ptr());
    perf_event(&program(KPROBE, "picket_kprobe")?, &attr)
}

/// A tracepoint as perf names it: by the number that the tracing file system has for it.
fn tracepoint() -> io::Result<()> {
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    let number: u64 = fs::read_to_string("/sys/kernel/tracing/events/sched/sched_switch/id")?
        .trim()
        .parse()
        .map_err(io::Error::other)?;
    let attr = Attr::new()
        .set(0, &PERF_TYPE_TRACEPOINT.to_ne_bytes())
        .set(4, &(PERF_ATTR_BYTES as u32).to_ne_bytes())
        .set(8, &number.to_ne_bytes());
    perf_event(&program(TRACEPOINT, "picket_trace")?, &attr)
}

pub fn act() -> io::Result<()> {
    let raw = program(RAW_TRACEPOINT, "picket_raw")?;
    println!("bpf-raw-id {}", id(&raw)?);
    let attr = Attr::new().pointer(0, c"sys_enter".as_ptr()).set(8, &raw.as_raw_fd().to_ne_bytes());
    drop(bpf(RAW_TRACEPOINT_OPEN, &attr).map(owned)?);
    // software event 0: the clock of a CPU
    let clock = Attr::new()
        .set(0, &1u32.to_ne_bytes())
        .set(4, &(PERF_ATTR_BYTES as u32).to_ne_bytes())
        .set(16, &1_000_000_000u64.to_ne_bytes());
    if let Err(error) = program(PERF_EVENT, "picket_perf").and_then(|p| perf_event(&p, &clock)) {
        println!("bpf-perf-unavailable {error}");
    }
    if let Err(error) = kprobe() {
        println!("bpf-kprobe-unavailable {error}");
    }
    if let Err(error) = tracepoint() {
        println!("bpf-tracepoint-unavailable {error}");
    }
    // An ioctl of the same number on something else is no attachment.
    let null = File::open("/dev/null")?;
    // SAFETY: a descriptor of ours and a number.
    unsafe { libc::ioctl(null.as_raw_fd(), IOC_SET_BPF as _, 0) };
    Ok(())
}
