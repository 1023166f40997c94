/* What the kinds about names of files share: paths as a process gave them, and the pairing of their
 * kprobes.
 *
 * No return probes: the kernel has a fixed number of their instances, and a call may block for as long
 * as a user's own file system (FUSE) likes, so that a few blocked ones would hide all others. What
 * succeeded shows at a function that the kernel calls afterwards.
 */
#pragma once
#include "syscall.h"

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFLNK 0120000

/* What is known of the object behind a name; `more` is the kind's own. */
#define NAME_BODY(more)            \
	{                          \
		u64 inode, ctime;  \
		u32 dev, more;     \
		u16 mode;          \
		u8 inode_known;    \
		u8 reserved[5];    \
	}
struct name_body NAME_BODY(more);

/* Appends a path as it was given as slice `index`, and as the slice behind it what it starts from: the
 * root of the process (a chroot is one, too), its working directory or an open directory. */
__noinline int put_given(u32 slot, u32 index, u64 from, u32 dirfd, u32 flags)
{
	u8 first = 0;
	struct task_struct *t = (void *)current_task();
	put_string(slot, index, from, flags | AS_GIVEN);
	if (flags & USER_MEMORY)
		bpf_probe_read_user(&first, 1, (void *)from);
	else
		bpf_probe_read_kernel(&first, 1, (void *)from);
	struct fs_struct *fs = BPF_CORE_READ(t, fs);
	if (first == '/')
		put_path(slot, index + 1, (u64)BPF_CORE_READ(fs, root.dentry), (u64)BPF_CORE_READ(fs, root.mnt));
	else
		put_directory(slot, index + 1, dirfd);
	return 0;
}

/* Admits the event of a system call that has ended, or counts why not. */
static __always_inline u32 admit_call(u32 kind, struct call *c)
{
	u32 interest = admit(kind, RUNG_TRACEPOINT, true);
	if (interest != REFUSED && c->ret < 0) {
		filter(kind, FILTERED_FAILED);
		return REFUSED;
	}
	return interest;
}

/* Begins a record about a name. `inode` is what it leads to, or 0 where the hook does not see it; then
 * `mode` is all that is known. */
#define name_begin(slot, kind, hook, flags, interest, slices, mode, more, inode)                                              \
	name_begin_packed(slot, (kind) | (hook) << 8 | (u32)(mode) << 16, (flags) | ((interest) & PROBE ? CANARY : 0) | (slices) << 16, more, \
			  (u64)(inode))
__noinline int name_begin_packed(u32 slot, u32 kind_hook_mode, u32 flags_slices, u32 more, u64 inode)
{
	struct area a;
	struct inode *i = (void *)inode;
	u32 slices = flags_slices >> 16;
	begin(slot, current_task(), kind_hook_mode & 255, kind_hook_mode >> 8 & 255, flags_slices & 0xffff, sizeof(struct name_body), slices);
	if (!area_of(slot, &a))
		return 0;
	struct name_body *b = (void *)(a.record + sizeof(struct record_header));
	__builtin_memset(b, 0, sizeof(*b));
	b->more = more;
	b->mode = kind_hook_mode >> 16;
	if (i) {
		fill_inode(b, i);
		b->mode = BPF_CORE_READ(i, i_mode);
		b->inode_known = 1;
	}
	return 0;
}

/* An operation that a thread is in. `object` is the kernel's object by which the next hook recognises it;
 * what a stacked file system does underneath has others and makes entries that nobody looks for. */
struct naming_key {
	u64 thread, object, kind;
};
struct naming {
	u64 dentry, other, more; /* what the later hook is not told; each kind's own */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct naming_key);
	__type(value, struct naming);
} NAMING SEC(".maps");

static __always_inline int name_put(u32 kind, u64 object, u64 dentry, u64 other, u64 more)
{
	if (!wanted(kind, RUNG_KPROBE))
		return 0;
	struct naming_key key = { bpf_get_current_pid_tgid(), object, kind };
	struct naming n = { dentry, other, more };
	bpf_map_update_elem(&NAMING, &key, &n, BPF_ANY);
	return 0;
}

static __always_inline bool name_take(u32 kind, u64 object, struct naming *n)
{
	struct naming_key key = { bpf_get_current_pid_tgid(), object, kind };
	struct naming *found = bpf_map_lookup_elem(&NAMING, &key);
	if (!found)
		return false;
	*n = *found;
	bpf_map_delete_elem(&NAMING, &key);
	return true;
}

/* A creation comes in three steps: security_path_* tells the mount, security_inode_* that it is going to
 * be tried, and mnt_drop_write that it is over. By then the caller has let go of the new dentry, whose
 * memory stays for now: what it leads to tells success. */
static __always_inline int creating(u32 kind, struct path *dir, u64 dentry)
{
	return name_put(kind, dentry, (u64)BPF_CORE_READ(dir, mnt), 0, 0);
}
static __always_inline int created_soon(u32 kind, u64 dentry, u64 other, u64 more)
{
	struct naming n;
	return name_take(kind, dentry, &n) ? name_put(kind, n.dentry, dentry, other, more) : 0;
}
