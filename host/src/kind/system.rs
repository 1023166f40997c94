//! The fields every event has: the `System` object of the model, in its order.

use super::field::{Field, Type};

/// `System`, in the model's order; the last ones are ours.
pub static SYSTEM: &[Field] = &[
    Field::new("Timestamp", Type::Time, "time of the event"),
    Field::new("EventID", Type::Unsigned, "number of the kind: data, use EventName"),
    Field::new("EventName", Type::Text, "name of the kind"),
    Field::new("ThreadStartTime", Type::Time, "start of the thread"),
    Field::new("ProcessorID", Type::Unsigned, "CPU"),
    Field::new("ProcessID", Type::Unsigned, "process id in its own pid namespace"),
    Field::new("ThreadID", Type::Unsigned, "thread id in its own pid namespace"),
    Field::new("ParentProcessID", Type::Unsigned, "parent's process id in the same pid namespace, 0 outside it"),
    Field::new("HostProcessID", Type::Unsigned, "process id on the host"),
    Field::new("HostThreadID", Type::Unsigned, "thread id on the host"),
    Field::new("HostParentProcessID", Type::Unsigned, "parent's process id on the host"),
    Field::new("UserID", Type::Unsigned, "real user id").sigma(&["LogonId"]),
    Field::new("MountNS", Type::Unsigned, "mount namespace"),
    Field::new("ProcessName", Type::Text, "comm of the thread"),
    Field::new("HostName", Type::Text, "UTS node name the process sees"),
    Field::new("CgroupID", Type::Unsigned, "control group id"),
    Field::new("MainHostname", Type::Text, "name of this host").sigma(&["Computer"]),
    Field::new("Hook", Type::Text, "kernel hook the event was taken at").optional(),
    Field::new("EffectiveUserID", Type::Unsigned, "effective user id").optional(),
    Field::new("LoginUserID", Type::Unsigned, "audit login uid; absent when nobody logged in").optional(),
];

/// Positions in [`SYSTEM`].
pub mod at {
    pub const TIMESTAMP: usize = 0;
    pub const EVENT_ID: usize = 1;
    pub const EVENT_NAME: usize = 2;
    pub const THREAD_START: usize = 3;
    pub const CPU: usize = 4;
    pub const PID: usize = 5;
    pub const TID: usize = 6;
    pub const PPID: usize = 7;
    pub const HOST_PID: usize = 8;
    pub const HOST_TID: usize = 9;
    pub const HOST_PPID: usize = 10;
    pub const UID: usize = 11;
    pub const MOUNT_NS: usize = 12;
    pub const COMM: usize = 13;
    pub const NODENAME: usize = 14;
    pub const CGROUP: usize = 15;
    pub const MAIN_HOSTNAME: usize = 16;
    pub const HOOK: usize = 17;
    pub const EUID: usize = 18;
    pub const LOGIN_UID: usize = 19;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_name_their_fields() {
        let named = [
            (at::TIMESTAMP, "Timestamp"),
            (at::EVENT_ID, "EventID"),
            (at::EVENT_NAME, "EventName"),
            (at::THREAD_START, "ThreadStartTime"),
            (at::CPU, "ProcessorID"),
            (at::PID, "ProcessID"),
            (at::TID, "ThreadID"),
            (at::PPID, "ParentProcessID"),
            (at::HOST_PID, "HostProcessID"),
            (at::HOST_TID, "HostThreadID"),
            (at::HOST_PPID, "HostParentProcessID"),
            (at::UID, "UserID"),
            (at::MOUNT_NS, "MountNS"),
            (at::COMM, "ProcessName"),
            (at::NODENAME, "HostName"),
            (at::CGROUP, "CgroupID"),
            (at::MAIN_HOSTNAME, "MainHostname"),
            (at::HOOK, "Hook"),
            (at::EUID, "EffectiveUserID"),
            (at::LOGIN_UID, "LoginUserID"),
        ];
        assert_eq!(named.len(), SYSTEM.len());
        for (i, name) in named {
            assert_eq!(SYSTEM[i].path, name);
        }
    }
}
