/* A file was mapped to be executed, by a call; what exec itself maps is in its own event. The file is
 * the one behind the call's descriptor: the mapping exists, the descriptor is still open. */
#include "../syscall.h"

struct mmap_body {
	u64 inode, ctime;
	u32 dev, flags;
	u32 prot, mmap_flags;
};
LAYOUT(mmap_body)
enum mmap_slice { MMAP_PATHNAME, MMAP_SLICES };

#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20

static __always_inline bool mmap_is_call(u32 nr)
{
	return nr == SYS_MMAP || nr == SYS32_MMAP || nr == SYS32_MMAP2;
}

__noinline int mapped_executable(u32 prot, u32 flags, s32 fd, s64 result, u32 compat)
{
	u32 interest = admit(KIND_SECURITY_MMAP_FILE, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	if (result < 0 && result >= -4095) {
		filter(KIND_SECURITY_MMAP_FILE, FILTERED_FAILED);
		return 0;
	}
	if (flags & MAP_ANONYMOUS) {
		filter(KIND_SECURITY_MMAP_FILE, FILTERED_OTHER);
		return 0;
	}
	struct file *f = file_of(fd);
	if (!f) { /* another thread closed it already */
		drop(KIND_SECURITY_MMAP_FILE, DROPPED_FAULT);
		return 0;
	}
	struct mmap_body *b = record_begin(SLOT_SYS_EXIT, KIND_SECURITY_MMAP_FILE, HOOK_SYS_EXIT, compat ? COMPAT : 0, interest, sizeof(*b), MMAP_SLICES);
	if (!b)
		return 0;
	fill_inode(b, BPF_CORE_READ(f, f_inode));
	b->flags = BPF_CORE_READ(f, f_flags);
	b->prot = prot;
	b->mmap_flags = flags;
	put_file_path(SLOT_SYS_EXIT, MMAP_PATHNAME, f);
	submit(SLOT_SYS_EXIT, false);
	return 0;
}

static __always_inline bool mmap_sys_exit(struct call *c)
{
	bool n = !c->compat;
	if (c->nr == SYS32_MMAP && !n) { /* its arguments lie in memory */
		u32 args[6] = {};
		if (bpf_probe_read_user(args, sizeof(args), (void *)c->arg[0]))
			return true;
		c->arg[2] = args[2];
		c->arg[3] = args[3];
		c->arg[4] = args[4];
	} else if (c->nr != (n ? SYS_MMAP : SYS32_MMAP2)) {
		return false;
	}
	if (c->arg[2] & PROT_EXEC)
		mapped_executable(c->arg[2], c->arg[3], c->arg[4], c->ret, c->compat);
	return true;
}
