/* A process image was replaced. Runs after the new image is in place, before it executes. */
#include "../socket.h"

#define ARGV_HEAD 24576
#define ARGV_TAIL_BYTES 4096

struct exec_body {
	u64 inode, ctime;
	u64 interpreter_inode, interpreter_ctime;
	u64 stdin_inode;
	struct task_facts facts;
	u32 dev, interpreter_dev;
	u32 argc, old_tid;
	u32 owner, group;
	u16 mode, exec_flags;
	u16 stdin_type, stdout_type, stderr_type;
	u16 stdin_family, stdout_family, stderr_family;
};
LAYOUT(exec_body)
enum exec_flag { FROM_KERNEL = 1, SECURE = 2, OVERLAY_UPPER = 4, READ_ONLY_MOUNT = 8 };
enum exec_slice {
	CMDPATH, PATHNAME, INTERP, INTERPRETER_PATHNAME, ARGV, ARGV_TAIL, STDIN_PATH, CWD, CGROUP, PREV_COMM, TTY,
	STDOUT_PATH, STDERR_PATH, STDIN_ADDRESS, STDOUT_ADDRESS, STDERR_ADDRESS, ENV, EXEC_SLICES
};
struct exec_record {
	struct record_header h;
	struct exec_body b;
};

/* `comm` before the last rename, by thread: exec renames the task before its tracepoint fires. */
struct comm {
	u8 bytes[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct comm);
} PREVIOUS_COMM SEC(".maps");

SEC("tp_btf/task_rename")
int BPF_PROG(sched_process_exec__tracepoint__task_rename, struct task_struct *t)
{
	struct comm old = {};
	u64 id = bpf_get_current_pid_tgid();
	bpf_probe_read_kernel(&old, sizeof(old), &t->comm);
	bpf_map_update_elem(&PREVIOUS_COMM, &id, &old, BPF_ANY);
	return 0;
}

/* The ELF interpreter of the image that a thread is starting: the file mapped where AT_BASE points. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} INTERPRETER SEC(".maps");

#define AT_BASE 7
#define AUXV_PAIRS 16

static long found_interpreter(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	u64 id = bpf_get_current_pid_tgid(), file = (u64)BPF_CORE_READ(vma, vm_file);
	if (file)
		bpf_map_update_elem(&INTERPRETER, &id, &file, BPF_ANY);
	return 0;
}

/* A program of its own because bpf_find_vma came with 5.17: older kernels refuse all of it. Attached
 * first, it runs first; the mapping keeps the file until the record is made. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec__tracepoint__sched_process_exec, struct task_struct *task)
{
	unsigned long auxv[2 * AUXV_PAIRS] = {};
	struct mm_struct *mm = task->mm;
	bpf_core_read(auxv, sizeof(auxv), &mm->saved_auxv);
	for (u32 i = 0; i < AUXV_PAIRS; i++) {
		if (auxv[2 * i] == AT_BASE && auxv[2 * i + 1]) {
			bpf_find_vma(task, auxv[2 * i + 1], found_interpreter, 0, 0);
			break;
		}
	}
	return 0;
}

/* Appends user memory [from, from + length), at most 24 KiB, page by page so that a page that is not
 * there costs only what is behind it. */
__noinline int put_arguments(u32 index, u64 from, u64 length, u64 original)
{
	struct area a;
	if (!area_of(SLOT_EXEC, &a))
		return 0;
	u64 start = *a.next, at = start;
	u32 status = length < original ? CUT : OK;
	for (u32 i = 0; i < ARGV_HEAD / 4096; i++) {
		u64 n = length > 4096 ? 4096 : length;
		opaque(at);
		if (!n)
			break;
		if (at > BIG - 8192) {
			status = CUT;
			break;
		}
		opaque(n);
		n &= 8191; /* older verifiers understand a mask where they lose a comparison */
		if (bpf_probe_read_user(a.record + at, n, (void *)from)) {
			status = FAULT;
			break;
		}
		at += n;
		from += n;
		length -= n;
	}
	set_slice(&a, index, start, at - start, original, status, 0);
	*a.next = at;
	return 0;
}

/* Exec arguments are in the new address space: only this task can reach them, and it does not run. */
static __always_inline void put_argv(struct mm_struct *mm)
{
	u64 start = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	u64 all = end > start ? end - start : 0;
	put_arguments(ARGV, start, all > ARGV_HEAD ? ARGV_HEAD : all, all);
	if (all > ARGV_HEAD) {
		u64 tail = all - ARGV_HEAD > ARGV_TAIL_BYTES ? ARGV_TAIL_BYTES : all - ARGV_HEAD;
		put_arguments(ARGV_TAIL, end - tail, tail, all);
	}
}

#define ENV_VALUE 1024 /* bytes of one variable */
#define ENV_MOST 4096  /* bytes of all that are kept */
#define ENV_PIECES 512
#define TEXT(s) ((u64)(s)[0] | (u64)(s)[1] << 8 | (u64)(s)[2] << 16 | (u64)(s)[3] << 24 | (u64)(s)[4] << 32 | (u64)(s)[5] << 40 | \
		 (u64)(s)[6] << 48 | (u64)(s)[7] << 56)
#define FIRST(bytes, word) ((word) & ((1ull << 8 * (bytes)) - 1))

/* Reads one variable into the record and keeps it there only if it is on the list: the others may hold
 * secrets. `inside` says that this is the rest of one that was too long. Returns the bytes read. */
__noinline int put_variable(u64 from, u32 inside)
{
	struct area a;
	if (!area_of(SLOT_EXEC, &a))
		return 0;
	u64 at = *a.next;
	opaque(at);
	if (at > BIG - (ENV_VALUE + 1))
		return 0;
	long n = bpf_probe_read_user_str(a.record + at, ENV_VALUE + 1, (void *)from);
	if (n <= 0)
		return 0;
	u64 *word = (void *)(a.record + at), name = word[0], rest = word[1];
	bool kept = (name == TEXT("LD_PRELO") && FIRST(3, rest) == TEXT("AD=\0\0\0\0\0")) ||
		    (name == TEXT("LD_AUDIT") && FIRST(1, rest) == '=') ||
		    (name == TEXT("LD_LIBRA") && rest == TEXT("RY_PATH=")) ||
		    (name == TEXT("SSH_CONN") && FIRST(7, rest) == TEXT("ECTION=\0"));
	if (kept && !inside)
		*a.next = at + n;
	return n;
}

/* Appends the variables on the list, each ended by NUL. */
__noinline int put_env(u64 task)
{
	struct mm_struct *mm = BPF_CORE_READ((struct task_struct *)task, mm);
	u64 from = BPF_CORE_READ(mm, env_start), end = BPF_CORE_READ(mm, env_end);
	struct area a;
	if (!area_of(SLOT_EXEC, &a))
		return 0;
	u32 start = *a.next, inside = 0, status = OK;
	for (u32 i = 0; i < ENV_PIECES; i++) {
		if (from >= end)
			break;
		u32 n = put_variable(from, inside);
		if (!n || n > ENV_VALUE + 1) {
			status = FAULT;
			break;
		}
		inside = n > ENV_VALUE;
		from += inside ? ENV_VALUE : n;
		if (*a.next - start > ENV_MOST)
			break;
	}
	if (status == OK && from < end)
		status = CUT;
	set_slice(&a, ENV, start, *a.next - start, status == CUT ? UNKNOWN_LENGTH : *a.next - start, status, 0);
	return 0;
}

/* Lets a slice name the bytes of another. */
static __always_inline void same_slice(u32 from, u32 to)
{
	struct area a;
	if (!area_of(SLOT_EXEC, &a))
		return;
	struct slice *s = (void *)(a.record + sizeof(struct record_header) + sizeof(struct exec_body));
	s[to] = s[from];
}

/* Appends what is behind a standard descriptor and, when it is a socket, its peer. Returns the type of
 * the file and the family of the socket. */
__noinline int put_descriptor(u32 fd)
{
	struct file *f = file_of(fd), *before = fd ? file_of(fd - 1) : 0;
	if (fd > 2 || !f)
		return 0;
	u32 path = fd == 0 ? STDIN_PATH : fd == 1 ? STDOUT_PATH : STDERR_PATH;
	u32 type = BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT, family = 0;
	struct sock *sk = type == S_IFSOCK ? sock_of(fd) : 0;
	if (sk)
		family = family_of(sk);
	if (f == before) { /* most often: one terminal, one pipe, one socket */
		if (fd == 1)
			same_slice(STDIN_PATH, STDOUT_PATH), same_slice(STDIN_ADDRESS, STDOUT_ADDRESS);
		else
			same_slice(STDOUT_PATH, STDERR_PATH), same_slice(STDOUT_ADDRESS, STDERR_ADDRESS);
	} else {
		put_file_path(SLOT_EXEC, path, f);
		if (sk)
			put_address(SLOT_EXEC, STDIN_ADDRESS + fd, (u64)sk, true);
	}
	return type | family << 16;
}

#define OVERLAYFS 0x794c7630
#define SB_RDONLY 1
#define MNT_READONLY 0x40

/* Whether the file was changed or added in the writable layer of an overlay: for a container, whether it
 * is not from the image. The overlay's inode begins with the kernel's and goes on with the upper entry;
 * its own type is often in a module, which no relocation reaches. */
static __always_inline bool in_upper_layer(struct inode *inode)
{
	u64 upper = 0;
	if (BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS)
		return false;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec__tracepoint, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	if (admit(KIND_SCHED_PROCESS_EXEC, RUNG_TRACEPOINT, false) == REFUSED)
		return 0;
	u32 cpu = bpf_get_smp_processor_id();
	struct big_slot *slot = bpf_map_lookup_elem(&BIG_SLOTS, &cpu);
	if (!slot) {
		drop(KIND_SCHED_PROCESS_EXEC, DROPPED_FAULT);
		return 0;
	}
	struct task_struct *t = (void *)scalar(task);
	begin(SLOT_EXEC, (u64)t, KIND_SCHED_PROCESS_EXEC, HOOK_TRACEPOINT, is_compat() ? COMPAT : 0, sizeof(struct exec_body), EXEC_SLICES);

	struct exec_body *b = &((struct exec_record *)slot->record)->b;
	__builtin_memset(b, 0, sizeof(*b));
	struct file *f = BPF_CORE_READ(bprm, file);
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	fill_inode(b, inode);
	b->mode = BPF_CORE_READ(inode, i_mode);
	b->owner = BPF_CORE_READ(inode, i_uid.val);
	b->group = BPF_CORE_READ(inode, i_gid.val);
	fill_facts(&b->facts, t);
	if (in_upper_layer(inode))
		b->exec_flags |= OVERLAY_UPPER;
	if (BPF_CORE_READ(inode, i_sb, s_flags) & SB_RDONLY || BPF_CORE_READ(f, f_path.mnt, mnt_flags) & MNT_READONLY)
		b->exec_flags |= READ_ONLY_MOUNT;
	mark_ignored(b->inode, b->dev);
	b->argc = BPF_CORE_READ(bprm, argc);
	b->old_tid = old_tid;
	if (BPF_CORE_READ(t, real_parent, flags) & PF_KTHREAD)
		b->exec_flags |= FROM_KERNEL;
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec))
		b->exec_flags |= SECURE;

	put_string(SLOT_EXEC, CMDPATH, (u64)BPF_CORE_READ(bprm, filename), AS_GIVEN);
	put_file_path(SLOT_EXEC, PATHNAME, f);
	put_string(SLOT_EXEC, INTERP, (u64)BPF_CORE_READ(bprm, interp), AS_GIVEN);
	put_argv(BPF_CORE_READ(t, mm));
	put_env((u64)t);
	struct file *in = file_of(0);
	if (in)
		b->stdin_inode = BPF_CORE_READ(in, f_inode, i_ino);
	u32 descriptor = put_descriptor(0);
	b->stdin_type = descriptor;
	b->stdin_family = descriptor >> 16;
	descriptor = put_descriptor(1);
	b->stdout_type = descriptor;
	b->stdout_family = descriptor >> 16;
	descriptor = put_descriptor(2);
	b->stderr_type = descriptor;
	b->stderr_family = descriptor >> 16;
	put_cwd(SLOT_EXEC, CWD, t);
	u64 id = bpf_get_current_pid_tgid(), *interpreter = bpf_map_lookup_elem(&INTERPRETER, &id);
	if (interpreter) {
		struct file *ld = (void *)*interpreter;
		struct inode *i = BPF_CORE_READ(ld, f_inode);
		bpf_map_delete_elem(&INTERPRETER, &id);
		b->interpreter_inode = BPF_CORE_READ(i, i_ino);
		b->interpreter_ctime = ctime_ns(i);
		b->interpreter_dev = BPF_CORE_READ(i, i_sb, s_dev);
		put_file_path(SLOT_EXEC, INTERPRETER_PATHNAME, ld);
	}
	put_cgroup(SLOT_EXEC, CGROUP, (u64)t);
	struct comm *old = bpf_map_lookup_elem(&PREVIOUS_COMM, &id);
	if (old) {
		put_string(SLOT_EXEC, PREV_COMM, scalar(old), 0);
		bpf_map_delete_elem(&PREVIOUS_COMM, &id);
	}
	put_tty(SLOT_EXEC, TTY, t);
	submit(SLOT_EXEC, true);
	return 0;
}
