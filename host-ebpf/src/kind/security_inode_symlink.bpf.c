/* A symbolic link was made.
 *
 * kprobe: security_inode_symlink tells the target, a kernel copy; when the caller ends the creation,
 * with the mount, the link is there or it failed. tracepoint: the call succeeded; the path and the
 * target are those it gave.
 */
#include "../name.h"

struct symlink_body NAME_BODY(reserved2);
LAYOUT(symlink_body)
enum symlink_slice { SYMLINK_LINKPATH, SYMLINK_BASE, SYMLINK_TARGET, SYMLINK_SLICES };

static __always_inline bool symlink_is_call(u32 nr)
{
	return nr == SYS_SYMLINK || nr == SYS_SYMLINKAT || nr == SYS32_SYMLINK || nr == SYS32_SYMLINKAT;
}

static __always_inline bool symlink_sys_exit(struct call *c)
{
	bool n = !c->compat;
	s32 dir = AT_FDCWD;
	u64 path = c->arg[1];
	if (c->nr == (n ? SYS_SYMLINKAT : SYS32_SYMLINKAT)) {
		dir = c->arg[1];
		path = c->arg[2];
	} else if (c->nr != (n ? SYS_SYMLINK : SYS32_SYMLINK)) {
		return false;
	}
	u32 interest = admit_call(KIND_SECURITY_INODE_SYMLINK, c);
	if (interest == REFUSED)
		return true;
	if (!name_begin(SLOT_SYS_EXIT, KIND_SECURITY_INODE_SYMLINK, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, SYMLINK_SLICES, 0))
		return true;
	put_given(SLOT_SYS_EXIT, SYMLINK_LINKPATH, path, dir, USER_MEMORY);
	put_string(SLOT_SYS_EXIT, SYMLINK_TARGET, c->arg[0], USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_inode_symlink")
int security_inode_symlink__kprobe(struct pt_regs *ctx)
{
	return name_tried(KIND_SECURITY_INODE_SYMLINK, PT_REGS_PARM2_CORE(ctx), 0, PT_REGS_PARM3_CORE(ctx), 0);
}

SEC("kprobe/end_creating_path")
int security_inode_symlink__kprobe__end_creating_path(struct pt_regs *ctx)
{
	struct naming n;
	struct path *dir = (void *)PT_REGS_PARM1_CORE(ctx);
	struct dentry *d = (void *)PT_REGS_PARM2_CORE(ctx);
	if (!name_ended(KIND_SECURITY_INODE_SYMLINK, (u64)d, &n))
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_SYMLINK, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFLNK) {
		filter(KIND_SECURITY_INODE_SYMLINK, FILTERED_FAILED);
		return 0;
	}
	if (!name_begin(SLOT_KPROBE, KIND_SECURITY_INODE_SYMLINK, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, SYMLINK_SLICES, inode))
		return 0;
	put_path(SLOT_KPROBE, SYMLINK_LINKPATH, (u64)d, (u64)BPF_CORE_READ(dir, mnt));
	put_string(SLOT_KPROBE, SYMLINK_TARGET, n.other, 0);
	submit(SLOT_KPROBE, false);
	return 0;
}
