/* A process image was replaced. Runs after the new image is in place, before it executes. */
#include "../path.h"

#define ARGV_HEAD 24576
#define ARGV_TAIL_BYTES 4096

struct exec_body {
	u64 inode, ctime;
	u64 interpreter_inode, interpreter_ctime;
	u64 stdin_inode;
	u32 dev, interpreter_dev;
	u32 argc, old_tid;
	u16 mode, stdin_type;
	u16 exec_flags, reserved;
};
LAYOUT(exec_body)
enum exec_flag { FROM_KERNEL = 1, SECURE = 2 };
enum exec_slice { CMDPATH, PATHNAME, INTERP, INTERPRETER_PATHNAME, ARGV, ARGV_TAIL, STDIN_PATH, CWD, CGROUP, PREV_COMM, TTY, EXEC_SLICES };
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
	b->inode = BPF_CORE_READ(inode, i_ino);
	b->ctime = ctime_ns(inode);
	b->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	b->mode = BPF_CORE_READ(inode, i_mode);
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
	struct file *in = file_of(0);
	if (in) {
		struct inode *i = BPF_CORE_READ(in, f_inode);
		b->stdin_inode = BPF_CORE_READ(i, i_ino);
		b->stdin_type = BPF_CORE_READ(i, i_mode) & 0170000;
		put_file_path(SLOT_EXEC, STDIN_PATH, in);
	}
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
