/* The mode of a file was changed.
 *
 * kprobe: chmod_common tells file and mode; when it gives back the right to write to the mount, the
 * file has that mode now or it failed. That its change time moved on tells success from a failure to
 * set what was set already. (The kernel may leave out the setgid bit of a foreign group.)
 * tracepoint: the call succeeded; by a descriptor the file is the kernel's, else the path is the one
 * the call gave.
 */
#include "../name.h"

struct chmod_body NAME_BODY(requested);
LAYOUT(chmod_body)
enum chmod_slice { CHMOD_PATHNAME, CHMOD_BASE, CHMOD_SLICES };

#define MODE_BITS 07777
#define S_ISGID 02000

static __always_inline bool chmod_is_call(u32 nr)
{
	return nr == SYS_CHMOD || nr == SYS_FCHMOD || nr == SYS_FCHMODAT || nr == SYS_FCHMODAT2 || nr == SYS32_CHMOD || nr == SYS32_FCHMOD ||
	       nr == SYS32_FCHMODAT;
}

static __always_inline bool chmod_sys_exit(struct call *c)
{
	bool n = !c->compat;
	s32 dir = AT_FDCWD;
	u64 path = c->arg[0];
	u32 mode = c->arg[1];
	struct file *f = 0;
	struct inode *inode = 0;
	bool by_descriptor = c->nr == (n ? SYS_FCHMOD : SYS32_FCHMOD);
	if (c->nr == (n ? SYS_FCHMODAT : SYS32_FCHMODAT) || c->nr == (n ? SYS_FCHMODAT2 : SYS32_FCHMODAT2)) {
		dir = c->arg[0];
		path = c->arg[1];
		mode = c->arg[2];
	} else if (c->nr != (n ? SYS_CHMOD : SYS32_CHMOD) && !by_descriptor) {
		return false;
	}
	u32 interest = admit_call(KIND_CHMOD_COMMON, c);
	if (interest == REFUSED)
		return true;
	if (by_descriptor) {
		f = file_of(c->arg[0]);
		if (!f) { /* another thread closed it already */
			drop(KIND_CHMOD_COMMON, DROPPED_FAULT);
			return true;
		}
		inode = BPF_CORE_READ(f, f_inode);
	}
	name_begin(SLOT_SYS_EXIT, KIND_CHMOD_COMMON, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, CHMOD_SLICES, 0, mode & MODE_BITS, inode);
	if (f)
		put_file_path(SLOT_SYS_EXIT, CHMOD_PATHNAME, f);
	else
		put_given(SLOT_SYS_EXIT, CHMOD_PATHNAME, path, dir, USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/chmod_common")
int chmod_common__kprobe(struct pt_regs *ctx)
{
	struct path *path = (void *)PT_REGS_PARM1_CORE(ctx);
	u64 mount = (u64)BPF_CORE_READ(path, mnt), dentry = (u64)BPF_CORE_READ(path, dentry);
	struct inode *inode = BPF_CORE_READ(path, dentry, d_inode);
	u64 before = BPF_CORE_READ(inode, i_mode) & MODE_BITS, wish = PT_REGS_PARM2_CORE(ctx) & MODE_BITS;
	return name_put(KIND_CHMOD_COMMON, mount, dentry, ctime_ns(inode), before << 16 | wish);
}

SEC("kprobe/mnt_drop_write")
int chmod_common__kprobe__mnt_drop_write(struct pt_regs *ctx)
{
	struct naming n;
	u64 mount = PT_REGS_PARM1_CORE(ctx);
	if (!name_take(KIND_CHMOD_COMMON, mount, &n))
		return 0;
	u32 interest = admit(KIND_CHMOD_COMMON, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct dentry *d = (void *)n.dentry;
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	u32 now = BPF_CORE_READ(inode, i_mode) & MODE_BITS, before = n.more >> 16, wish = n.more & 0xffff;
	if ((now ^ wish) & ~S_ISGID || (now == before && ctime_ns(inode) == n.other)) {
		filter(KIND_CHMOD_COMMON, FILTERED_FAILED);
		return 0;
	}
	name_begin(SLOT_KPROBE, KIND_CHMOD_COMMON, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, CHMOD_SLICES, 0, wish, inode);
	put_path(SLOT_KPROBE, CHMOD_PATHNAME, (u64)d, mount);
	submit(SLOT_KPROBE, false);
	return 0;
}
