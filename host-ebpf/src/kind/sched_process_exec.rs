//! A process image was replaced (the new image is in place).

use crate::record::{TaskFacts, layout};

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `sched_process_exec`. The header's `comm` is already the new one.
    pub struct Exec = "exec_body" {
        /// Inode of the executable that was mapped (for a script: of its interpreter).
        pub inode: u64,
        /// Change time of that inode, ns since the epoch.
        pub ctime: u64,
        /// Inode of the ELF interpreter (ld.so), 0 when [`Exec::INTERPRETER_PATHNAME`] is absent.
        pub interpreter_inode: u64,
        /// Change time of the ELF interpreter, ns since the epoch.
        pub interpreter_ctime: u64,
        /// Inode behind file descriptor 0.
        pub stdin_inode: u64,
        /// What is true of the process now.
        pub facts: TaskFacts,
        /// Device of the executable as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// Device of the ELF interpreter.
        pub interpreter_dev: u32,
        /// Number of arguments.
        pub argc: u32,
        /// Thread id (initial namespace) of the thread that called exec; the header has the process's.
        pub old_tid: u32,
        /// Owner of the executable.
        pub owner: u32,
        /// Group of the executable.
        pub group: u32,
        /// `i_mode` of the executable.
        pub mode: u16,
        /// [`Exec::FROM_KERNEL`] and the others below it.
        pub exec_flags: u16,
        /// `i_mode & S_IFMT` of file descriptor 0, 0 when it is closed.
        pub stdin_type: u16,
        /// The same of file descriptor 1.
        pub stdout_type: u16,
        /// The same of file descriptor 2.
        pub stderr_type: u16,
        /// `AF_*` of file descriptor 0, 0 when it is no socket.
        pub stdin_family: u16,
        /// The same of file descriptor 1.
        pub stdout_family: u16,
        /// The same of file descriptor 2.
        pub stderr_family: u16,
    }
}

impl Exec {
    /// The parent is a kernel thread (usermode helper).
    pub const FROM_KERNEL: u16 = 1;
    /// Privileges were raised (set-id or file capabilities).
    pub const SECURE: u16 = 2;
    /// The file is in the upper layer of an overlay: it did not come with the image.
    pub const OVERLAY_UPPER: u16 = 4;
    /// The file system or its mount is read-only.
    pub const READ_ONLY_MOUNT: u16 = 8;

    /// Slice: the file name as passed to exec (`bprm->filename`).
    pub const CMDPATH: usize = 0;
    /// Slice: resolved path of the executable.
    pub const PATHNAME: usize = 1;
    /// Slice: `bprm->interp`, the script's interpreter or the file itself.
    pub const INTERP: usize = 2;
    /// Slice: resolved path of the ELF interpreter.
    pub const INTERPRETER_PATHNAME: usize = 3;
    /// Slice: arguments, each ended by NUL, first 24 KiB. `original` is the length of all of them.
    pub const ARGV: usize = 4;
    /// Slice: the last 4 KiB of the arguments when they do not fit in [`Exec::ARGV`], else absent.
    pub const ARGV_TAIL: usize = 5;
    /// Slice: path behind file descriptor 0.
    pub const STDIN_PATH: usize = 6;
    /// Slice: working directory.
    pub const CWD: usize = 7;
    /// Slice: name of the cgroup (last component), of the unified hierarchy or, when the task is in
    /// its root, of the first v1 controller where it is not.
    pub const CGROUP: usize = 8;
    /// Slice: `comm` before the exec.
    pub const PREV_COMM: usize = 9;
    /// Slice: name of the controlling terminal, e.g. `pts3`.
    pub const TTY: usize = 10;
    /// Slice: path behind file descriptor 1.
    pub const STDOUT_PATH: usize = 11;
    /// Slice: path behind file descriptor 2.
    pub const STDERR_PATH: usize = 12;
    /// Slice: the peer's `sockaddr` when file descriptor 0 is a socket that has one.
    pub const STDIN_ADDRESS: usize = 13;
    /// Slice: the same of file descriptor 1.
    pub const STDOUT_ADDRESS: usize = 14;
    /// Slice: the same of file descriptor 2.
    pub const STDERR_ADDRESS: usize = 15;
    /// Slice: the environment variables of a short list (`LD_PRELOAD`, `LD_AUDIT`, `LD_LIBRARY_PATH`,
    /// `SSH_CONNECTION`), each ended by NUL. Never any other.
    pub const ENV: usize = 16;
    /// Number of slices.
    pub const SLICES: usize = 17;
}
