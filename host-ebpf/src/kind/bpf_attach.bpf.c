/* A BPF program was put at a hook. The program and its hook come from the kernel's own objects: the
 * link that the call returned, or the perf event that it changed. Only BPF_PROG_ATTACH leaves nothing
 * but the descriptor that the call named. Which helpers a program calls is not kept by the kernel. */
#include "../syscall.h"

struct attach_body {
	u64 symbol_address;
	u32 prog_type, prog_id;
	u32 expected_attach_type, link_type;
	s32 attach_type;
	u8 address_known, link_known, reserved[2];
};
LAYOUT(attach_body)
enum attach_slice { ATTACH_PROG_NAME, ATTACH_SYMBOL_NAME, ATTACH_SLICES };

/* Tracee's numbers */
enum attach_type { ATTACH_UNKNOWN = -1, ATTACH_RAW_TRACEPOINT, ATTACH_TRACEPOINT, ATTACH_KPROBE, ATTACH_KRETPROBE, ATTACH_UPROBE, ATTACH_URETPROBE };
enum { CMD_PROG_ATTACH = 8, CMD_RAW_TRACEPOINT_OPEN = 17, CMD_LINK_CREATE = 28 };
#define PERF_EVENT_IOC_SET_BPF 0x40042408
#define PERF_TYPE_MAX 6 /* types from here on are probes made for this one event */
#define FIRST_8(a, b, c, d, e, f, g, h)                                                                       \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 | (u64)(g) << 48 | \
	 (u64)(h) << 56)

static __always_inline bool attach_is_call(u32 nr)
{
	return nr == SYS_BPF || nr == SYS_IOCTL || nr == SYS32_BPF || nr == SYS32_IOCTL;
}

/* The kernel's object behind a descriptor, 0 unless the file's name begins as `name` says: another
 * thread may have put something else there. */
static __always_inline void *object_of(u32 fd, u64 name)
{
	struct file *f = file_of(fd);
	u64 first = 0;
	if (!f)
		return 0;
	bpf_probe_read_kernel(&first, sizeof(first), BPF_CORE_READ(f, f_path.dentry, d_name.name));
	return first == name ? BPF_CORE_READ(f, private_data) : 0;
}

/* The kernel's kprobe behind the event of one, where the kernel has such. */
static __always_inline void put_kprobe(u32 slot, struct trace_event_call *call, struct attach_body *b)
{
	struct trace_probe_event *of = (void *)call - bpf_core_field_offset(struct trace_probe_event, call);
	void *probe = (void *)BPF_CORE_READ(of, probes.next) - bpf_core_field_offset(struct trace_probe, list);
	struct trace_kprobe *k = probe - bpf_core_field_offset(struct trace_kprobe, tp);
	const char *symbol = BPF_CORE_READ(k, symbol);
	b->symbol_address = (u64)BPF_CORE_READ(k, rp.kp.addr);
	b->address_known = 1;
	b->attach_type = BPF_CORE_READ(k, rp.handler) ? ATTACH_KRETPROBE : ATTACH_KPROBE;
	if (symbol)
		put_string(slot, ATTACH_SYMBOL_NAME, (u64)symbol, 0);
}

/* What a perf event is at. */
static __always_inline void put_event(u32 slot, struct perf_event *event, struct attach_body *b)
{
	if (!bpf_core_field_exists(event->tp_event))
		return;
	struct trace_event_call *call = BPF_CORE_READ(event, tp_event);
	if (!call)
		return;
	/* The flags are bits in a row: TRACEPOINT, DYNAMIC (put in between with 5.15), KPROBE, UPROBE. The first of all,
	 * FILTERED, went away with 6.12, and with it the field that it was about. */
	u32 flags = BPF_CORE_READ(call, flags);
	u32 tracepoint = bpf_core_field_exists(((struct trace_event_call___before_6_12 *)call)->filter) ? 0x10 : 0x08;
	u32 kprobe = tracepoint << (bpf_core_field_exists(((struct trace_event_call___5_15 *)call)->refcnt) ? 2 : 1);
	u32 uprobe = kprobe << 1;
	if (flags & tracepoint) {
		struct trace_event_call___tracepoint *c = (void *)call;
		b->attach_type = ATTACH_TRACEPOINT;
		b->address_known = 1;
		put_string(slot, ATTACH_SYMBOL_NAME, (u64)BPF_CORE_READ(c, tp, name), 0);
	} else if (flags & kprobe && bpf_core_type_exists(struct trace_kprobe)) {
		put_kprobe(slot, call, b);
	} else if (flags & uprobe && BPF_CORE_READ(event, attr.type) >= PERF_TYPE_MAX) {
		b->attach_type = BPF_CORE_READ(event, attr.config) & 1 ? ATTACH_URETPROBE : ATTACH_UPROBE;
	}
}

/* `command` is 0 for the ioctl; `fd` is the event, the link or the program. */
__noinline int attached(u32 command, u32 fd, s64 result, u32 compat)
{
	u32 interest = admit(KIND_BPF_ATTACH, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	if (result < 0) {
		filter(KIND_BPF_ATTACH, FILTERED_FAILED);
		return 0;
	}
	struct perf_event *event = 0;
	struct bpf_link *link = 0;
	struct bpf_prog *prog = 0;
	if (!command) {
		event = object_of(fd, FIRST_8('[', 'p', 'e', 'r', 'f', '_', 'e', 'v'));
		prog = event ? BPF_CORE_READ(event, prog) : 0;
	} else if (command == CMD_PROG_ATTACH) {
		prog = object_of(fd, FIRST_8('b', 'p', 'f', '-', 'p', 'r', 'o', 'g'));
	} else {
		link = object_of(fd, FIRST_8('b', 'p', 'f', '_', 'l', 'i', 'n', 'k'));
		prog = link ? BPF_CORE_READ(link, prog) : 0;
	}
	if (!prog) { /* gone, or replaced, before the call came back */
		drop(KIND_BPF_ATTACH, DROPPED_FAULT);
		return 0;
	}
	struct attach_body *b = record_begin(SLOT_SYS_EXIT, KIND_BPF_ATTACH, HOOK_SYS_EXIT, compat ? COMPAT : 0, interest, sizeof(*b), ATTACH_SLICES);
	if (!b)
		return 0;
	struct bpf_prog_aux *aux = BPF_CORE_READ(prog, aux);
	b->prog_type = BPF_CORE_READ(prog, type);
	b->expected_attach_type = BPF_CORE_READ(prog, expected_attach_type);
	b->prog_id = BPF_CORE_READ(aux, id);
	b->attach_type = ATTACH_UNKNOWN;
	put_string(SLOT_SYS_EXIT, ATTACH_PROG_NAME, (u64)&aux->name, 0);
	const char *function = BPF_CORE_READ(aux, attach_func_name);
	if (link) {
		b->link_known = 1;
		b->link_type = BPF_CORE_READ(link, type);
		if (b->link_type == BPF_LINK_TYPE_RAW_TRACEPOINT) {
			struct bpf_raw_tp_link *raw = (void *)link; /* the link is its first member */
			b->attach_type = ATTACH_RAW_TRACEPOINT;
			b->address_known = 1; /* none: 0, as Tracee writes it */
			function = BPF_CORE_READ(raw, btp, tp, name);
		} else if (b->link_type == BPF_LINK_TYPE_PERF_EVENT && bpf_core_type_exists(struct bpf_perf_link)) {
			struct bpf_perf_link *perf = (void *)link;
			event = BPF_CORE_READ(perf, perf_file, private_data);
		}
	}
	if (event)
		put_event(SLOT_SYS_EXIT, event, b);
	else if (function)
		put_string(SLOT_SYS_EXIT, ATTACH_SYMBOL_NAME, (u64)function, 0);
	submit(SLOT_SYS_EXIT, false);
	return 0;
}

static __always_inline bool attach_sys_exit(struct call *c)
{
	bool n = !c->compat;
	u32 command = c->arg[0], fd = c->ret;
	if (c->nr == (n ? SYS_IOCTL : SYS32_IOCTL)) {
		if ((u32)c->arg[1] != PERF_EVENT_IOC_SET_BPF)
			return false;
		command = 0;
		fd = c->arg[0];
	} else if (c->nr != (n ? SYS_BPF : SYS32_BPF)) {
		return false;
	} else if (command == CMD_PROG_ATTACH) {
		fd = ~0u;
		bpf_probe_read_user(&fd, sizeof(fd), (void *)(c->arg[1] + 4));
	} else if (command != CMD_RAW_TRACEPOINT_OPEN && command != CMD_LINK_CREATE) {
		return true;
	}
	attached(command, fd, c->ret, c->compat);
	return true;
}
