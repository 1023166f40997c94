/* The processes that are already there, one record each, written to the reader of the iterator. Their
 * start times have nanoseconds, as in the events; /proc only knows clock ticks. */
#include "../path.h"

struct seed_body {
	u64 inode, ctime;
	struct task_facts facts;
	u32 dev;
	u16 mode, reserved;
};
LAYOUT(seed_body)
enum seed_slice { SEED_PATHNAME, SEED_CWD, SEED_CGROUP, SEED_TTY, SEED_SLICES };
struct seed_record {
	struct record_header h;
	struct seed_body b;
};

SEC("iter/task")
int seed__iter(struct bpf_iter__task *ctx)
{
	u32 zero = 0, key = SLOT_SEED;
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct config *c = bpf_map_lookup_elem(&CONFIG, &zero);
	/* The iterator runs as the process that reads it: the host. Its own idea of its pid is that of
	 * its pid namespace. */
	if (c)
		c->own_tgid = bpf_get_current_pid_tgid() >> 32;
	if (!task || task->pid != task->tgid)
		return 0;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	if (!slot)
		return 0;
	struct task_struct *t = (void *)scalar(task);
	begin(SLOT_SEED, (u64)t, KIND_SEED, HOOK_ITER_TASK, 0, sizeof(struct seed_body), SEED_SLICES);
	struct seed_body *b = &((struct seed_record *)slot->record)->b;
	__builtin_memset(b, 0, sizeof(*b));
	fill_facts(&b->facts, t);
	struct file *f = BPF_CORE_READ(t, mm, exe_file);
	if (f) {
		struct inode *inode = BPF_CORE_READ(f, f_inode);
		fill_inode(b, inode);
		b->mode = BPF_CORE_READ(inode, i_mode);
		put_file_path(SLOT_SEED, SEED_PATHNAME, f);
	}
	put_cwd(SLOT_SEED, SEED_CWD, t);
	put_cgroup(SLOT_SEED, SEED_CGROUP, (u64)t);
	put_tty(SLOT_SEED, SEED_TTY, t);
	u64 length = slot->next;
	opaque(length);
	if (length > SMALL)
		return 0;
	((struct seed_record *)slot->record)->h.length = length;
	bpf_seq_write(seq, slot->record, length);
	return 0;
}
