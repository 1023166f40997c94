//! The process table: with records made here, a million of them, and with the real kernel's.

mod live;
mod records;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One at a time: some of these measure the memory of this process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory of this process, MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the kernel says it") / 1024
}
