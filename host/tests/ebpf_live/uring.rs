//! One `io_uring` request, by hand: an open that creates a file.

use std::{
    ffi::CString,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

const OFF_CQ_RING: i64 = 0x800_0000;
const OFF_SQES: i64 = 0x1000_0000;
const OP_OPENAT: u8 = 18;
const ENTER_GETEVENTS: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv: u32,
    user: u64,
}
#[repr(C)]
#[derive(Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    resv: u32,
    user: u64,
}
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    cpu: u32,
    idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq: SqOffsets,
    cq: CqOffsets,
}
#[repr(C)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    open_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// Creates `path` by `IORING_OP_OPENAT` and waits for the completion.
pub fn open_create(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut params = Params::default();
    // SAFETY: `params` is what the call fills; the rings are mapped with the sizes it gives, and only
    // this thread writes to the submission side.
    unsafe {
        let fd = libc::syscall(libc::SYS_io_uring_setup, 2, &raw mut params);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let map = |offset: i64, size: usize| {
            let at = libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd as i32,
                offset,
            );
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast::<u8>()) }
        };
        let sq = map(0, params.sq.array as usize + params.sq_entries as usize * 4)?;
        let cq = map(OFF_CQ_RING, params.cq.cqes as usize + params.cq_entries as usize * 16)?;
        let sqes = map(OFF_SQES, params.sq_entries as usize * size_of::<Sqe>())?;
        sqes.cast::<Sqe>().write(Sqe {
            opcode: OP_OPENAT,
            flags: 0,
            ioprio: 0,
            fd: libc::AT_FDCWD,
            off: 0,
            addr: name.as_ptr() as u64,
            len: 0o600,
            open_flags: (libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC) as u32,
            user_data: 1,
            rest: [0; 3],
        });
        sq.add(params.sq.array as usize).cast::<u32>().write(0);
        (*sq.add(params.sq.tail as usize).cast::<AtomicU32>()).store(1, Ordering::Release);
        if libc::syscall(libc::SYS_io_uring_enter, fd, 1, 1, ENTER_GETEVENTS, ptr::null::<u8>(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        let result = cq.add(params.cq.cqes as usize + 8).cast::<i32>().read();
        libc::close(fd as i32);
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
    }
}
