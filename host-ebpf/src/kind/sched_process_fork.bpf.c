/* A process was created; threads are counted and left out. */
#include "../path.h"

struct fork_body {
	u64 child_start, child_parent_start;
	struct task_facts child;
	u32 child_pid, child_ns_pid, child_ppid, child_pid_ns;
};
LAYOUT(fork_body)
enum fork_slice { FORK_CGROUP, FORK_SLICES };
struct fork_record {
	struct record_header h;
	struct fork_body b;
};

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork__tracepoint, struct task_struct *parent_task, struct task_struct *child_task)
{
	if (admit(KIND_SCHED_PROCESS_FORK, RUNG_TRACEPOINT, false) == REFUSED)
		return 0;
	u32 key = SLOT_FORK;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	struct task_struct *parent = (void *)scalar(parent_task), *child = (void *)scalar(child_task);
	u32 pid = BPF_CORE_READ(child, pid);
	if (pid != (u32)BPF_CORE_READ(child, tgid)) {
		filter(KIND_SCHED_PROCESS_FORK, FILTERED_THREAD);
		return 0;
	}
	inherit_ignored(BPF_CORE_READ(parent, tgid), pid);
	if (!slot) {
		drop(KIND_SCHED_PROCESS_FORK, DROPPED_FAULT);
		return 0;
	}
	begin(SLOT_FORK, (u64)parent, KIND_SCHED_PROCESS_FORK, HOOK_TRACEPOINT, is_compat() ? COMPAT : 0, sizeof(struct fork_body), FORK_SLICES);
	struct fork_body *b = &((struct fork_record *)slot->record)->b;
	struct task_struct *real_parent = BPF_CORE_READ(child, real_parent);
	struct pid *p = BPF_CORE_READ(child, thread_pid);
	struct pid_namespace *ns = 0;
	u32 level = BPF_CORE_READ(p, level);
	b->child_start = BPF_CORE_READ(child, start_boottime);
	b->child_parent_start = BPF_CORE_READ(real_parent, group_leader, start_boottime);
	b->child_pid = pid;
	b->child_ns_pid = pid_at_level(p, level > 32 ? 0 : level, &ns);
	b->child_ppid = BPF_CORE_READ(real_parent, tgid);
	b->child_pid_ns = BPF_CORE_READ(ns, ns.inum);
	fill_facts(&b->child, child);
	put_cgroup(SLOT_FORK, FORK_CGROUP, (u64)child);
	submit(SLOT_FORK, true);
	return 0;
}
