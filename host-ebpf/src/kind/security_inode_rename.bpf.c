/* A file got another name, or two files exchanged theirs: then there is a record for each.
 *
 * kprobe: security_path_rename gives the mount; d_move and d_exchange are called when the rename has
 * succeeded, and still find the old names. security_inode_rename is for the kernel's own threads (an
 * NFS server): they do not pass the first, and their paths are relative to the file system.
 * tracepoint: the call succeeded; the paths are those it gave. io_uring keeps a kernel copy of them.
 */
#include "../name.h"

struct rename_body NAME_BODY(rename_flags);
LAYOUT(rename_body)
/* The new name comes first: when a record is full, the old one is cut. */
enum rename_slice { RENAME_NEW, RENAME_NEW_BASE, RENAME_OLD, RENAME_OLD_BASE, RENAME_SLICES };

#define RENAME_EXCHANGE 2

static __always_inline bool rename_is_call(u32 nr)
{
	return nr == SYS_RENAME || nr == SYS_RENAMEAT || nr == SYS_RENAMEAT2 || nr == SYS32_RENAME || nr == SYS32_RENAMEAT ||
	       nr == SYS32_RENAMEAT2;
}

/* One record from two paths as given; `from` and `to` are addresses, `dirs` the two directories. */
static __always_inline void rename_given(u32 slot, u32 hook, u32 flags, u32 interest, u32 memory, u64 from, s32 from_dir, u64 to, s32 to_dir, u32 how)
{
	name_begin(slot, KIND_SECURITY_INODE_RENAME, hook, flags, interest, RENAME_SLICES, 0, how, 0);
	put_given(slot, RENAME_NEW, to, to_dir, memory);
	put_given(slot, RENAME_OLD, from, from_dir, memory);
	submit(slot, false);
}

static __always_inline bool rename_sys_exit(struct call *c)
{
	bool n = !c->compat;
	s32 from_dir = AT_FDCWD, to_dir = AT_FDCWD;
	u64 from = c->arg[0], to = c->arg[1];
	u32 how = 0;
	if (c->nr == (n ? SYS_RENAMEAT : SYS32_RENAMEAT) || c->nr == (n ? SYS_RENAMEAT2 : SYS32_RENAMEAT2)) {
		from_dir = c->arg[0];
		from = c->arg[1];
		to_dir = c->arg[2];
		to = c->arg[3];
		if (c->nr == (n ? SYS_RENAMEAT2 : SYS32_RENAMEAT2))
			how = c->arg[4];
	} else if (c->nr != (n ? SYS_RENAME : SYS32_RENAME)) {
		return false;
	}
	u32 interest = admit_call(KIND_SECURITY_INODE_RENAME, c);
	if (interest == REFUSED)
		return true;
	u32 flags = c->compat ? COMPAT : 0;
	rename_given(SLOT_SYS_EXIT, HOOK_SYS_EXIT, flags, interest, USER_MEMORY, from, from_dir, to, to_dir, how);
	if (how & RENAME_EXCHANGE) {
		count(KIND_SECURITY_INODE_RENAME, run);
		rename_given(SLOT_SYS_EXIT, HOOK_SYS_EXIT, flags, interest, USER_MEMORY, to, to_dir, from, from_dir, how);
	}
	return true;
}

/* Renames asked of io_uring, by request: the names are the kernel's copies and go before the completion. */
struct io_renaming {
	s32 from_dir, to_dir;
	u32 how, reserved;
	u8 from[PATH_BYTES], to[PATH_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 128);
	__type(key, u64);
	__type(value, struct io_renaming);
} IO_RENAMING SEC(".maps");

#define IORING_OP_RENAMEAT 35

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(security_inode_rename__tracepoint__io_uring_submit_req, struct io_kiocb *req)
{
	u64 id = scalar(req);
	if (req->opcode != IORING_OP_RENAMEAT || !wanted(KIND_SECURITY_INODE_RENAME, RUNG_TRACEPOINT))
		return 0;
	struct io_rename *rename = (void *)id; /* the command lies at the start of the request */
	u32 key = SLOT_RENAME_IO_URING_SUBMIT;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	if (!slot)
		return 0;
	struct io_renaming *r = (void *)slot->record;
	r->from_dir = BPF_CORE_READ(rename, old_dfd);
	r->to_dir = BPF_CORE_READ(rename, new_dfd);
	r->how = BPF_CORE_READ(rename, flags);
	r->reserved = 0;
	const char *from = BPF_CORE_READ(rename, oldpath, name), *to = BPF_CORE_READ(rename, newpath, name);
	if (bpf_probe_read_kernel_str(r->from, sizeof(r->from), from) > 0 && bpf_probe_read_kernel_str(r->to, sizeof(r->to), to) > 0)
		bpf_map_update_elem(&IO_RENAMING, &id, r, BPF_ANY);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(security_inode_rename__tracepoint__io_uring_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *cqe)
{
	struct io_kiocb *req = request;
	if (BPF_CORE_READ(req, opcode) != IORING_OP_RENAMEAT)
		return 0;
	u64 id = (u64)request;
	struct io_renaming *r = bpf_map_lookup_elem(&IO_RENAMING, &id);
	if (!r) /* not wanted when it was submitted */
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_RENAME, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		goto done;
	if (cqe->res < 0) {
		filter(KIND_SECURITY_INODE_RENAME, FILTERED_FAILED);
		goto done;
	}
	u64 from = scalar(r->from), to = scalar(r->to);
	rename_given(SLOT_RENAME_IO_URING, HOOK_IO_URING_COMPLETE, IO_URING, interest, 0, from, r->from_dir, to, r->to_dir, r->how);
	if (r->how & RENAME_EXCHANGE) {
		count(KIND_SECURITY_INODE_RENAME, run);
		rename_given(SLOT_RENAME_IO_URING, HOOK_IO_URING_COMPLETE, IO_URING, interest, 0, to, r->to_dir, from, r->from_dir, r->how);
	}
done:
	bpf_map_delete_elem(&IO_RENAMING, &id);
	return 0;
}

SEC("kprobe/security_path_rename")
int security_inode_rename__kprobe__security_path_rename(struct pt_regs *ctx)
{
	struct path *dir = (void *)PT_REGS_PARM1_CORE(ctx);
	return name_put(KIND_SECURITY_INODE_RENAME, PT_REGS_PARM2_CORE(ctx), 0, (u64)BPF_CORE_READ(dir, mnt), PT_REGS_PARM5_CORE(ctx));
}

SEC("kprobe/security_inode_rename")
int security_inode_rename__kprobe(struct pt_regs *ctx)
{
	struct task_struct *t = (void *)current_task();
	if (!(BPF_CORE_READ(t, flags) & PF_KTHREAD))
		return 0;
	return name_put(KIND_SECURITY_INODE_RENAME, PT_REGS_PARM2_CORE(ctx), 0, 0, PT_REGS_PARM5_CORE(ctx));
}

/* One record from the two names as the kernel has them. */
__noinline int rename_moved(u64 from, u64 to, u64 mount, u32 how, u32 interest)
{
	struct dentry *d = (void *)from;
	name_begin(SLOT_KPROBE, KIND_SECURITY_INODE_RENAME, HOOK_KPROBE, is_compat() ? COMPAT : 0, interest, RENAME_SLICES, 0, how, BPF_CORE_READ(d, d_inode));
	put_path(SLOT_KPROBE, RENAME_NEW, to, mount);
	put_path(SLOT_KPROBE, RENAME_OLD, from, mount);
	submit(SLOT_KPROBE, false);
	return 0;
}

SEC("kprobe/d_move")
int security_inode_rename__kprobe__d_move(struct pt_regs *ctx)
{
	struct naming n;
	u64 from = PT_REGS_PARM1_CORE(ctx);
	if (!name_take(KIND_SECURITY_INODE_RENAME, from, &n))
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_RENAME, RUNG_KPROBE, true);
	if (interest != REFUSED)
		rename_moved(from, PT_REGS_PARM2_CORE(ctx), n.other, n.more, interest);
	return 0;
}

SEC("kprobe/d_exchange")
int security_inode_rename__kprobe__d_exchange(struct pt_regs *ctx)
{
	struct naming n;
	u64 from = PT_REGS_PARM1_CORE(ctx), to = PT_REGS_PARM2_CORE(ctx);
	if (!name_take(KIND_SECURITY_INODE_RENAME, from, &n))
		return 0;
	u32 interest = admit(KIND_SECURITY_INODE_RENAME, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	rename_moved(from, to, n.other, n.more, interest);
	count(KIND_SECURITY_INODE_RENAME, run);
	rename_moved(to, from, n.other, n.more, interest);
	return 0;
}
