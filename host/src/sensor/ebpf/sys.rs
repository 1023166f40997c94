//! The few system calls that neither std nor aya offer.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// Waits until `fd` is readable or `timeout` is over; an interrupting signal counts as over.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `poll` is one valid pollfd for the duration of the call.
    if unsafe { libc::poll(&raw mut poll, 1, millis) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// Reads a clock in nanoseconds.
fn clock(id: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks always exist.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// `CLOCK_REALTIME - CLOCK_BOOTTIME` in nanoseconds: what to add to a record's time to get the time
/// since the epoch. Of several readings the one that took least counts.
pub fn realtime_minus_boottime() -> i64 {
    let reading = || {
        let before = clock(libc::CLOCK_BOOTTIME);
        let real = clock(libc::CLOCK_REALTIME);
        let after = clock(libc::CLOCK_BOOTTIME);
        (after - before, real - i64::midpoint(before, after))
    };
    (0..4).map(|_| reading()).min_by_key(|&(took, _)| took).map_or(0, |(_, offset)| offset)
}

/// Lifts the limit on locked memory, which kernels before 5.11 charge BPF maps to. Newer kernels do
/// not need it, so a refusal is theirs to report.
pub fn lift_memlock_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `unlimited` is a valid rlimit to read from.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}

/// How often the kernel skipped a program because it was already running on the CPU
/// (`bpf_prog_info.recursion_misses`, since 5.12; 0 before). aya does not read this field.
pub fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    /// `struct bpf_prog_info` as 8-byte words; the field is word 26 in every kernel that has it.
    const FIELD: usize = 26;
    #[repr(C)]
    struct Attr {
        fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = [0u64; 32];
    let attr =
        Attr { fd: program.as_raw_fd() as u32, info_len: size_of_val(&info) as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: the attribute names `info` and its size; the kernel writes no further than that.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info[FIELD]) }
}
