//! System calls through the 32-bit entry of a 64-bit process.

use std::{io, os::unix::ffi::OsStrExt, path::Path};

/// `open(path, O_RDONLY)` by `int 0x80`.
pub fn open(path: &Path) -> io::Result<i32> {
    const I386_OPEN: u64 = 5;
    call(I386_OPEN, path, None, 0, 0)
}

/// Call `number` of i386 by `int 0x80`: a path, then another or `second`, then `third`.
pub fn call(number: u64, first: &Path, other: Option<&Path>, second: u64, third: u64) -> io::Result<i32> {
    const PAGE: usize = 4096;
    // The 32-bit entry takes 32-bit pointers.
    // SAFETY: an anonymous mapping, checked below.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            2 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let place = |path: &Path, at: usize| {
        let bytes = path.as_os_str().as_bytes();
        assert!(bytes.len() < PAGE);
        // SAFETY: the path and its NUL (the mapping is zeroed) fit in their page.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), page.cast::<u8>().add(at), bytes.len()) };
        page as u64 + at as u64
    };
    let (path, second) = (place(first, 0), other.map_or(second, |other| place(other, PAGE)));
    let result: u64;
    // SAFETY: rbx is saved by hand because the compiler reserves it; the entry changes nothing else but r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg {path}, rbx", "int 0x80", "xchg {path}, rbx",
            path = inout(reg) path => _,
            inout("rax") number => result,
            in("rcx") second, in("rdx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as u32 as i32;
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}
