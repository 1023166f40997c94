//! Gives up every capability that is not needed once the kernel side is loaded.
//!
//! A detection host reads what attackers write, all day. What it cannot do any more, a hole in it cannot do either. Capabilities
//! belong to threads, and a thread inherits its maker's: so this happens while there is one thread, after the programs are
//! loaded (that needs most) and before anything is read from a guest, a rule or the network.
//!
//! The uid stays: files of root stay readable and writable by their ordinary permissions, but `CAP_DAC_OVERRIDE` is gone. What
//! Picket writes (the state directory, a capture) must belong to its own user.

use std::collections::BTreeSet;
use std::time::Duration;

use caps::{CapSet, Capability, CapsHashSet};
use serde_json::{Value as Json, json};

/// Why privileges cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("capabilities can only be given up while there is one thread, and there are {threads}")]
    Threads { threads: usize },
    #[error("cannot {what}")]
    Caps { what: &'static str, source: caps::errors::CapsError },
    #[error("cannot set no_new_privs")]
    NoNewPrivileges(#[source] nix::Error),
}

/// What this run needs beyond what every run needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// The kernel side has hooks at control groups.
    pub network_hooks: bool,
    /// A port below 1024 is going to be opened.
    pub low_port: bool,
}

/// A capability that may be kept, and what for.
struct Reason {
    capability: Capability,
    why: &'static str,
    needed: fn(&Needs) -> bool,
}

const REASONS: [Reason; 7] = [
    Reason {
        capability: Capability::CAP_BPF,
        why: "attach what a reload asks for, and read the counters",
        needed: |_| true,
    },
    Reason { capability: Capability::CAP_PERFMON, why: "attach kernel probes at a reload", needed: |_| true },
    Reason { capability: Capability::CAP_SYS_PTRACE, why: "read /proc of every process", needed: |_| true },
    Reason {
        capability: Capability::CAP_DAC_READ_SEARCH,
        why: "read rules, secrets and files of processes",
        needed: |_| true,
    },
    Reason {
        capability: Capability::CAP_NET_ADMIN,
        why: "attach hooks to control groups at a reload",
        needed: |n| n.network_hooks,
    },
    Reason {
        capability: Capability::CAP_SYS_ADMIN,
        why: "attach kernel probes at a reload, which perf_event_paranoid above 2 leaves to this capability alone",
        needed: |_| perf_needs_admin(),
    },
    Reason { capability: Capability::CAP_NET_BIND_SERVICE, why: "listen at metrics_listen", needed: |n| n.low_port },
];

/// How often, and how long apart, to look whether a thread that was joined is gone from `/proc`, too.
const PATIENCE: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// Gives up every capability but the needed ones, for good: in all sets, with `no_new_privs`.
///
/// # Errors
/// When there is more than one thread: the others would keep what this one gives up.
pub fn give_up(needs: &Needs) -> Result<(), PrivilegeError> {
    alone()?;
    let failed = |what| move |source| PrivilegeError::Caps { what, source };
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed("read the capabilities"))?;
    let mut keep: CapsHashSet =
        REASONS.iter().filter(|r| (r.needed)(needs)).map(|r| r.capability).filter(|c| permitted.contains(c)).collect();
    if !keep.contains(&Capability::CAP_BPF) && permitted.contains(&Capability::CAP_SYS_ADMIN) {
        // Started by something older than CAP_BPF, which hands out only what it knows.
        keep.insert(Capability::CAP_SYS_ADMIN);
    }
    // The bounding set goes first: taking from it needs CAP_SETPCAP. Without that, no_new_privs has to do.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        caps::set(None, CapSet::Effective, &permitted).map_err(failed("use the capabilities"))?;
        for capability in caps::read(None, CapSet::Bounding).map_err(failed("read the bounding set"))? {
            caps::drop(None, CapSet::Bounding, capability).map_err(failed("empty the bounding set"))?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(failed("clear the ambient capabilities"))?;
    caps::clear(None, CapSet::Inheritable).map_err(failed("clear the inheritable capabilities"))?;
    caps::set(None, CapSet::Effective, &keep).map_err(failed("give up effective capabilities"))?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed("give up permitted capabilities"))?;
    nix::sys::prctl::set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)
}

/// Waits until this is the only thread: one that was joined may still be on its way out.
fn alone() -> Result<(), PrivilegeError> {
    let mut threads = threads().len();
    for _ in 0..PATIENCE {
        if threads <= 1 {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
        threads = self::threads().len();
    }
    Err(PrivilegeError::Threads { threads })
}

/// The `status` text of each thread of this process.
fn threads() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok()).collect()
}

/// The number after `key` in a thread's status.
fn number(status: &str, key: &str, radix: u32) -> Option<u64> {
    let text = status.lines().find_map(|line| line.strip_prefix(key))?;
    u64::from_str_radix(text.split_whitespace().next()?, radix).ok()
}

/// The names in a mask; a capability newer than this program by its number.
fn names(mask: u64) -> BTreeSet<String> {
    let name = |bit: u8| {
        let known = caps::all().into_iter().find(|c| c.index() == bit);
        known.map_or_else(|| format!("CAP_{bit}"), |c| c.to_string())
    };
    (0..64u8).filter(|bit| mask >> bit & 1 == 1).map(name).collect()
}

/// What this process may do, over all its threads, as the kernel says it now.
pub fn report() -> Json {
    let threads = threads();
    let union = |key: &str| threads.iter().filter_map(|t| number(t, key, 16)).fold(0, |all, mask| all | mask);
    let why = |name: &str| {
        let reason = REASONS.iter().find(|r| r.capability.to_string() == name);
        reason.map_or("it was never given up", |r| r.why)
    };
    let held = names(union("CapEff:") | union("CapPrm:"));
    let kept: Vec<Json> = held.iter().map(|name| json!({ "capability": name, "why": why(name) })).collect();
    json!({
        "uid": threads.iter().find_map(|t| number(t, "Uid:", 10)),
        "kept": kept,
        "bounding": names(union("CapBnd:")).len(),
        "inheritable": names(union("CapInh:") | union("CapAmb:")).len(),
        "no_new_privs": !threads.is_empty() && threads.iter().all(|t| number(t, "NoNewPrivs:", 10) == Some(1)),
        "threads": threads.len(),
    })
}

/// Whether perf events, kprobes among them, are for `CAP_SYS_ADMIN` alone: a setting above 2, which Debian adds.
pub fn perf_needs_admin() -> bool {
    let set = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    set.trim().parse::<i32>().is_ok_and(|level| level > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_names() {
        let mask = 1 << Capability::CAP_BPF.index() | 1 << Capability::CAP_SYS_PTRACE.index();
        assert_eq!(names(mask), BTreeSet::from(["CAP_BPF".to_owned(), "CAP_SYS_PTRACE".to_owned()]));
        assert_eq!(names(1 << 63), BTreeSet::from(["CAP_63".to_owned()]));
    }

    #[test]
    fn it_is_refused_while_other_threads_would_keep_everything() {
        // The test runner's own thread is the other one.
        assert!(matches!(give_up(&Needs::default()), Err(PrivilegeError::Threads { threads }) if threads > 1));
    }

    #[test]
    fn the_report_is_what_the_kernel_says() {
        let report = report();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let effective = names(number(&status, "CapEff:", 16).unwrap());
        let kept: BTreeSet<String> =
            report["kept"].as_array().unwrap().iter().map(|k| k["capability"].as_str().unwrap().to_owned()).collect();
        assert!(effective.is_subset(&kept), "{report}");
    }
}
