/* Paths, walked by hand from the dentry to the root of the mount namespace: bpf_d_path is not allowed
 * in these programs. */
#pragma once
#include "task.h"

#define COMPONENTS 144 /* 128 names and 16 mount crossings */

enum magic {
	PIPEFS = 0x50495045,
	SOCKFS = 0x534F434B,
	ANON_INODE = 0x09041934,
	NSFS = 0x6e736673,
	PIDFS = 0x50494446,
};

/* The place of `start` in the path area, held inside it. */
static __always_inline u8 *path_at(struct walk *w, u64 start)
{
	opaque(start);
	return w->bytes + (start & (PATH_BYTES - 1));
}

/* One step of a walk towards the root. True when there is nothing left to do. The steps are a
 * function of their own because the verifier then looks at one instead of at all of them. */
__noinline int step(u32 slot)
{
	struct area a;
	if (!area_of(slot, &a))
		return 1;
	struct walk *w = a.path;
	struct dentry *d = (void *)w->dentry, *parent = BPF_CORE_READ(d, d_parent);
	if (w->dentry == w->root || d == parent) {
		/* A root that is not its mount's has been moved out of sight: the path stays cut. */
		if (w->mount && w->dentry != w->root)
			return 1;
		struct mount *m = (void *)w->mount, *above = m ? BPF_CORE_READ(m, mnt_parent) : 0;
		if (above == m) {
			w->cut = 0;
			return 1;
		}
		w->dentry = (u64)BPF_CORE_READ(m, mnt_mountpoint);
		w->mount = (u64)above;
		w->root = (u64)BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	u64 length = BPF_CORE_READ(d, d_name.len) & NAME_BYTES;
	const unsigned char *name = BPF_CORE_READ(d, d_name.name);
	u64 start = w->start;
	if (start < length + 2 || start > PATH_BYTES)
		return 1;
	start -= length + 1;
	u8 *to = path_at(w, start);
	to[0] = '/';
	opaque(length);
	bpf_probe_read_kernel(to + 1, length & NAME_BYTES, name);
	w->start = start;
	w->dentry = (u64)parent;
	return 0;
}

/* Builds the path of (dentry, mount) in the slot; mount 0 stops at the file system's root. */
__noinline int walk(u32 slot, u64 dentry, u64 vfsmount)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	struct walk *w = a.path;
	struct dentry *d = (void *)dentry;
	struct vfsmount *vm = (void *)vfsmount;
	w->dentry = dentry;
	w->mount = vm ? vfsmount - bpf_core_field_offset(struct mount, mnt) : 0;
	w->root = vm ? (u64)BPF_CORE_READ(vm, mnt_root) : 0;
	w->start = PATH_BYTES;
	w->flags = vm ? 0 : FS_RELATIVE;
	w->cut = 1;
	if (d != BPF_CORE_READ(d, d_parent) && !BPF_CORE_READ(d, d_hash.pprev))
		w->flags |= DELETED;
	for (u32 i = 0; i < COMPONENTS; i++)
		if (step(slot))
			break;
	if (w->cut && w->start < PATH_BYTES)
		w->start++; /* a cut path never begins with '/' */
	if (!w->cut && w->start == PATH_BYTES) {
		w->start = PATH_BYTES - 1;
		*path_at(w, PATH_BYTES - 1) = '/';
	}
	return 0;
}

/* Names a file that has no place in the tree ("pipe:[7]") the way /proc does. True when it is one. */
__noinline int walk_pseudo(u32 slot, u64 dentry)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	struct dentry *d = (void *)dentry;
	if (BPF_CORE_READ(d, d_parent) != d)
		return 0;
	u64 magic = BPF_CORE_READ(d, d_sb, s_magic), prefix = 0;
	u64 prefix_length = 0, start = PATH_BYTES;
	struct walk *w = a.path;
	switch (magic) {
	case PIPEFS:
		prefix = 0x3a65706970; /* "pipe:", little endian */
		prefix_length = 5;
		break;
	case SOCKFS:
		prefix = 0x3a74656b636f73; /* "socket:" */
		prefix_length = 7;
		break;
	case NSFS:
		prefix = 0x3a736e; /* "ns:" */
		prefix_length = 3;
		break;
	case PIDFS:
		prefix = 0x3a6466646970; /* "pidfd:" */
		prefix_length = 6;
		break;
	}
	if (prefix_length) {
		u64 number = BPF_CORE_READ(d, d_inode, i_ino);
		*path_at(w, --start) = ']';
		for (u32 i = 0; i < 20; i++) {
			*path_at(w, --start) = '0' + number % 10;
			number /= 10;
			if (!number)
				break;
		}
		*path_at(w, --start) = '[';
		start -= prefix_length;
		u8 *to = path_at(w, start);
		for (u32 i = 0; i < 7; i++) {
			if (i < prefix_length)
				to[i] = prefix;
			prefix >>= 8;
		}
	} else {
		u8 first = 0;
		u64 length = BPF_CORE_READ(d, d_name.len) & NAME_BYTES;
		const unsigned char *name = BPF_CORE_READ(d, d_name.name);
		bpf_probe_read_kernel(&first, 1, name);
		if (!length || first == '/')
			return 0; /* the root of a real file system */
		start -= length;
		bpf_probe_read_kernel(path_at(w, start), length, name);
		if (magic == ANON_INODE) {
			start -= 11;
			__builtin_memcpy(path_at(w, start), "anon_inode:", 11);
		}
	}
	w->start = start;
	w->flags = PSEUDO;
	w->cut = 0;
	return 1;
}

/* Builds the path of (dentry, mount) or the name of a file without one. */
static __always_inline void build_path(u32 slot, u64 dentry, u64 vfsmount)
{
	if (!vfsmount || !walk_pseudo(slot, dentry))
		walk(slot, dentry, vfsmount);
}

/* Appends the path that was built last. */
__noinline int put_built(u32 slot, u32 index)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	struct walk *w = a.path;
	u64 at = *a.next, length = PATH_BYTES - w->start;
	opaque(at);
	if (at > a.size - PATH_BYTES) {
		set_slice(&a, index, 0, 0, UNKNOWN_LENGTH, CUT, w->flags);
		return 0;
	}
	opaque(length);
	length &= PATH_BYTES - 1;
	if (bpf_probe_read_kernel(a.record + at, length, path_at(w, PATH_BYTES - length))) {
		set_slice(&a, index, at, 0, UNKNOWN_LENGTH, FAULT, w->flags);
		return 0;
	}
	set_slice(&a, index, at, length, w->cut ? UNKNOWN_LENGTH : length, w->cut ? CUT : OK, w->flags);
	*a.next = at + length;
	return 0;
}

/* Appends the path of (dentry, mount). */
__noinline int put_path(u32 slot, u32 index, u64 dentry, u64 vfsmount)
{
	if (dentry) {
		build_path(slot, dentry, vfsmount);
		put_built(slot, index);
	}
	return 0;
}

#include "path_filter.h"

static __always_inline void put_file_path(u32 slot, u32 index, struct file *f)
{
	put_path(slot, index, (u64)BPF_CORE_READ(f, f_path.dentry), (u64)BPF_CORE_READ(f, f_path.mnt));
}

static __always_inline void put_cwd(u32 slot, u32 index, struct task_struct *t)
{
	struct fs_struct *fs = BPF_CORE_READ(t, fs);
	if (fs)
		put_path(slot, index, (u64)BPF_CORE_READ(fs, pwd.dentry), (u64)BPF_CORE_READ(fs, pwd.mnt));
}

#define AT_FDCWD -100

/* Appends the directory that a relative path starts from: the working directory, or the one behind a descriptor. */
static __always_inline void put_directory(u32 slot, u32 index, s32 dirfd)
{
	struct file *f = dirfd == AT_FDCWD ? 0 : file_of(dirfd);
	if (dirfd == AT_FDCWD)
		put_cwd(slot, index, (void *)current_task());
	else if (f)
		put_file_path(slot, index, f);
}

/* Inode change time, ns since the epoch, whatever the kernel calls it. */
static __always_inline u64 ctime_ns(struct inode *i)
{
	struct inode___6_11 *newest = (void *)i;
	struct inode___6_6 *newer = (void *)i;
	struct inode___before_6_6 *old = (void *)i;
	if (bpf_core_field_exists(newest->i_ctime_sec)) {
		/* bit 31 is the multigrain flag of 6.13 */
		u64 ns = BPF_CORE_READ(newest, i_ctime_nsec) & 0x7fffffff;
		return BPF_CORE_READ(newest, i_ctime_sec) * 1000000000ull + ns;
	}
	if (bpf_core_field_exists(newer->__i_ctime))
		return BPF_CORE_READ(newer, __i_ctime.tv_sec) * 1000000000ull + BPF_CORE_READ(newer, __i_ctime.tv_nsec);
	return BPF_CORE_READ(old, i_ctime.tv_sec) * 1000000000ull + BPF_CORE_READ(old, i_ctime.tv_nsec);
}

/* What a body says about an inode, in three fields of these names. */
#define fill_inode(b, i)                                    \
	({                                                  \
		struct inode *inode_ = (i);                 \
		(b)->inode = BPF_CORE_READ(inode_, i_ino);  \
		(b)->ctime = ctime_ns(inode_);              \
		(b)->dev = BPF_CORE_READ(inode_, i_sb, s_dev); \
	})
