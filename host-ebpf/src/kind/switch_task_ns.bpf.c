/* A process went into other namespaces, with setns or unshare.
 *
 * tracepoint: the call succeeded. Which namespaces it was about is told by unshare's flags and by the file
 * that setns was given, where they are is read from the task.
 */
#include "../calls.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct uts_namespace___switch {
	struct ns_common ns;
};
struct nsproxy___switch {
	struct uts_namespace___switch *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
};
struct cred___switch {
	struct user_namespace *user_ns;
};
struct task_struct___switch {
	struct cred___switch *cred;
	struct nsproxy___switch *nsproxy;
};
#pragma clang attribute pop

struct switch_task_ns_body {
	u64 flags;
	u32 mnt, pid, uts, ipc, net, cgroup, user;
	u8 call, reserved[3];
};
LAYOUT(switch_task_ns_body)
enum switch_task_ns_call { CALL_UNSHARE, CALL_SETNS };
enum switch_task_ns_slice { SWITCH_TASK_NS_SLICES };
enum { NEWNS = 0x20000, NEWCGROUP = 0x2000000, NEWUTS = 0x4000000, NEWIPC = 0x8000000, NEWUSER = 0x10000000, NEWPID = 0x20000000, NEWNET = 0x40000000 };
#define NAMESPACES (NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET)

static __always_inline bool switch_task_ns_is_call(u32 nr)
{
	return nr == SYS_UNSHARE || nr == SYS_SETNS || nr == SYS32_UNSHARE || nr == SYS32_SETNS;
}

/* The number of a namespace where `flag` is in `flags`, or where it is the one with inode `only`. */
#define NUMBER_OF(from, space, flag)                                          \
	({                                                                    \
		u32 number_ = BPF_CORE_READ(from, space, ns.inum);            \
		(flags & (flag)) || (only && number_ == only) ? number_ : 0;  \
	})

static __always_inline bool switch_task_ns_sys_exit(struct call *c)
{
	bool entered = c->nr == (c->compat ? SYS32_SETNS : SYS_SETNS);
	if (!entered && c->nr != (c->compat ? SYS32_UNSHARE : SYS_UNSHARE))
		return false;
	u32 interest = admit(KIND_SWITCH_TASK_NS, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0) {
		filter(KIND_SWITCH_TASK_NS, FILTERED_FAILED);
		return true;
	}
	u64 flags = entered ? c->arg[1] : c->arg[0];
	u32 only = 0;
	if (!entered && !(flags & NAMESPACES)) {
		filter(KIND_SWITCH_TASK_NS, FILTERED_OTHER); /* descriptors or the like */
		return true;
	}
	if (entered) {
		struct file *f = file_of(c->arg[0]);
		struct inode *i = BPF_CORE_READ(f, f_inode);
		if (BPF_CORE_READ(i, i_sb, s_magic) == NSFS)
			only = BPF_CORE_READ(i, i_ino);
	}
	struct switch_task_ns_body *b = call_begin(KIND_SWITCH_TASK_NS, c, interest, sizeof(*b), SWITCH_TASK_NS_SLICES);
	if (!b)
		return true;
	struct task_struct___switch *t = (void *)current_task();
	struct nsproxy___switch *proxy = BPF_CORE_READ(t, nsproxy);
	struct cred___switch *cred = BPF_CORE_READ(t, cred);
	b->flags = entered ? c->arg[1] : c->arg[0];
	b->call = entered ? CALL_SETNS : CALL_UNSHARE;
	if (only)
		flags = 0; /* the file says it exactly */
	b->mnt = NUMBER_OF(proxy, mnt_ns, NEWNS);
	b->pid = NUMBER_OF(proxy, pid_ns_for_children, NEWPID);
	b->uts = NUMBER_OF(proxy, uts_ns, NEWUTS);
	b->ipc = NUMBER_OF(proxy, ipc_ns, NEWIPC);
	b->net = NUMBER_OF(proxy, net_ns, NEWNET);
	b->cgroup = NUMBER_OF(proxy, cgroup_ns, NEWCGROUP);
	b->user = NUMBER_OF(cred, user_ns, NEWUSER);
	submit(SLOT_SYS_EXIT, false);
	return true;
}
