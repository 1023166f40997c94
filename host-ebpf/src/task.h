/* What a record says about its task. */
#pragma once
#include "record.h"

#define PF_KTHREAD 0x00200000

static __always_inline u64 current_task(void)
{
	return bpf_get_current_task();
}

/* Reads a field: a plain load where the verifier knows the type of `p`, else through the helper, which
 * costs some ten times as much. */
#define READ(typed, p, field) ((typed) ? (p)->field : BPF_CORE_READ(p, field))

/* Whether the running system call came through a 32-bit ABI. */
static __always_inline bool is_compat(void)
{
#if defined(__TARGET_ARCH_x86)
#define COMPAT_STATE(typed, t) (READ(typed, t, thread_info.status) & 2) /* TS_COMPAT */
#else
#define COMPAT_STATE(typed, t) (READ(typed, t, thread_info.flags) & (1 << 22)) /* TIF_32BIT */
#endif
	/* Asked at every call whose number may be one of ours: many numbers of the 32-bit ABI are everyday calls. */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return COMPAT_STATE(true, bpf_get_current_task_btf());
	return COMPAT_STATE(false, (struct task_struct *)bpf_get_current_task());
}

/* A pid's number in the namespace of nesting `level`, 0 when it has none there. */
static __always_inline u32 pid_at_level(struct pid *pid, u32 level, struct pid_namespace **ns)
{
	if (BPF_CORE_READ(pid, level) < level)
		return 0;
	const void *numbers = (const void *)pid + bpf_core_field_offset(struct pid, numbers);
	struct upid *n = (void *)numbers + level * bpf_core_type_size(struct upid);
	*ns = BPF_CORE_READ(n, ns);
	return BPF_CORE_READ(n, nr);
}

/* Fills what the header says about a task. `typed` is a constant. */
static __always_inline void describe(struct record_header *h, struct task_struct *t, const bool typed)
{
	struct task_struct *leader = READ(typed, t, group_leader);
	struct task_struct *parent = READ(typed, t, real_parent);
	struct task_struct *parent_leader = READ(typed, parent, group_leader);
	h->leader_start = READ(typed, leader, start_boottime);
	h->thread_start = READ(typed, t, start_boottime);
	h->parent_start = READ(typed, parent_leader, start_boottime);
	h->pid = READ(typed, t, tgid);
	h->tid = READ(typed, t, pid);
	h->ppid = READ(typed, parent, tgid);
	struct css_set *set = READ(typed, t, cgroups);
	struct cgroup *cgroup = READ(typed, set, dfl_cgrp);
	struct kernfs_node *node = READ(typed, cgroup, kn);
	h->cgroup_id = READ(typed, node, id);

	struct pid_namespace *ns = 0, *ns2 = 0;
	struct pid *pid = READ(typed, t, thread_pid);
	u32 level = READ(typed, pid, level);
	if (level > 32)
		level = 0;
	h->ns_tid = pid_at_level((void *)scalar(pid), level, &ns);
	h->pid_ns = BPF_CORE_READ(ns, ns.inum);
	if (!level) { /* the initial namespace: every process has its own number there */
		h->ns_pid = h->pid;
		h->ns_ppid = h->ppid;
	} else {
		struct pid *leader_pid = READ(typed, leader, thread_pid);
		struct pid *parent_pid = READ(typed, parent_leader, thread_pid);
		h->ns_pid = pid_at_level((void *)scalar(leader_pid), level, &ns2);
		ns2 = 0;
		u32 ns_ppid = pid_at_level((void *)scalar(parent_pid), level, &ns2);
		h->ns_ppid = ns2 == ns ? ns_ppid : 0;
	}

	const struct cred *cred = READ(typed, t, cred);
	h->uid = READ(typed, cred, uid.val);
	h->euid = READ(typed, cred, euid.val);
	h->gid = READ(typed, cred, gid.val);
	h->egid = READ(typed, cred, egid.val);
	h->login_uid = bpf_core_field_exists(t->loginuid) ? READ(typed, t, loginuid.val) : ~0u;
	h->session = bpf_core_field_exists(t->sessionid) ? READ(typed, t, sessionid) : ~0u;

	struct nsproxy *proxy = READ(typed, t, nsproxy);
	struct mnt_namespace *mnt = READ(typed, proxy, mnt_ns);
	struct uts_namespace *uts = READ(typed, proxy, uts_ns);
	h->mnt_ns = READ(typed, mnt, ns.inum);
	bpf_core_read(h->nodename, sizeof(h->nodename), &uts->name.nodename);
	bpf_core_read(h->comm, sizeof(h->comm), &t->comm);
	if (READ(typed, t, flags) & PF_KTHREAD)
		h->flags |= KERNEL_THREAD;
}

/* What only the records that make a process known say about it. */
struct task_facts {
	u64 cap_effective, cap_permitted;
	u32 session_leader;
	u32 mnt_ns, pid_ns, net_ns, user_ns, cgroup_ns, uts_ns, ipc_ns;
};
LAYOUT(task_facts)
#define PIDTYPE_SID 3

static __always_inline void fill_facts(struct task_facts *f, struct task_struct *t)
{
	const struct cred *cred = BPF_CORE_READ(t, cred);
	bpf_core_read(&f->cap_effective, sizeof(f->cap_effective), &cred->cap_effective);
	bpf_core_read(&f->cap_permitted, sizeof(f->cap_permitted), &cred->cap_permitted);
	struct pid *leader = BPF_CORE_READ(t, signal, pids[PIDTYPE_SID]), *pid = BPF_CORE_READ(t, thread_pid);
	struct pid_namespace *ns = 0;
	f->session_leader = leader ? pid_at_level(leader, 0, &ns) : 0;
	u32 level = BPF_CORE_READ(pid, level);
	ns = 0;
	pid_at_level(pid, level > 32 ? 0 : level, &ns);
	f->pid_ns = BPF_CORE_READ(ns, ns.inum);
	f->user_ns = BPF_CORE_READ(cred, user_ns, ns.inum);
	struct nsproxy *proxy = BPF_CORE_READ(t, nsproxy);
	f->mnt_ns = BPF_CORE_READ(proxy, mnt_ns, ns.inum);
	f->net_ns = BPF_CORE_READ(proxy, net_ns, ns.inum);
	f->cgroup_ns = BPF_CORE_READ(proxy, cgroup_ns, ns.inum);
	f->uts_ns = BPF_CORE_READ(proxy, uts_ns, ns.inum);
	f->ipc_ns = BPF_CORE_READ(proxy, ipc_ns, ns.inum);
}

/* Starts a record of `kind` about `task`: header, empty slice table, `next` behind it. */
#define begin(slot, task, kind, hook, flags, body, slices) begin_packed(slot, task, (kind) | (hook) << 16, flags, (body) | (slices) << 16)
/* A BPF function has at most five arguments. */
__noinline int begin_packed(u32 slot, u64 task, u32 kind_hook, u32 flags, u32 body_slices)
{
	u32 kind = kind_hook & 0xffff, hook = kind_hook >> 16, body = body_slices & 0xffff, slices = body_slices >> 16;
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	struct record_header *h = (void *)a.record;
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = kind;
	h->version = VERSION;
	h->hook = hook;
	h->cpu = bpf_get_smp_processor_id();
	h->time = bpf_ktime_get_boot_ns();

	h->flags = flags;
	/* Only the iterator describes another task than the running one. */
	if (slot != SLOT_SEED && bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		describe(h, bpf_get_current_task_btf(), true);
	else
		describe(h, (void *)task, false);

	u64 at = sizeof(*h) + (body & 255);
	h->slice_table = at;
	h->slice_count = slices;
	for (u32 i = 0; i < 32; i++) {
		if (i >= slices)
			break;
		opaque(at); /* or clang calls memset, which BPF does not have */
		if (at > 1024)
			break;
		u32 *s = (void *)(a.record + at);
		s[0] = s[1] = s[2] = 0;
		at += sizeof(struct slice);
	}
	*a.next = at;
	return 0;
}

/* Starts a record about what the current task does and returns its body, all 0; the caller fills it, appends
 * slices and submits. 0, and counted, when there is no scratch memory. `interest` is what admit said: the
 * host's own probe of a hook is marked as that. */
static __always_inline void *record_begin(u32 slot_index, u32 kind, u32 hook, u32 flags, u32 interest, const u32 body, const u32 slices)
{
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	if (!slot) {
		drop(kind, DROPPED_FAULT);
		return 0;
	}
	if (interest & PROBE)
		flags |= CANARY;
	begin(slot_index, current_task(), kind, hook, flags, body, slices);
	void *b = slot->record + sizeof(struct record_header);
	__builtin_memset(b, 0, body);
	return b;
}

/* Appends the name of the task's cgroup: of the unified hierarchy or, when the task sits in its root
 * (hybrid hosts), of the first v1 controllers where it does not. Resolving the id later would lose
 * short-lived containers. */
__noinline int put_cgroup(u32 slot, u32 index, u64 task)
{
	struct css_set *set = BPF_CORE_READ((struct task_struct *)task, cgroups);
	const char *name = BPF_CORE_READ(set, dfl_cgrp, kn, name);
	for (u32 i = 0; i < 4; i++) {
		char first = 0;
		bpf_probe_read_kernel(&first, 1, name);
		if (first)
			break;
		struct cgroup_subsys_state *css = 0;
		bpf_core_read(&css, sizeof(css), &set->subsys[i]);
		if (css)
			name = BPF_CORE_READ(css, cgroup, kn, name);
	}
	put_string(slot, index, (u64)name, 0);
	return 0;
}

/* Appends the name of the controlling terminal. */
static __always_inline void put_tty(u32 slot, u32 index, struct task_struct *t)
{
	struct tty_struct *tty = BPF_CORE_READ(t, signal, tty);
	if (tty)
		put_string(slot, index, (u64)&tty->name, 0);
}

/* The open file behind a descriptor of the current task. */
static __always_inline struct file *file_of(u32 fd)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(t, files, fdt);
	struct file **fds = BPF_CORE_READ(table, fd), *f = 0;
	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&f, sizeof(f), fds + fd);
	return f;
}
