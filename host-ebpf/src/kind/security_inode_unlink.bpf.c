/* A name of a file was removed; directories are another kind.
 *
 * kprobe: security_path_unlink gives the mount, security_inode_unlink the inode before it goes,
 * vfs_unlink's return the success.
 * tracepoint: the call succeeded; the inode is gone, and the path exists only in user memory, so it is
 * given as the process gave it, with the directory it starts from. io_uring keeps a kernel copy.
 */
#include "../name.h"

struct unlink_body {
	u64 inode, ctime;
	u32 dev;
	u16 mode;
	u8 inode_known, reserved;
};
LAYOUT(unlink_body)
enum unlink_slice { UNLINK_PATHNAME, UNLINK_BASE, UNLINK_SLICES };

#define AT_REMOVEDIR 0x200

static __always_inline struct unlink_body *unlink_begin(u32 slot_index, u32 hook, u32 flags, u32 interest)
{
	return record_begin(slot_index, KIND_SECURITY_INODE_UNLINK, hook, flags, interest, sizeof(struct unlink_body), UNLINK_SLICES);
}

static __always_inline bool unlink_is_call(u32 nr)
{
	return nr == SYS_UNLINK || nr == SYS_UNLINKAT || nr == SYS32_UNLINK || nr == SYS32_UNLINKAT;
}

static __always_inline bool unlink_sys_exit(struct call *c)
{
	bool n = !c->compat;
	s32 dirfd = AT_FDCWD;
	u64 path = c->arg[0];
	if (c->nr == (n ? SYS_UNLINKAT : SYS32_UNLINKAT)) {
		if (c->arg[2] & AT_REMOVEDIR)
			return true;
		dirfd = c->arg[0];
		path = c->arg[1];
	} else if (c->nr != (n ? SYS_UNLINK : SYS32_UNLINK)) {
		return false;
	}
	u32 interest = admit(KIND_SECURITY_INODE_UNLINK, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0) {
		filter(KIND_SECURITY_INODE_UNLINK, FILTERED_FAILED);
		return true;
	}
	struct unlink_body *b = unlink_begin(SLOT_SYS_EXIT, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest);
	if (!b)
		return true;
	put_given(SLOT_SYS_EXIT, UNLINK_PATHNAME, path, dirfd, USER_MEMORY);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

/* Removals asked of io_uring, by request: the name is the kernel's copy and goes before the completion. */
struct io_unlinking {
	s32 dirfd;
	u8 name[PATH_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, u64);
	__type(value, struct io_unlinking);
} IO_UNLINKING SEC(".maps");

#define IORING_OP_UNLINKAT 36

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(security_inode_unlink__tracepoint__io_uring_submit_req, struct io_kiocb *req)
{
	u64 id = scalar(req);
	if (req->opcode != IORING_OP_UNLINKAT || !wanted(KIND_SECURITY_INODE_UNLINK, RUNG_TRACEPOINT))
		return 0;
	struct io_unlink *unlink = (void *)id; /* the command lies at the start of the request */
	if (BPF_CORE_READ(unlink, flags) & AT_REMOVEDIR)
		return 0;
	u32 key = SLOT_UNLINK_IO_URING_SUBMIT;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	if (!slot)
		return 0;
	struct io_unlinking *u = (void *)slot->record;
	u->dirfd = BPF_CORE_READ(unlink, dfd);
	const char *name = BPF_CORE_READ(unlink, filename, name);
	if (bpf_probe_read_kernel_str(u->name, sizeof(u->name), name) > 0)
		bpf_map_update_elem(&IO_UNLINKING, &id, u, BPF_ANY);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(security_inode_unlink__tracepoint__io_uring_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *cqe)
{
	struct io_kiocb *req = request;
	if (BPF_CORE_READ(req, opcode) != IORING_OP_UNLINKAT)
		return 0;
	u64 id = (u64)request;
	struct io_unlinking *u = bpf_map_lookup_elem(&IO_UNLINKING, &id);
	if (!u) /* a directory, or not wanted when it was submitted */
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_UNLINK, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		goto done;
	if (cqe->res < 0) {
		filter(KIND_SECURITY_INODE_UNLINK, FILTERED_FAILED);
		goto done;
	}
	if (!unlink_begin(SLOT_UNLINK_IO_URING, HOOK_IO_URING_COMPLETE, IO_URING, interest))
		goto done;
	put_given(SLOT_UNLINK_IO_URING, UNLINK_PATHNAME, scalar(u->name), u->dirfd, 0);
	submit(SLOT_UNLINK_IO_URING, false);
done:
	bpf_map_delete_elem(&IO_UNLINKING, &id);
	return 0;
}

/* The removal that this thread is in. `dentry` tells it from those that a stacked file system does
 * underneath while it lasts: `depth` counts them. */
struct unlinking {
	u64 mount, dentry, inode, ctime;
	u32 dev, mode, depth, seen;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct unlinking);
} UNLINKING SEC(".maps");

SEC("kprobe/security_path_unlink")
int security_inode_unlink__kprobe__security_path_unlink(struct pt_regs *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	struct path *dir = (void *)PT_REGS_PARM1_CORE(ctx);
	if (!wanted(KIND_SECURITY_INODE_UNLINK, RUNG_KPROBE))
		return 0;
	struct unlinking u = { .mount = (u64)BPF_CORE_READ(dir, mnt), .dentry = PT_REGS_PARM2_CORE(ctx) };
	bpf_map_update_elem(&UNLINKING, &id, &u, BPF_ANY);
	return 0;
}

SEC("kprobe/security_inode_unlink")
int security_inode_unlink__kprobe(struct pt_regs *ctx)
{
	u64 id = bpf_get_current_pid_tgid(), dentry = PT_REGS_PARM2_CORE(ctx);
	struct unlinking *known = bpf_map_lookup_elem(&UNLINKING, &id), u = {};
	if (!wanted(KIND_SECURITY_INODE_UNLINK, RUNG_KPROBE))
		return 0;
	if (known && known->seen) {
		__sync_fetch_and_add(&known->depth, 1);
		return 0;
	}
	if (known && known->dentry == dentry)
		u.mount = known->mount;
	struct inode *inode = BPF_CORE_READ((struct dentry *)dentry, d_inode);
	u.dentry = dentry;
	fill_inode(&u, inode);
	u.mode = BPF_CORE_READ(inode, i_mode);
	u.seen = 1;
	bpf_map_update_elem(&UNLINKING, &id, &u, BPF_ANY);
	return 0;
}

SEC("kretprobe/vfs_unlink")
int security_inode_unlink__kprobe_return__vfs_unlink(struct pt_regs *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	struct unlinking *u = bpf_map_lookup_elem(&UNLINKING, &id);
	if (u && u->depth) {
		__sync_fetch_and_add(&u->depth, -1);
		return 0;
	}
	u32 interest = admit(KIND_SECURITY_INODE_UNLINK, RUNG_KPROBE, true);
	if (interest == REFUSED)
		goto done;
	if ((int)PT_REGS_RC_CORE(ctx) != 0) {
		filter(KIND_SECURITY_INODE_UNLINK, FILTERED_FAILED);
		goto done;
	}
	if (!u || !u->seen) {
		drop(KIND_SECURITY_INODE_UNLINK, DROPPED_UNPAIRED);
		goto done;
	}
	struct unlink_body *b = unlink_begin(SLOT_KPROBE, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest);
	if (!b)
		goto done;
	b->inode = u->inode;
	b->ctime = u->ctime;
	b->dev = u->dev;
	b->mode = u->mode;
	b->inode_known = 1;
	put_path(SLOT_KPROBE, UNLINK_PATHNAME, u->dentry, u->mount);
	submit(SLOT_KPROBE, false);
done:
	bpf_map_delete_elem(&UNLINKING, &id);
	return 0;
}
