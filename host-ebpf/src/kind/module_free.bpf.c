/* A module leaves the kernel. */
#include "../syscall.h"

struct module_free_body {
	u64 reserved;
};
LAYOUT(module_free_body)
enum module_free_slice { MODULE_FREE_NAME, MODULE_FREE_VERSION, MODULE_FREE_SRC_VERSION, MODULE_FREE_SLICES };
struct module_free_record {
	struct record_header h;
	struct module_free_body b;
};

SEC("tp_btf/module_free")
int BPF_PROG(module_free__tracepoint, struct module *module)
{
	if (admit(KIND_MODULE_FREE, RUNG_TRACEPOINT, true) == REFUSED)
		return 0;
	u32 key = SLOT_MODULE_FREE;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &key);
	if (!slot) {
		drop(KIND_MODULE_FREE, DROPPED_FAULT);
		return 0;
	}
	begin(SLOT_MODULE_FREE, current_task(), KIND_MODULE_FREE, HOOK_TRACEPOINT, is_compat() ? COMPAT : 0,
	      sizeof(struct module_free_body), MODULE_FREE_SLICES);
	((struct module_free_record *)slot->record)->b.reserved = 0;
	struct module *m = (void *)scalar(module);
	const char *version = BPF_CORE_READ(m, version), *source = BPF_CORE_READ(m, srcversion);
	put_string(SLOT_MODULE_FREE, MODULE_FREE_NAME, (u64)&m->name, 0);
	if (version)
		put_string(SLOT_MODULE_FREE, MODULE_FREE_VERSION, (u64)version, 0);
	if (source)
		put_string(SLOT_MODULE_FREE, MODULE_FREE_SRC_VERSION, (u64)source, 0);
	submit(SLOT_MODULE_FREE, false);
	return 0;
}
