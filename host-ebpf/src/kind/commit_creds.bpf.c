/* A process got other credentials: another user or group, more capabilities, another user namespace.
 *
 * kprobe: commit_creds itself, which everything that changes them goes through, an exploit in the kernel too.
 * tracepoint: they are compared before and after the calls that change them and before and after exec.
 */
#include "../calls.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct user_namespace___creds {
	struct ns_common ns;
};
struct cred___creds {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	unsigned int securebits;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
	struct user_namespace___creds *user_ns;
};
struct task_struct___creds {
	struct cred___creds *real_cred;
};
#pragma clang attribute pop

struct creds {
	u32 uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
	u32 user_ns, securebits;
	u64 inheritable, permitted, effective, bounding, ambient;
};
LAYOUT(creds)
struct commit_creds_body {
	struct creds before, after;
	u32 call, reserved;
};
LAYOUT(commit_creds_body)
enum commit_creds_slice { COMMIT_CREDS_SLICES };
#define BY_EXEC 0xffffffff
#define BY_ANY 0xfffffffe

static __noinline void read_creds(struct creds *to, struct cred___creds *from)
{
	to->uid = BPF_CORE_READ(from, uid.val);
	to->gid = BPF_CORE_READ(from, gid.val);
	to->suid = BPF_CORE_READ(from, suid.val);
	to->sgid = BPF_CORE_READ(from, sgid.val);
	to->euid = BPF_CORE_READ(from, euid.val);
	to->egid = BPF_CORE_READ(from, egid.val);
	to->fsuid = BPF_CORE_READ(from, fsuid.val);
	to->fsgid = BPF_CORE_READ(from, fsgid.val);
	to->user_ns = BPF_CORE_READ(from, user_ns, ns.inum);
	to->securebits = BPF_CORE_READ(from, securebits);
	bpf_core_read(&to->inheritable, 8, &from->cap_inheritable);
	bpf_core_read(&to->permitted, 8, &from->cap_permitted);
	bpf_core_read(&to->effective, 8, &from->cap_effective);
	bpf_core_read(&to->bounding, 8, &from->cap_bset);
	bpf_core_read(&to->ambient, 8, &from->cap_ambient);
}

static __always_inline struct cred___creds *current_creds(void)
{
	struct task_struct___creds *t = (void *)current_task();
	return BPF_CORE_READ(t, real_cred);
}

/* Whether there is anything to tell: ids change, capabilities come, the user namespace is another. Those
 * that only go are a program's caution. */
static __always_inline bool creds_differ(const struct creds *a, const struct creds *b)
{
	return a->uid != b->uid || a->gid != b->gid || a->suid != b->suid || a->sgid != b->sgid || a->euid != b->euid || a->egid != b->egid ||
	       a->fsuid != b->fsuid || a->fsgid != b->fsgid || a->user_ns != b->user_ns || b->permitted & ~a->permitted ||
	       b->effective & ~a->effective;
}

/* The credentials that a thread had before the call or the exec that it is in. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct creds);
} CREDS_BEFORE SEC(".maps");

static __always_inline void keep_creds(void)
{
	u64 id = bpf_get_current_pid_tgid();
	struct creds now = {};
	if (!wanted(KIND_COMMIT_CREDS, RUNG_TRACEPOINT))
		return;
	read_creds(&now, current_creds());
	bpf_map_update_elem(&CREDS_BEFORE, &id, &now, BPF_ANY);
}

/* Makes the record of a change, or counts why there is none. `before` is 0 when it is not known. */
static __always_inline void creds_record(u32 slot_index, u32 hook, u32 rung, u32 call, u32 flags, const struct creds *before, struct cred___creds *now)
{
	u32 interest = admit(KIND_COMMIT_CREDS, rung, true);
	if (interest == REFUSED)
		return;
	struct creds after = {};
	if (!before) {
		drop(KIND_COMMIT_CREDS, DROPPED_UNPAIRED);
		return;
	}
	read_creds(&after, now);
	if (!creds_differ(before, &after)) {
		filter(KIND_COMMIT_CREDS, FILTERED_CLASS);
		return;
	}
	struct commit_creds_body *b = record_begin(slot_index, KIND_COMMIT_CREDS, hook, flags, interest, sizeof(*b), COMMIT_CREDS_SLICES);
	if (!b)
		return;
	b->before = *before;
	b->after = after;
	b->call = call;
	submit(slot_index, false);
}

#define CREDS_CALL(SYS)                                                                                                         \
	(nr == SYS##_SETUID || nr == SYS##_SETGID || nr == SYS##_SETREUID || nr == SYS##_SETREGID || nr == SYS##_SETRESUID ||   \
	 nr == SYS##_SETRESGID || nr == SYS##_SETFSUID || nr == SYS##_SETFSGID || nr == SYS##_CAPSET || nr == SYS##_UNSHARE || \
	 nr == SYS##_SETNS)
#define CREDS_CALL16                                                                                                    \
	(nr == SYS32_SETUID16 || nr == SYS32_SETGID16 || nr == SYS32_SETREUID16 || nr == SYS32_SETREGID16 ||            \
	 nr == SYS32_SETRESUID16 || nr == SYS32_SETRESGID16 || nr == SYS32_SETFSUID16 || nr == SYS32_SETFSGID16)

static __always_inline bool commit_creds_is_call(u32 nr)
{
	return CREDS_CALL(SYS) || CREDS_CALL(SYS32) || CREDS_CALL16;
}

static __always_inline bool commit_creds_changes(u32 nr, bool compat)
{
	return compat ? CREDS_CALL(SYS32) || CREDS_CALL16 : CREDS_CALL(SYS);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(commit_creds__tracepoint__sys_enter, struct pt_regs *regs, long id)
{
	u32 nr = (u32)id & ~X32_SYSCALL_BIT;
	if (commit_creds_is_call(nr) && commit_creds_changes(nr, is_compat()))
		keep_creds();
	return 0;
}

/* Always false: another kind is about some of these calls. */
static __always_inline bool commit_creds_sys_exit(struct call *c)
{
	if (!commit_creds_changes(c->nr, c->compat))
		return false;
	u64 id = bpf_get_current_pid_tgid();
	creds_record(SLOT_SYS_EXIT, HOOK_SYS_EXIT, RUNG_TRACEPOINT, c->nr, c->compat ? COMPAT : 0, bpf_map_lookup_elem(&CREDS_BEFORE, &id), current_creds());
	bpf_map_delete_elem(&CREDS_BEFORE, &id);
	return false;
}

/* exec renames the task just before it takes the new credentials, and fires its own tracepoint just after. */
SEC("tp_btf/task_rename")
int BPF_PROG(commit_creds__tracepoint__task_rename, struct task_struct *t)
{
	keep_creds();
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(commit_creds__tracepoint__sched_process_exec, struct task_struct *t)
{
	u64 id = bpf_get_current_pid_tgid();
	creds_record(SLOT_CREDS_EXEC, HOOK_TRACEPOINT, RUNG_TRACEPOINT, BY_EXEC, is_compat() ? COMPAT : 0, bpf_map_lookup_elem(&CREDS_BEFORE, &id), current_creds());
	bpf_map_delete_elem(&CREDS_BEFORE, &id);
	return 0;
}

SEC("kprobe/commit_creds")
int commit_creds__kprobe(struct pt_regs *ctx)
{
	struct creds before = {};
	read_creds(&before, current_creds());
	creds_record(SLOT_KPROBE, HOOK_KPROBE, RUNG_KPROBE, BY_ANY, is_compat() ? COMPAT : 0, &before, (void *)PT_REGS_PARM1_CORE(ctx));
	return 0;
}
