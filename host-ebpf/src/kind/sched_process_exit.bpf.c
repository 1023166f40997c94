/* The last thread of a process ended. Only signal->live says which thread is the last: the leader may
 * go first, and a thread that calls exec makes the old leader exit while the process lives. */
#include "../path.h"

#define SIGNAL_GROUP_EXIT 4

struct exit_body {
	u32 exit_code, reserved;
};
LAYOUT(exit_body)
struct exit_record {
	struct record_header h;
	struct exit_body b;
};

/* Processes whose end was reported. Threads that end together count `live` down before any of them comes
 * here, so each of them sees 0; the first one speaks for the process. */
struct ended {
	u64 leader_start;
	u32 tgid, zero;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ended);
	__type(value, u8);
} ENDED SEC(".maps");

static __always_inline bool ended_before(struct task_struct *t)
{
	struct ended key = { .leader_start = BPF_CORE_READ(t, group_leader, start_boottime), .tgid = BPF_CORE_READ(t, tgid) };
	u8 yes = 1;
	/* alone, nobody can come after us, but somebody who is gone may have spoken */
	if (BPF_CORE_READ(t, signal, nr_threads) == 1)
		return bpf_map_lookup_elem(&ENDED, &key);
	return bpf_map_update_elem(&ENDED, &key, &yes, BPF_NOEXIST);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit__tracepoint, struct task_struct *task)
{
	if (admit(KIND_SCHED_PROCESS_EXIT, RUNG_TRACEPOINT, false) == REFUSED)
		return 0;
	struct task_struct *t = (void *)scalar(task);
	if (BPF_CORE_READ(t, signal, live.counter) || ended_before(t)) {
		filter(KIND_SCHED_PROCESS_EXIT, FILTERED_THREAD);
		return 0;
	}
	u32 key = SLOT_EXIT, tgid = BPF_CORE_READ(t, tgid);
	bpf_map_delete_elem(&IGNORED, &tgid);
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	if (!slot) {
		drop(KIND_SCHED_PROCESS_EXIT, DROPPED_FAULT);
		return 0;
	}
	begin(SLOT_EXIT, (u64)t, KIND_SCHED_PROCESS_EXIT, HOOK_TRACEPOINT, 0, sizeof(struct exit_body), 0);
	struct exit_body *b = &((struct exit_record *)slot->record)->b;
	/* As wait(2) will see it: the group's code if it was ended as a group, else the leader's. */
	struct signal_struct *signal = BPF_CORE_READ(t, signal);
	b->exit_code = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code)
									: BPF_CORE_READ(t, group_leader, exit_code);
	b->reserved = 0;
	submit(SLOT_EXIT, true);
	return 0;
}
