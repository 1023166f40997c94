/* A module leaves the kernel. */
#include "../module.h"

struct module_free_body {
	u64 reserved;
};
LAYOUT(module_free_body)
enum module_free_slice { MODULE_FREE_NAME, MODULE_FREE_VERSION, MODULE_FREE_SRC_VERSION, MODULE_FREE_SLICES };

SEC("tp_btf/module_free")
int BPF_PROG(module_free__tracepoint, struct module *module)
{
	u32 interest = admit(KIND_MODULE_FREE, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	if (!record_begin(SLOT_MODULE_FREE, KIND_MODULE_FREE, HOOK_TRACEPOINT, is_compat() ? COMPAT : 0, interest, sizeof(struct module_free_body), MODULE_FREE_SLICES))
		return 0;
	put_module(SLOT_MODULE_FREE, MODULE_FREE_NAME, (void *)scalar(module));
	submit(SLOT_MODULE_FREE, false);
	return 0;
}
