/* A symbolic link was made.
 *
 * kprobe: the three steps of a creation (name.h); the target is the kernel's copy. tracepoint: the call
 * succeeded; the path and the target are those it gave.
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
	name_begin(SLOT_SYS_EXIT, KIND_SECURITY_INODE_SYMLINK, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, SYMLINK_SLICES, 0, 0, 0);
	put_given(SLOT_SYS_EXIT, SYMLINK_LINKPATH, path, dir, USER_MEMORY);
	put_string(SLOT_SYS_EXIT, SYMLINK_TARGET, c->arg[0], USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_path_symlink")
int security_inode_symlink__kprobe__security_path_symlink(struct pt_regs *ctx)
{
	return creating(KIND_SECURITY_INODE_SYMLINK, (void *)PT_REGS_PARM1_CORE(ctx), PT_REGS_PARM2_CORE(ctx));
}

SEC("kprobe/security_inode_symlink")
int security_inode_symlink__kprobe(struct pt_regs *ctx)
{
	return created_soon(KIND_SECURITY_INODE_SYMLINK, PT_REGS_PARM2_CORE(ctx), PT_REGS_PARM3_CORE(ctx), 0);
}

SEC("kprobe/mnt_drop_write")
int security_inode_symlink__kprobe__mnt_drop_write(struct pt_regs *ctx)
{
	struct naming n;
	u64 mount = PT_REGS_PARM1_CORE(ctx);
	if (!name_take(KIND_SECURITY_INODE_SYMLINK, mount, &n))
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_SYMLINK, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct dentry *d = (void *)n.dentry;
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFLNK) {
		filter(KIND_SECURITY_INODE_SYMLINK, FILTERED_FAILED);
		return 0;
	}
	name_begin(SLOT_KPROBE, KIND_SECURITY_INODE_SYMLINK, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, SYMLINK_SLICES, 0, 0, inode);
	put_path(SLOT_KPROBE, SYMLINK_LINKPATH, n.dentry, mount);
	put_string(SLOT_KPROBE, SYMLINK_TARGET, n.other, 0);
	submit(SLOT_KPROBE, false);
	return 0;
}
