/* A file got a second name (a hard link).
 *
 * kprobe: the three steps of a creation (name.h); at the end the new name leads to the file or it
 * failed. tracepoint: the call succeeded; the paths are those it gave.
 */
#include "../name.h"

struct link_body NAME_BODY(reserved2);
LAYOUT(link_body)
enum link_slice { LINK_NEW, LINK_NEW_BASE, LINK_OLD, LINK_OLD_BASE, LINK_SLICES };

static __always_inline bool link_is_call(u32 nr)
{
	return nr == SYS_LINK || nr == SYS_LINKAT || nr == SYS32_LINK || nr == SYS32_LINKAT;
}

static __always_inline bool link_sys_exit(struct call *c)
{
	bool n = !c->compat;
	s32 from_dir = AT_FDCWD, to_dir = AT_FDCWD;
	u64 from = c->arg[0], to = c->arg[1];
	if (c->nr == (n ? SYS_LINKAT : SYS32_LINKAT)) {
		from_dir = c->arg[0];
		from = c->arg[1];
		to_dir = c->arg[2];
		to = c->arg[3];
	} else if (c->nr != (n ? SYS_LINK : SYS32_LINK)) {
		return false;
	}
	u32 interest = admit_call(KIND_SECURITY_INODE_LINK, c);
	if (interest == REFUSED)
		return true;
	name_begin(SLOT_SYS_EXIT, KIND_SECURITY_INODE_LINK, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, LINK_SLICES, 0, 0, 0);
	put_given(SLOT_SYS_EXIT, LINK_NEW, to, to_dir, USER_MEMORY);
	put_given(SLOT_SYS_EXIT, LINK_OLD, from, from_dir, USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_path_link")
int security_inode_link__kprobe__security_path_link(struct pt_regs *ctx)
{
	return creating(KIND_SECURITY_INODE_LINK, (void *)PT_REGS_PARM2_CORE(ctx), PT_REGS_PARM3_CORE(ctx));
}

SEC("kprobe/security_inode_link")
int security_inode_link__kprobe(struct pt_regs *ctx)
{
	return created_soon(KIND_SECURITY_INODE_LINK, PT_REGS_PARM3_CORE(ctx), PT_REGS_PARM1_CORE(ctx), 0);
}

SEC("kprobe/mnt_drop_write")
int security_inode_link__kprobe__mnt_drop_write(struct pt_regs *ctx)
{
	struct naming n;
	u64 mount = PT_REGS_PARM1_CORE(ctx); /* of both names: a link does not leave its mount */
	if (!name_take(KIND_SECURITY_INODE_LINK, mount, &n))
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_LINK, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct dentry *to = (void *)n.dentry, *from = (void *)n.other;
	struct inode *inode = BPF_CORE_READ(from, d_inode);
	if (BPF_CORE_READ(to, d_inode) != inode) {
		filter(KIND_SECURITY_INODE_LINK, FILTERED_FAILED);
		return 0;
	}
	name_begin(SLOT_KPROBE, KIND_SECURITY_INODE_LINK, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, LINK_SLICES, 0, 0, inode);
	put_path(SLOT_KPROBE, LINK_NEW, n.dentry, mount);
	put_path(SLOT_KPROBE, LINK_OLD, n.other, mount);
	submit(SLOT_KPROBE, false);
	return 0;
}
