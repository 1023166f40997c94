/* A pipe, device or socket was made, or an ordinary file by mknod(2).
 *
 * kprobe: security_inode_mknod tells mode and device; when the caller ends the creation, with the
 * mount, the file is there or it failed. An ordinary file passes another hook, so there the end itself
 * asks for the call. tracepoint: the call succeeded; the path is the one it gave.
 */
#include "../name.h"

struct mknod_body NAME_BODY(rdev);
LAYOUT(mknod_body)
enum mknod_slice { MKNOD_FILE_NAME, MKNOD_BASE, MKNOD_SLICES };

static __always_inline bool mknod_is_call(u32 nr)
{
	return nr == SYS_MKNOD || nr == SYS_MKNODAT || nr == SYS32_MKNOD || nr == SYS32_MKNODAT;
}

/* False when the call makes no file. */
static __always_inline bool mknod_arguments(struct call *c, s32 *dir, u64 *path, u32 *mode, u32 *user_dev)
{
	bool n = !c->compat;
	*dir = AT_FDCWD;
	*path = c->arg[0];
	*mode = c->arg[1];
	*user_dev = c->arg[2];
	if (c->nr == (n ? SYS_MKNODAT : SYS32_MKNODAT)) {
		*dir = c->arg[0];
		*path = c->arg[1];
		*mode = c->arg[2];
		*user_dev = c->arg[3];
		return true;
	}
	return c->nr == (n ? SYS_MKNOD : SYS32_MKNOD);
}

static __always_inline bool mknod_sys_exit(struct call *c)
{
	s32 dir;
	u64 path;
	u32 mode, user_dev;
	if (!mknod_arguments(c, &dir, &path, &mode, &user_dev))
		return false;
	u32 interest = admit_call(KIND_SECURITY_INODE_MKNOD, c);
	if (interest == REFUSED)
		return true;
	struct name_body *b = name_begin(SLOT_SYS_EXIT, KIND_SECURITY_INODE_MKNOD, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, MKNOD_SLICES, 0);
	if (!b)
		return true;
	/* The kernel takes no type for an ordinary file, and has devices encoded otherwise than users. */
	b->mode = mode & S_IFMT ? mode : mode | S_IFREG;
	b->more = (user_dev & 0xfff00) << 12 | (user_dev & 0xff) | (user_dev >> 12 & 0xfff00);
	put_given(SLOT_SYS_EXIT, MKNOD_FILE_NAME, path, dir, USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_inode_mknod")
int security_inode_mknod__kprobe(struct pt_regs *ctx)
{
	return name_tried(KIND_SECURITY_INODE_MKNOD, PT_REGS_PARM2_CORE(ctx), 0, PT_REGS_PARM4_CORE(ctx), PT_REGS_PARM3_CORE(ctx));
}

SEC("kprobe/end_creating_path")
int security_inode_mknod__kprobe__end_creating_path(struct pt_regs *ctx)
{
	struct naming n = {};
	struct path *dir = (void *)PT_REGS_PARM1_CORE(ctx);
	struct dentry *d = (void *)PT_REGS_PARM2_CORE(ctx);
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	u32 mode = BPF_CORE_READ(inode, i_mode);
	if (!name_ended(KIND_SECURITY_INODE_MKNOD, (u64)d, &n)) {
		struct call c;
		if ((mode & S_IFMT) != S_IFREG || !wanted(KIND_SECURITY_INODE_MKNOD, RUNG_KPROBE))
			return 0;
		running_call(&c);
		if (c.nr != (c.compat ? SYS32_MKNODAT : SYS_MKNODAT) && c.nr != (c.compat ? SYS32_MKNOD : SYS_MKNOD))
			return 0;
		n.more = mode;
	}
	u32 interest = admit(KIND_SECURITY_INODE_MKNOD, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	if ((mode ^ n.more) & S_IFMT) {
		filter(KIND_SECURITY_INODE_MKNOD, FILTERED_FAILED);
		return 0;
	}
	struct name_body *b = name_begin(SLOT_KPROBE, KIND_SECURITY_INODE_MKNOD, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, MKNOD_SLICES, inode);
	if (!b)
		return 0;
	b->more = n.other;
	put_path(SLOT_KPROBE, MKNOD_FILE_NAME, (u64)d, (u64)BPF_CORE_READ(dir, mnt));
	submit(SLOT_KPROBE, false);
	return 0;
}
