//! `io_uring` by hand, one request at a time.

#![expect(clippy::cast_ptr_alignment, reason = "the kernel aligns what it lays out in the rings")]

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
const OP_RENAMEAT: u8 = 35;
const OP_UNLINKAT: u8 = 36;
const REGISTER_FILES: u32 = 2;
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
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// A ring with room for one request at a time.
pub struct Ring {
    fd: i32,
    sq: *mut u8,
    cq: *mut u8,
    sqes: *mut Sqe,
    params: Params,
}

impl Ring {
    pub fn new() -> io::Result<Ring> {
        let mut params = Params::default();
        // SAFETY: `params` is what the call fills; the rings are mapped with the sizes it gives.
        unsafe {
            let fd = libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = fd as i32;
            let map = |offset: i64, size: usize| {
                let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
                let at = libc::mmap(ptr::null_mut(), size, access, flags, fd, offset);
                if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
            };
            let sq = map(0, params.sq.array as usize + params.sq_entries as usize * 4)?.cast();
            let cq = map(OFF_CQ_RING, params.cq.cqes as usize + params.cq_entries as usize * 16)?.cast();
            let sqes = map(OFF_SQES, params.sq_entries as usize * size_of::<Sqe>())?.cast();
            Ok(Ring { fd, sq, cq, sqes, params })
        }
    }

    /// Gives the ring a table of files with one free slot.
    pub fn register_table(&self) -> io::Result<()> {
        let files = [-1i32];
        // SAFETY: one descriptor is announced and given.
        let result = unsafe { libc::syscall(libc::SYS_io_uring_register, self.fd, REGISTER_FILES, files.as_ptr(), 1) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Creates `path`; into slot `table_slot` (from 1) of the ring's table, or as a descriptor (0).
    pub fn open_create(&self, path: &Path, table_slot: u32) -> io::Result<()> {
        let flags = libc::O_CREAT | libc::O_WRONLY;
        self.request(OP_OPENAT, path, 0, 0o600, flags as u32, table_slot)
    }

    /// Removes `path`.
    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        self.request(OP_UNLINKAT, path, 0, 0, 0, 0)
    }

    /// Renames `from` to `to`, both from the working directory.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = CString::new(to).map_err(io::Error::other)?;
        self.request(OP_RENAMEAT, Path::new(from), to.as_ptr() as u64, libc::AT_FDCWD as u32, 0, 0)
    }

    /// Submits one request and waits for its completion.
    fn request(&self, opcode: u8, path: &Path, off: u64, len: u32, op_flags: u32, table_slot: u32) -> io::Result<()> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let sqe = Sqe {
            opcode,
            flags: 0,
            ioprio: 0,
            fd: libc::AT_FDCWD,
            off,
            addr: name.as_ptr() as u64,
            len,
            op_flags,
            user_data: 1,
            rest: [u64::from(table_slot) << 32, 0, 0],
        };
        // SAFETY: the offsets are the kernel's own, into mappings of the sizes it gave and aligned as
        // it aligns them; nobody else submits.
        unsafe {
            self.sqes.write(sqe);
            self.sq.add(self.params.sq.array as usize).cast::<u32>().write(0);
            let tail = &*self.sq.add(self.params.sq.tail as usize).cast::<AtomicU32>();
            tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            if libc::syscall(libc::SYS_io_uring_enter, self.fd, 1, 1, ENTER_GETEVENTS, ptr::null::<u8>(), 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            let head = &*self.cq.add(self.params.cq.head as usize).cast::<AtomicU32>();
            let at = head.load(Ordering::Relaxed);
            let index = (at & (self.params.cq_entries - 1)) as usize;
            let result = self.cq.add(self.params.cq.cqes as usize + 16 * index + 8).cast::<i32>().read();
            head.store(at.wrapping_add(1), Ordering::Release);
            if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
        }
    }
}
