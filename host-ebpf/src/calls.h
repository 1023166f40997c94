/* What the kinds that are system calls share: a record begun at the end of a call, a path as the process
 * gave it, and the process that a call is aimed at. */
#pragma once
#include "syscall.h"

/* These types in other kinds' headers may have fewer fields: a suffix keeps ours apart (see kernel.h). */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct hlist_node___calls {
	struct hlist_node___calls *next, **pprev;
};
struct hlist_head___calls {
	struct hlist_node___calls *first;
};
struct pid___calls {
	struct hlist_head___calls tasks[1];
};
struct task_struct___calls {
	struct hlist_node___calls pid_links[1];
};
struct xarray {
	void *xa_head;
};
struct idr {
	struct xarray idr_rt;
};
struct pid_namespace___calls {
	struct idr idr;
};
struct xa_node {
	unsigned char shift;
	void *slots[1];
};
struct inode___calls {
	void *i_private;
};
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};
#pragma clang attribute pop

#define PROC_SUPER_MAGIC 0x9fa0
#define AT_REMOVEDIR 0x200

/* Starts a record at the end of a call and returns its body, all 0; the caller appends and submits. */
static __always_inline void *call_begin(u32 kind, const struct call *c, u32 interest, const u32 body, const u32 slices)
{
	return record_begin(SLOT_SYS_EXIT, kind, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, body, slices);
}

/* Appends the path at `from` in user memory and, where it is relative, the directory it starts from. */
__noinline int put_call_path(u32 slot, u32 index, u32 base, u64 from, s32 dirfd)
{
	u8 first = 0;
	put_string(slot, index, from, USER_MEMORY | AS_GIVEN);
	if (bpf_probe_read_user(&first, 1, (void *)from) || first == '/')
		return 0;
	put_directory(slot, base, dirfd);
	return 0;
}

/* A 16-bit user or group id: -1 leaves the id as it is. */
static __always_inline s32 wide_id(u64 id)
{
	return (u16)id == 0xffff ? -1 : (u16)id;
}

/* The task that a struct pid stands for as a thread, 0 when it is gone. */
static __always_inline struct task_struct *task_of_pid(u64 pid)
{
	u64 link = 0;
	if (!pid)
		return 0;
	bpf_probe_read_kernel(&link, sizeof(link), (void *)pid + bpf_core_field_offset(struct pid___calls, tasks));
	return link ? (void *)link - bpf_core_field_offset(struct task_struct___calls, pid_links) : 0;
}

#define XA_LEVELS 6

/* The struct pid with this number in the current task's pid namespace, found in the namespace's own tree
 * (these programs run under RCU, which keeps it in place); 0 when there is none. */
__noinline u64 pid_by_number(u32 number)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct pid *own = BPF_CORE_READ(t, thread_pid);
	struct pid_namespace *ns = 0, *found = 0;
	u32 level = BPF_CORE_READ(own, level);
	if (level > 32)
		return 0;
	pid_at_level(own, level, &ns);
	u64 entry = (u64)BPF_CORE_READ((struct pid_namespace___calls *)ns, idr.idr_rt.xa_head);
	u32 last = 1;
	for (u32 i = 0; i < XA_LEVELS; i++) {
		if ((entry & 3) != 2 || entry < 4096)
			return 0; /* not an inner node */
		struct xa_node *node = (void *)(entry - 2);
		u32 shift = BPF_CORE_READ(node, shift) & 31;
		u32 at = number >> shift;
		if (!i && at > 63)
			return 0; /* beyond the largest number */
		const void *slots = (const void *)node + bpf_core_field_offset(struct xa_node, slots);
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry), slots + (at & 63) * sizeof(void *));
		last = shift;
		if (!shift)
			break;
	}
	if (last || !entry || entry & 3 || pid_at_level((void *)entry, level, &found) != number || found != ns)
		return 0;
	return entry;
}

/* The struct pid behind a descriptor that a call took as a process: a pidfd or a directory of /proc. */
static __always_inline u64 pid_by_fd(s32 fd)
{
	struct file *f = fd < 0 ? 0 : file_of(fd);
	if (!f)
		return 0;
	struct inode *i = BPF_CORE_READ(f, f_inode);
	u64 magic = BPF_CORE_READ(i, i_sb, s_magic);
	if (magic == PIDFS)
		return (u64)BPF_CORE_READ((struct inode___calls *)i, i_private);
	if (magic == PROC_SUPER_MAGIC)
		return (u64)BPF_CORE_READ((struct proc_inode *)((void *)i - bpf_core_field_offset(struct proc_inode, vfs_inode)), pid);
	return magic == ANON_INODE ? (u64)BPF_CORE_READ(f, private_data) : 0;
}

/* What a record says about the process that a call is aimed at; `target` is its last field. */
#define TARGET_FIELDS        \
	u64 target_start;    \
	u32 target_pid;      \
	u32 target_uid;      \
	u8 target_comm[16];  \
	u8 target_known;

#define fill_target(b, t)                                                                    \
	({                                                                                   \
		struct task_struct *leader_ = BPF_CORE_READ(t, group_leader);                \
		(b)->target_known = 1;                                                       \
		(b)->target_pid = BPF_CORE_READ(t, tgid);                                    \
		(b)->target_uid = BPF_CORE_READ(t, cred, uid.val);                           \
		(b)->target_start = BPF_CORE_READ(leader_, start_boottime);                  \
		bpf_core_read((b)->target_comm, sizeof((b)->target_comm), &leader_->comm);   \
	})

/* Appends the path of a task's executable; absent when it has none, or no longer. */
static __always_inline void put_executable(u32 slot, u32 index, struct task_struct *t)
{
	struct file *f = BPF_CORE_READ(t, mm, exe_file);
	if (f)
		put_file_path(slot, index, f);
}
