//! The few system calls that neither std nor aya offer.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
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

/// Commands of bpf(2) that aya does not offer, or whose answers it does not show in full.
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const ENABLE_STATS: libc::c_long = 32;

/// Asks the kernel about a program or a link: fills `info` as far as this kernel knows it, the rest stays 0.
fn info_by_fd(fd: RawFd, info: &mut [u64]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        info_len: u32,
        info: u64,
    }
    let attr = Attr { fd: fd as u32, info_len: size_of_val(info) as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: the attribute names `info` and its size; the kernel writes no further than that. `info` itself holds zeros, or
    // an address and size of a live buffer that its caller wrote there.
    let result = unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel says about a loaded program. A field that this kernel does not have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramInfo {
    pub id: u32,
    /// Bytes of BPF code after verification.
    pub translated: u32,
    /// Bytes of machine code.
    pub machine: u32,
    /// Time and number of runs while the kernel measured (see [`enable_run_time`]).
    pub run_ns: u64,
    pub runs: u64,
    /// Runs skipped because the program was running on that CPU already (since 5.12).
    pub skipped: u64,
    /// Instructions that the verifier followed, over all paths (since 5.16).
    pub verified: u32,
}

/// `struct bpf_prog_info`, in 8-byte words.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut words = [0u64; 32];
    info_by_fd(program.as_raw_fd(), &mut words)?;
    Ok(ProgramInfo {
        id: halves(words[0])[1],
        machine: halves(words[2])[0],
        translated: halves(words[2])[1],
        run_ns: words[24],
        runs: words[25],
        skipped: words[26],
        verified: halves(words[27])[0],
    })
}

/// The two 32-bit fields that share a word, in the order of their addresses.
fn halves(word: u64) -> [u32; 2] {
    let b = word.to_ne_bytes();
    [u32::from_ne_bytes([b[0], b[1], b[2], b[3]]), u32::from_ne_bytes([b[4], b[5], b[6], b[7]])]
}

/// How many calls of kernel helpers are in a program's code (each may run more than once: loops).
pub fn helper_calls(program: BorrowedFd<'_>, translated: u32) -> io::Result<u32> {
    /// `BPF_JMP | BPF_CALL`; a source register of 0 means a helper, not a function of the program.
    const CALL: u8 = 0x85;
    let mut code = vec![0u64; translated.div_ceil(8) as usize];
    let mut words = [0u64; 32];
    // xlated_prog_len is the second half of word 2, xlated_prog_insns is word 4.
    words[2] = u64::from_ne_bytes(pair(0, size_of_val(code.as_slice()) as u32));
    words[4] = code.as_mut_ptr() as u64;
    info_by_fd(program.as_raw_fd(), &mut words)?;
    let calls = code.iter().map(|word| word.to_ne_bytes()).filter(|b| b[0] == CALL && b[1] >> 4 == 0);
    Ok(calls.count() as u32)
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    bytes
}

/// What the kernel says about a link: what holds a program at its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub id: u32,
    pub program: u32,
    /// A link to a control group that has been taken away; only those can be without their object.
    pub severed: bool,
    /// Times a kernel probe was hit and not run (since 6.7).
    pub missed: u64,
}

/// `struct bpf_link_info`, in 8-byte words.
pub fn link_info(link: RawFd) -> io::Result<LinkInfo> {
    const CGROUP: u32 = 3;
    const PERF_EVENT: u32 = 7;
    const KPROBES: [u32; 2] = [3, 4];
    let mut words = [0u64; 16];
    info_by_fd(link, &mut words)?;
    let ([kind, id], [program, _]) = (halves(words[0]), halves(words[1]));
    let probe = kind == PERF_EVENT && KPROBES.contains(&halves(words[2])[0]);
    Ok(LinkInfo { id, program, severed: kind == CGROUP && words[2] == 0, missed: if probe { words[6] } else { 0 } })
}

/// The descriptors of this process that are BPF links, by link id. aya keeps them to itself.
pub fn links() -> BTreeMap<u32, RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let link = |entry: std::fs::DirEntry| {
        let is_link = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf"));
        let fd: RawFd = entry.file_name().to_str().filter(|_| is_link)?.parse().ok()?;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("link_id:"))?;
        Some((id.trim().parse().ok()?, fd))
    };
    entries.filter_map(link).collect()
}

/// Makes the kernel measure every BPF program of the host for as long as the result is held. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// The kernel's, mostly that this is not allowed.
pub fn enable_run_time() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        kind: u32,
    }
    let attr = Attr { kind: 0 };
    // SAFETY: the attribute is read only, and as long as is said.
    let result = unsafe { libc::syscall(libc::SYS_bpf, ENABLE_STATS, &raw const attr, size_of::<Attr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_word_follow_the_addresses() {
        assert_eq!(halves(u64::from_ne_bytes(pair(7, 9))), [7, 9]);
    }

    #[test]
    fn a_descriptor_that_is_no_link_is_none() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(link_info(file.as_raw_fd()).is_err());
        assert!(!links().values().any(|fd| *fd == file.as_raw_fd()));
    }
}
