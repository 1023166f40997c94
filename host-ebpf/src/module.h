/* What a module says about itself. */
#pragma once
#include "syscall.h"

/* Appends a name, and what its author may have left out, as slices `first` and the two behind it. */
static __always_inline void put_module(u32 slot, u32 first, struct module *m)
{
	const char *version = BPF_CORE_READ(m, version), *source = BPF_CORE_READ(m, srcversion);
	put_string(slot, first, (u64)&m->name, 0);
	if (version)
		put_string(slot, first + 1, (u64)version, 0);
	if (source)
		put_string(slot, first + 2, (u64)source, 0);
}
