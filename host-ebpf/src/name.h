/* What the kinds about names of files share: paths as a process gave them, and the pairing of their
 * kprobes.
 *
 * No return probes: the kernel has a fixed number of their instances, and a call may block for as long
 * as a user's own file system (FUSE) likes, so that a few blocked ones would hide all others. What
 * succeeded shows at a function that the kernel calls afterwards.
 */
#pragma once
#include "syscall.h"

#define AT_FDCWD -100
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
	if (first == '/') {
		put_path(slot, index + 1, (u64)BPF_CORE_READ(fs, root.dentry), (u64)BPF_CORE_READ(fs, root.mnt));
	} else if ((s32)dirfd == AT_FDCWD) {
		put_cwd(slot, index + 1, t);
	} else {
		struct file *f = file_of(dirfd);
		if (f)
			put_file_path(slot, index + 1, f);
	}
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

/* Begins a record about a name and about `inode`, which is 0 where the hook does not see it. */
static __always_inline struct name_body *name_begin(u32 slot_index, u32 kind, u32 hook, u32 flags, u32 interest, u32 slices, struct inode *inode)
{
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	if (!slot) {
		drop(kind, DROPPED_FAULT);
		return 0;
	}
	if (interest & PROBE)
		flags |= CANARY;
	begin(slot_index, current_task(), kind, hook, flags, sizeof(struct name_body), slices);
	struct name_body *b = (void *)(slot->record + sizeof(struct record_header));
	__builtin_memset(b, 0, sizeof(*b));
	if (inode) {
		b->inode = BPF_CORE_READ(inode, i_ino);
		b->ctime = ctime_ns(inode);
		b->dev = BPF_CORE_READ(inode, i_sb, s_dev);
		b->mode = BPF_CORE_READ(inode, i_mode);
		b->inode_known = 1;
	}
	return b;
}

/* An operation that a thread has begun on a name. The key holds both, so that what a stacked file
 * system does underneath is another entry, which no later hook looks for. */
struct naming_key {
	u64 thread, dentry, kind;
};
struct naming {
	u64 mount; /* 0: not known */
	u64 other; /* the kind's own, as is `more` */
	u64 more;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct naming_key);
	__type(value, struct naming);
} NAMING SEC(".maps");

static __always_inline struct naming_key naming_key(u32 kind, u64 dentry)
{
	return (struct naming_key){ bpf_get_current_pid_tgid(), dentry, kind };
}

static __always_inline int name_tried(u32 kind, u64 dentry, u64 mount, u64 other, u64 more)
{
	if (!wanted(kind, RUNG_KPROBE))
		return 0;
	struct naming_key key = naming_key(kind, dentry);
	struct naming n = { mount, other, more };
	bpf_map_update_elem(&NAMING, &key, &n, BPF_ANY);
	return 0;
}

/* Takes the entry of an operation that has come to its end. */
static __always_inline bool name_ended(u32 kind, u64 dentry, struct naming *n)
{
	struct naming_key key = naming_key(kind, dentry);
	struct naming *found = bpf_map_lookup_elem(&NAMING, &key);
	if (!found)
		return false;
	*n = *found;
	bpf_map_delete_elem(&NAMING, &key);
	return true;
}
