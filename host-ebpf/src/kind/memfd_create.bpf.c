/* A file that lives in memory only was made. Its name is the kernel's own, from the new file. */
#include "../syscall.h"

struct memfd_body {
	u64 inode;
	u32 dev, flags;
	s32 fd;
	u32 reserved;
};
LAYOUT(memfd_body)
enum memfd_slice { MEMFD_NAME, MEMFD_SLICES };

static __always_inline bool memfd_is_call(u32 nr)
{
	return nr == SYS_MEMFD_CREATE || nr == SYS32_MEMFD_CREATE;
}

__noinline int memfd_created(u64 flags, s64 fd, u32 compat)
{
	u32 interest = admit(KIND_MEMFD_CREATE, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	if (fd < 0) {
		filter(KIND_MEMFD_CREATE, FILTERED_FAILED);
		return 0;
	}
	struct file *f = file_of(fd);
	if (!f) {
		drop(KIND_MEMFD_CREATE, DROPPED_FAULT);
		return 0;
	}
	struct memfd_body *b = record_begin(SLOT_SYS_EXIT, KIND_MEMFD_CREATE, HOOK_SYS_EXIT, compat ? COMPAT : 0, interest, sizeof(*b), MEMFD_SLICES);
	if (!b)
		return 0;
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	b->inode = BPF_CORE_READ(inode, i_ino);
	b->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	b->flags = flags;
	b->fd = fd;
	put_string(SLOT_SYS_EXIT, MEMFD_NAME, (u64)BPF_CORE_READ(f, f_path.dentry, d_name.name), 0);
	submit(SLOT_SYS_EXIT, false);
	return 0;
}

static __always_inline bool memfd_sys_exit(struct call *c)
{
	if (c->nr != (c->compat ? SYS32_MEMFD_CREATE : SYS_MEMFD_CREATE))
		return false;
	memfd_created(c->arg[1], c->ret, c->compat);
	return true;
}
