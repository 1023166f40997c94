/* A file was opened.
 *
 * kprobe: security_file_open, entry and return: also sees what the kernel opens itself (exec, ld.so).
 * The file system may still refuse an open that the security modules let pass, so an open by a system
 * call waits for fd_install; what the kernel opens itself and io_uring do not come by there. No return
 * probe around the open: it blocks on a named pipe, and a few blocked ones would use up the instances
 * that the kernel has of a return probe.
 * tracepoint: the file behind the descriptor that the system call or the io_uring request returned.
 * Opens for exec are not seen. After an open the kernel strips the creation flags from f_flags, so
 * those the call asked for are put back; whether the file was created is the kernel's own bit.
 */
#include "../syscall.h"

struct open_body {
	u64 inode, ctime;
	u32 dev, flags, f_mode;
	s32 fd;
	u16 mode;
	u8 created, reserved;
	u32 reserved2;
};
LAYOUT(open_body)
enum open_slice { OPEN_PATHNAME, OPEN_SYSCALL_PATHNAME, OPEN_SLICES };
struct open_record {
	struct record_header h;
	struct open_body b;
};

#define FMODE_WRITE 0x2
#define FMODE_PATH 0x4000
#define FMODE_CREATED 0x100000
#define FMODE_NOACCOUNT 0x20000000 /* a stacked file system opening its own layer */
#define CREATION_FLAGS 01700       /* O_CREAT O_EXCL O_NOCTTY O_TRUNC */
#define O_TRUNC 01000
#define O_CREAT_TRUNC_WRONLY 01101

static __always_inline bool open_changes(u32 f_mode, u32 f_flags)
{
	return f_mode & (FMODE_WRITE | FMODE_CREATED) || f_flags & O_TRUNC;
}

static __always_inline void open_record(u32 slot_index, u32 hook, u32 flags, u32 interest, struct file *f, u32 requested, s32 fd, u64 user_path)
{
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	u32 f_mode = BPF_CORE_READ(f, f_mode);
	if (f_mode & (FMODE_PATH | FMODE_NOACCOUNT)) {
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_OTHER);
		return;
	}
	u32 f_flags = BPF_CORE_READ(f, f_flags) | (requested & CREATION_FLAGS);
	bool change = open_changes(f_mode, f_flags);
	if (interest & CHANGES_ONLY && !change) {
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_CLASS);
		return;
	}
	if (!slot) {
		drop(KIND_SECURITY_FILE_OPEN, DROPPED_FAULT);
		return;
	}
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	if (interest & PROBE) {
		flags |= CANARY;
	} else if (left_out_filesystem(inode)) {
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_FILESYSTEM);
		return;
	}
	/* Before the record: most opens end here. */
	build_path(slot_index, (u64)BPF_CORE_READ(f, f_path.dentry), (u64)BPF_CORE_READ(f, f_path.mnt));
	if (!(interest & PROBE) && !path_wanted(slot_index, KIND_SECURITY_FILE_OPEN, change)) {
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_PATH);
		return;
	}
	begin(slot_index, current_task(), KIND_SECURITY_FILE_OPEN, hook, flags, sizeof(struct open_body), OPEN_SLICES);
	struct open_body *b = &((struct open_record *)slot->record)->b;
	__builtin_memset(b, 0, sizeof(*b));
	fill_inode(b, inode);
	b->mode = BPF_CORE_READ(inode, i_mode);
	b->flags = f_flags;
	b->f_mode = f_mode;
	b->fd = fd;
	b->created = !!(f_mode & FMODE_CREATED);
	put_built(slot_index, OPEN_PATHNAME);
	if (user_path)
		put_string(slot_index, OPEN_SYSCALL_PATHNAME, user_path, USER_MEMORY | AS_GIVEN);
	submit(slot_index, false);
}

/* Which argument is the path, and the flags the call asked for. False when the call opens nothing. */
static __always_inline bool open_arguments(struct call *c, u64 *path, u32 *requested)
{
	bool n = !c->compat;
	*path = 0;
	*requested = 0;
	if (c->nr == (n ? SYS_OPEN : SYS32_OPEN)) {
		*path = c->arg[0];
		*requested = c->arg[1];
	} else if (c->nr == (n ? SYS_CREAT : SYS32_CREAT)) {
		*path = c->arg[0];
		*requested = O_CREAT_TRUNC_WRONLY;
	} else if (c->nr == (n ? SYS_OPENAT : SYS32_OPENAT)) {
		*path = c->arg[1];
		*requested = c->arg[2];
	} else if (c->nr == (n ? SYS_OPENAT2 : SYS32_OPENAT2)) {
		u64 how = 0;
		bpf_probe_read_user(&how, sizeof(how), (void *)c->arg[2]);
		*path = c->arg[1];
		*requested = how;
	} else if (c->nr != (n ? SYS_OPEN_BY_HANDLE_AT : SYS32_OPEN_BY_HANDLE_AT)) {
		return false;
	}
	return true;
}

static __always_inline bool open_is_call(u32 nr)
{
	return nr == SYS_OPEN || nr == SYS_CREAT || nr == SYS_OPENAT || nr == SYS_OPENAT2 || nr == SYS_OPEN_BY_HANDLE_AT ||
	       nr == SYS32_OPEN || nr == SYS32_CREAT || nr == SYS32_OPENAT || nr == SYS32_OPEN_BY_HANDLE_AT;
}

static __always_inline bool open_sys_exit(struct call *c)
{
	u64 path;
	u32 requested;
	if (!open_arguments(c, &path, &requested))
		return false;
	u32 interest = admit(KIND_SECURITY_FILE_OPEN, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0) {
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_FAILED);
		return true;
	}
	struct file *f = file_of(c->ret);
	if (!f) { /* another thread closed it already */
		drop(KIND_SECURITY_FILE_OPEN, DROPPED_FAULT);
		return true;
	}
	open_record(SLOT_SYS_EXIT, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, f, requested, c->ret, path);
	return true;
}

#define IORING_OP_OPENAT 18
#define IORING_OP_OPENAT2 28

/* A file in the ring's own table, which has no descriptor; 0 on kernels that lay it out otherwise. */
static __always_inline struct file *io_uring_file(struct io_ring_ctx *ring, u32 index)
{
	struct io_rsrc_node *node = 0;
	if (!bpf_core_field_exists(ring->file_table.data.nodes) || index >= BPF_CORE_READ(ring, file_table.data.nr))
		return 0;
	struct io_rsrc_node **nodes = BPF_CORE_READ(ring, file_table.data.nodes);
	bpf_probe_read_kernel(&node, sizeof(node), nodes + index);
	return node ? (void *)(BPF_CORE_READ(node, file_ptr) & ~7ul) : 0; /* the low bits are flags */
}

/* Newer kernels (6.18, not yet 6.12) pass the completion; elsewhere this program does not load. The request's
 * worker shares the submitter's descriptors. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(security_file_open__tracepoint__io_uring_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *cqe)
{
	struct io_kiocb *req = request;
	u8 op = BPF_CORE_READ(req, opcode);
	if (op != IORING_OP_OPENAT && op != IORING_OP_OPENAT2)
		return 0;
	u32 interest = admit(KIND_SECURITY_FILE_OPEN, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	s32 fd = cqe->res;
	struct io_open *open = request; /* the command lies at the start of the request */
	if (fd < 0) {
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_FAILED);
		return 0;
	}
	/* The slot counts from 1; asked for ~0 the kernel chooses one and returns it. */
	u32 table_slot = BPF_CORE_READ(open, file_slot);
	struct file *f = !table_slot ? file_of(fd) : io_uring_file((void *)scalar(ring), ~table_slot ? table_slot - 1 : (u32)fd);
	if (!f) { /* closed already */
		drop(KIND_SECURITY_FILE_OPEN, DROPPED_FAULT);
		return 0;
	}
	open_record(SLOT_OPEN_IO_URING, HOOK_IO_URING_COMPLETE, IO_URING, interest, f, BPF_CORE_READ(open, how.flags), table_slot ? -1 : fd, 0);
	return 0;
}

/* The file of the open that this thread is in, between entry and return. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} OPENING SEC(".maps");

SEC("kprobe/security_file_open")
int security_file_open__kprobe(struct pt_regs *ctx)
{
	u64 id = bpf_get_current_pid_tgid(), file = PT_REGS_PARM1_CORE(ctx);
	if (!wanted(KIND_SECURITY_FILE_OPEN, RUNG_KPROBE))
		return 0;
	if (bpf_map_lookup_elem(&OPENING, &id)) { /* the return probe missed one */
		count(KIND_SECURITY_FILE_OPEN, run);
		drop(KIND_SECURITY_FILE_OPEN, DROPPED_UNPAIRED);
	}
	bpf_map_update_elem(&OPENING, &id, &file, BPF_ANY);
	return 0;
}

/* Opens by system calls that have passed the security modules, with the flags of that moment: an open
 * that ends well drops the creation flags. Both in the key, because a stacked file system opens another
 * file meanwhile. */
struct opened_key {
	u64 thread, file;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct opened_key);
	__type(value, u32);
} OPENED SEC(".maps");

/* Leaves the record of an open to fd_install. False when there is none to be made. */
static __always_inline bool opened_later(u64 thread, struct file *f)
{
	u32 kind = KIND_SECURITY_FILE_OPEN;
	struct interest *i = bpf_map_lookup_elem(&INTEREST, &kind);
	u32 f_mode = BPF_CORE_READ(f, f_mode), f_flags = BPF_CORE_READ(f, f_flags);
	if (!i || f_mode & (FMODE_PATH | FMODE_NOACCOUNT) || (i->flags & CHANGES_ONLY && !open_changes(f_mode, f_flags)))
		return false;
	struct opened_key key = { thread, (u64)f };
	return !bpf_map_update_elem(&OPENED, &key, &f_flags, BPF_ANY);
}

SEC("kretprobe/security_file_open")
int security_file_open__kprobe_return(struct pt_regs *ctx)
{
	u64 id = bpf_get_current_pid_tgid(), path = 0;
	u64 *stashed = bpf_map_lookup_elem(&OPENING, &id);
	struct file *f = stashed ? (struct file *)*stashed : 0;
	struct call c;
	u32 requested;
	bool refused = (int)PT_REGS_RC_CORE(ctx) != 0;
	if (f)
		bpf_map_delete_elem(&OPENING, &id);
	running_call(&c);
	if (f && !refused && open_arguments(&c, &path, &requested) && opened_later(id, f))
		return 0;
	u32 interest = admit(KIND_SECURITY_FILE_OPEN, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	if (!f)
		drop(KIND_SECURITY_FILE_OPEN, DROPPED_UNPAIRED);
	else if (refused)
		filter(KIND_SECURITY_FILE_OPEN, FILTERED_FAILED);
	else
		open_record(SLOT_KPROBE, HOOK_KPROBE, c.compat ? COMPAT : 0, interest, f, 0, -1, path);
	return 0;
}

SEC("kprobe/fd_install")
int security_file_open__kprobe__fd_install(struct pt_regs *ctx)
{
	struct opened_key key = { bpf_get_current_pid_tgid(), PT_REGS_PARM2_CORE(ctx) };
	u32 *found = bpf_map_lookup_elem(&OPENED, &key);
	if (!found)
		return 0;
	u64 path;
	u32 at_first = *found, requested;
	struct call c;
	bpf_map_delete_elem(&OPENED, &key);
	running_call(&c);
	if (!open_arguments(&c, &path, &requested)) /* another file, where one lay whose open failed */
		return 0;
	u32 interest = admit(KIND_SECURITY_FILE_OPEN, RUNG_KPROBE, true);
	if (interest != REFUSED)
		open_record(SLOT_KPROBE, HOOK_KPROBE, c.compat ? COMPAT : 0, interest, (struct file *)key.file, at_first, PT_REGS_PARM1_CORE(ctx), path);
	return 0;
}
