/* Memory became executable.
 *
 * kprobe: before the change, with the protection so far: only what was not executable before. The
 * security modules may still refuse it.
 * tracepoint: after a call that asked for PROT_EXEC and succeeded; what the memory was before is gone.
 * A program of its own, because bpf_find_vma came with 5.17 and older kernels refuse all of it.
 */
#include "../syscall.h"

struct mprotect_body {
	u64 inode, ctime;
	u64 address, length;
	u32 dev, prot;
	s32 prev_prot, pkey;
	u8 mapping_known, reserved[7];
};
LAYOUT(mprotect_body)
enum mprotect_slice { MPROTECT_PATHNAME, MPROTECT_SLICES };

#define PROT_ALL 7
#define VM_EXEC 4 /* as PROT_EXEC; so are the bits for reading and writing */

/* Whether a call changes protections, and with which key. */
static __always_inline bool mprotect_arguments(struct call *c, s32 *pkey)
{
	bool n = !c->compat;
	*pkey = -1;
	if (c->nr == (n ? SYS_PKEY_MPROTECT : SYS32_PKEY_MPROTECT)) {
		*pkey = c->arg[3];
		return true;
	}
	return c->nr == (n ? SYS_MPROTECT : SYS32_MPROTECT);
}

/* Starts a record; `file` is what the memory is mapped from, 0 for anonymous memory. */
static __always_inline struct mprotect_body *mprotect_begin(u32 slot_index, u32 hook, u32 flags, u32 interest, u64 file)
{
	struct mprotect_body *b = record_begin(slot_index, KIND_SECURITY_FILE_MPROTECT, hook, flags, interest, sizeof(*b), MPROTECT_SLICES);
	if (b && file) {
		struct file *f = (void *)file;
		fill_inode(b, BPF_CORE_READ(f, f_inode));
		put_file_path(slot_index, MPROTECT_PATHNAME, f);
	}
	return b;
}

struct mapping {
	u64 known, file;
};

static long found_mapping(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	struct mapping *m = context;
	m->known = 1;
	m->file = (u64)BPF_CORE_READ(vma, vm_file);
	return 0;
}

/* "Return" of the call: the kind cannot do without it. */
SEC("tp_btf/sys_exit")
int BPF_PROG(security_file_mprotect__tracepoint_return__sys_exit, struct pt_regs *regs, long ret)
{
	struct call c = { .nr = regs->NUMBER & ~X32_SYSCALL_BIT, .ret = ret };
	if (c.nr != SYS_MPROTECT && c.nr != SYS_PKEY_MPROTECT && c.nr != SYS32_MPROTECT && c.nr != SYS32_PKEY_MPROTECT)
		return 0;
	s32 pkey;
	c.compat = is_compat();
	call_arguments(regs, &c, true);
	if (!mprotect_arguments(&c, &pkey) || !(c.arg[2] & VM_EXEC))
		return 0;
	u32 interest = admit(KIND_SECURITY_FILE_MPROTECT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	if (c.ret < 0) {
		filter(KIND_SECURITY_FILE_MPROTECT, FILTERED_FAILED);
		return 0;
	}
	/* Fails while another thread changes the address space: the mapping stays unknown. */
	struct mapping m = {};
	bpf_find_vma(bpf_get_current_task_btf(), c.arg[0], found_mapping, &m, 0);
	struct mprotect_body *b = mprotect_begin(SLOT_MPROTECT, HOOK_SYS_EXIT, c.compat ? COMPAT : 0, interest, m.file);
	if (!b)
		return 0;
	b->address = c.arg[0];
	b->length = c.arg[1];
	b->prot = c.arg[2];
	b->prev_prot = -1;
	b->pkey = pkey;
	b->mapping_known = m.known;
	submit(SLOT_MPROTECT, false);
	return 0;
}

SEC("kprobe/security_file_mprotect")
int security_file_mprotect__kprobe(struct pt_regs *ctx)
{
	u32 requested = PT_REGS_PARM2_CORE(ctx);
	if (!(requested & VM_EXEC))
		return 0;
	u32 interest = admit(KIND_SECURITY_FILE_MPROTECT, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct vm_area_struct *vma = (void *)PT_REGS_PARM1_CORE(ctx);
	u32 before = BPF_CORE_READ(vma, vm_flags) & PROT_ALL;
	if (before & VM_EXEC) {
		filter(KIND_SECURITY_FILE_MPROTECT, FILTERED_CLASS);
		return 0;
	}
	struct call c;
	s32 pkey;
	running_call(&c);
	bool by_call = mprotect_arguments(&c, &pkey);
	struct mprotect_body *b = mprotect_begin(SLOT_KPROBE, HOOK_KPROBE, c.compat ? COMPAT : 0, interest, (u64)BPF_CORE_READ(vma, vm_file));
	if (!b)
		return 0;
	b->address = by_call ? c.arg[0] : 0;
	b->length = by_call ? c.arg[1] : 0;
	b->prot = requested;
	b->prev_prot = before;
	b->pkey = pkey;
	b->mapping_known = 1;
	submit(SLOT_KPROBE, false);
	return 0;
}
