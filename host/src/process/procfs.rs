//! What /proc still says about a process that was there before Picket: only for processes that no record described.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use super::Key;

/// Ticks of `starttime` per second; fixed in the kernel's user interface.
const TICKS: u64 = 100;

/// Arguments kept, as many as an exec record holds.
const MOST: usize = 28 * 1024;

/// Arguments of a process, if it still runs and is the one that `key` names.
pub(super) fn argv(key: Key) -> Option<Vec<Box<[u8]>>> {
    is(key).then_some(())?;
    let mut bytes = std::fs::read(format!("/proc/{}/cmdline", key.tgid)).ok()?;
    // Read first, then look again: the pid may have been reused in between.
    is(key).then_some(())?;
    bytes.truncate(MOST);
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    (!bytes.is_empty()).then(|| bytes.split(|&b| b == 0).map(Into::into).collect())
}

/// A path as bytes, where it could be read.
type Path = Option<Arc<[u8]>>;

/// Executable and working directory, under the same condition.
pub(super) fn paths(key: Key) -> (Path, Path) {
    let link = |name: &str| {
        std::fs::read_link(format!("/proc/{}/{name}", key.tgid)).ok().map(|p| Arc::from(p.as_os_str().as_bytes()))
    };
    let found = (link("exe"), link("cwd"));
    if is(key) { found } else { (None, None) }
}

/// The control groups of a process, under the same condition.
pub(super) fn cgroups(key: Key) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", key.tgid)).ok()?;
    is(key).then_some(text)
}

/// Inode number of a process's mount namespace.
pub(super) fn mount_namespace(pid: u32) -> Option<u32> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
    link.to_str()?.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
}

/// That of the host: Picket itself may run in one of its own. Where the first process is hidden, ours.
pub(super) fn host_mount_namespace() -> Option<u32> {
    mount_namespace(1).or_else(|| mount_namespace(std::process::id()))
}

/// Whether the process that has this number is the one that `key` names.
pub(super) fn is(key: Key) -> bool {
    started(key.tgid).is_some_and(|t| t.abs_diff(key.start * TICKS / 1_000_000_000) <= 1)
}

/// Start of the process in ticks since boot.
fn started(tgid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{tgid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses included.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_is_meant() {
        let me = std::process::id();
        let ticks = started(me).unwrap();
        let key = Key { tgid: me, start: ticks * 1_000_000_000 / TICKS };
        assert!(argv(key).is_some());
        assert!(paths(key).0.is_some());
        let other = Key { start: key.start + 5_000_000_000, ..key };
        assert!(argv(other).is_none());
        assert_eq!(paths(other), (None, None));
    }
}
