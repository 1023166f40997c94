/* A module is in the kernel; its init function runs next. The file is known when the call names one
 * (finit_module); init_module hands over a piece of memory. */
#include "../module.h"

struct module_load_body {
	u64 inode, ctime;
	u32 dev;
	u8 file_known, reserved[3];
};
LAYOUT(module_load_body)
enum module_load_slice { MODULE_LOAD_NAME, MODULE_LOAD_VERSION, MODULE_LOAD_SRC_VERSION, MODULE_LOAD_PATHNAME, MODULE_LOAD_SLICES };

SEC("tp_btf/module_load")
int BPF_PROG(module_load__tracepoint, struct module *module)
{
	u32 interest = admit(KIND_MODULE_LOAD, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	struct call c;
	running_call(&c);
	struct module_load_body *b = record_begin(SLOT_MODULE_LOAD, KIND_MODULE_LOAD, HOOK_TRACEPOINT, c.compat ? COMPAT : 0, interest, sizeof(*b), MODULE_LOAD_SLICES);
	if (!b)
		return 0;
	put_module(SLOT_MODULE_LOAD, MODULE_LOAD_NAME, (void *)scalar(module));
	struct file *f = 0;
	if (c.nr == (c.compat ? SYS32_FINIT_MODULE : SYS_FINIT_MODULE))
		f = file_of(c.arg[0]);
	if (f) {
		b->file_known = 1;
		fill_inode(b, BPF_CORE_READ(f, f_inode));
		put_file_path(SLOT_MODULE_LOAD, MODULE_LOAD_PATHNAME, f);
	}
	submit(SLOT_MODULE_LOAD, false);
	return 0;
}
