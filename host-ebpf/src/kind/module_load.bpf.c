/* A module is in the kernel; its init function runs next. The file is known when the call names one
 * (finit_module); init_module hands over a piece of memory. */
#include "../syscall.h"

struct module_load_body {
	u64 inode, ctime;
	u32 dev;
	u8 file_known, reserved[3];
};
LAYOUT(module_load_body)
enum module_load_slice { MODULE_LOAD_NAME, MODULE_LOAD_VERSION, MODULE_LOAD_SRC_VERSION, MODULE_LOAD_PATHNAME, MODULE_LOAD_SLICES };
struct module_load_record {
	struct record_header h;
	struct module_load_body b;
};

/* Appends what a module says about itself: a name, and what its author may have left out. */
static __always_inline void put_module(u32 slot, u32 first, struct module *m)
{
	const char *version = BPF_CORE_READ(m, version), *source = BPF_CORE_READ(m, srcversion);
	put_string(slot, first, (u64)&m->name, 0);
	if (version)
		put_string(slot, first + 1, (u64)version, 0);
	if (source)
		put_string(slot, first + 2, (u64)source, 0);
}

SEC("tp_btf/module_load")
int BPF_PROG(module_load__tracepoint, struct module *module)
{
	if (admit(KIND_MODULE_LOAD, RUNG_TRACEPOINT, true) == REFUSED)
		return 0;
	u32 key = SLOT_MODULE_LOAD;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	if (!slot) {
		drop(KIND_MODULE_LOAD, DROPPED_FAULT);
		return 0;
	}
	struct call c;
	running_call(&c);
	begin(SLOT_MODULE_LOAD, current_task(), KIND_MODULE_LOAD, HOOK_TRACEPOINT, c.compat ? COMPAT : 0,
	      sizeof(struct module_load_body), MODULE_LOAD_SLICES);
	struct module_load_body *b = &((struct module_load_record *)slot->record)->b;
	__builtin_memset(b, 0, sizeof(*b));
	put_module(SLOT_MODULE_LOAD, MODULE_LOAD_NAME, (void *)scalar(module));
	struct file *f = 0;
	if (c.nr == (c.compat ? SYS32_FINIT_MODULE : SYS_FINIT_MODULE))
		f = file_of(c.arg[0]);
	if (f) {
		struct inode *inode = BPF_CORE_READ(f, f_inode);
		b->file_known = 1;
		b->inode = BPF_CORE_READ(inode, i_ino);
		b->ctime = ctime_ns(inode);
		b->dev = BPF_CORE_READ(inode, i_sb, s_dev);
		put_file_path(SLOT_MODULE_LOAD, MODULE_LOAD_PATHNAME, f);
	}
	submit(SLOT_MODULE_LOAD, false);
	return 0;
}
