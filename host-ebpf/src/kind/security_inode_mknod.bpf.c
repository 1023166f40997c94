/* A pipe, device or socket was made, or an ordinary file by mknod(2).
 *
 * kprobe: the three steps of a creation (name.h). The first is also one of every open that creates, so an
 * ordinary file must come from the call; it passes another hook at the second. tracepoint: the call
 * succeeded; the path is the one it gave.
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
	/* The kernel takes no type for an ordinary file, and has devices encoded otherwise than users. */
	u32 dev = (user_dev & 0xfff00) << 12 | (user_dev & 0xff) | (user_dev >> 12 & 0xfff00);
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	name_begin(SLOT_SYS_EXIT, KIND_SECURITY_INODE_MKNOD, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, MKNOD_SLICES, mode & 0xffff, dev, 0);
	put_given(SLOT_SYS_EXIT, MKNOD_FILE_NAME, path, dir, USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_path_mknod")
int security_inode_mknod__kprobe__security_path_mknod(struct pt_regs *ctx)
{
	struct path *dir = (void *)PT_REGS_PARM1_CORE(ctx);
	u64 dentry = PT_REGS_PARM2_CORE(ctx), type = PT_REGS_PARM3_CORE(ctx) & S_IFMT;
	if (!wanted(KIND_SECURITY_INODE_MKNOD, RUNG_KPROBE))
		return 0;
	if (type && type != S_IFREG)
		return creating(KIND_SECURITY_INODE_MKNOD, dir, dentry);
	struct call c;
	s32 dirfd;
	u64 path;
	u32 mode, user_dev;
	running_call(&c);
	if (!mknod_arguments(&c, &dirfd, &path, &mode, &user_dev))
		return 0;
	return name_put(KIND_SECURITY_INODE_MKNOD, (u64)BPF_CORE_READ(dir, mnt), dentry, 0, S_IFREG);
}

SEC("kprobe/security_inode_mknod")
int security_inode_mknod__kprobe(struct pt_regs *ctx)
{
	return created_soon(KIND_SECURITY_INODE_MKNOD, PT_REGS_PARM2_CORE(ctx), PT_REGS_PARM4_CORE(ctx), PT_REGS_PARM3_CORE(ctx));
}

SEC("kprobe/mnt_drop_write")
int security_inode_mknod__kprobe__mnt_drop_write(struct pt_regs *ctx)
{
	struct naming n;
	u64 mount = PT_REGS_PARM1_CORE(ctx);
	if (!name_take(KIND_SECURITY_INODE_MKNOD, mount, &n))
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_MKNOD, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct dentry *d = (void *)n.dentry;
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	if ((BPF_CORE_READ(inode, i_mode) ^ n.more) & S_IFMT) {
		filter(KIND_SECURITY_INODE_MKNOD, FILTERED_FAILED);
		return 0;
	}
	name_begin(SLOT_KPROBE, KIND_SECURITY_INODE_MKNOD, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, MKNOD_SLICES, 0, n.other, inode);
	put_path(SLOT_KPROBE, MKNOD_FILE_NAME, n.dentry, mount);
	submit(SLOT_KPROBE, false);
	return 0;
}
