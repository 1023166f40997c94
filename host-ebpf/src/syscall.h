/* System calls as the sys_exit tracepoint shows them: at that point the user registers still hold the
 * arguments, and the result is known. */
#pragma once
#include "path.h"

struct call {
	u32 nr;
	bool compat;
	s64 ret;
	u64 arg[6];
};

#if defined(__TARGET_ARCH_x86)
#define NUMBER orig_ax
#define X32_SYSCALL_BIT 0x40000000
static __always_inline void call_arguments(struct pt_regs *r, struct call *c)
{
	if (c->compat) {
		c->arg[0] = (u32)BPF_CORE_READ(r, bx);
		c->arg[1] = (u32)BPF_CORE_READ(r, cx);
		c->arg[2] = (u32)BPF_CORE_READ(r, dx);
		c->arg[3] = (u32)BPF_CORE_READ(r, si);
		c->arg[4] = (u32)BPF_CORE_READ(r, di);
		c->arg[5] = (u32)BPF_CORE_READ(r, bp);
	} else {
		c->arg[0] = BPF_CORE_READ(r, di);
		c->arg[1] = BPF_CORE_READ(r, si);
		c->arg[2] = BPF_CORE_READ(r, dx);
		c->arg[3] = BPF_CORE_READ(r, r10);
		c->arg[4] = BPF_CORE_READ(r, r8);
		c->arg[5] = BPF_CORE_READ(r, r9);
	}
}
enum {
	SYS_OPEN = 2, SYS_CREAT = 85, SYS_OPENAT = 257, SYS_OPENAT2 = 437, SYS_OPEN_BY_HANDLE_AT = 304,
	SYS_CONNECT = 42, SYS_BIND = 49, SYS_ACCEPT = 43, SYS_ACCEPT4 = 288, SYS_LISTEN = 50, SYS_UNLINK = 87, SYS_UNLINKAT = 263,
	SYS32_OPEN = 5, SYS32_CREAT = 8, SYS32_OPENAT = 295, SYS32_OPENAT2 = 437, SYS32_OPEN_BY_HANDLE_AT = 342,
	SYS32_SOCKETCALL = 102, SYS32_CONNECT = 362, SYS32_BIND = 361, SYS32_ACCEPT = 0xffff0, SYS32_ACCEPT4 = 364, SYS32_LISTEN = 363, SYS32_UNLINK = 10, SYS32_UNLINKAT = 301,
};
#define THREAD_BYTES 16384
#else
#define NUMBER syscallno
#define X32_SYSCALL_BIT 0
static __always_inline void call_arguments(struct pt_regs *r, struct call *c)
{
	c->arg[0] = BPF_CORE_READ(r, orig_x0);
	c->arg[1] = BPF_CORE_READ(r, regs[1]);
	c->arg[2] = BPF_CORE_READ(r, regs[2]);
	c->arg[3] = BPF_CORE_READ(r, regs[3]);
	c->arg[4] = BPF_CORE_READ(r, regs[4]);
	c->arg[5] = BPF_CORE_READ(r, regs[5]);
}
/* Calls that the architecture does not have get numbers that it never uses. */
enum {
	SYS_OPEN = 0xffff0, SYS_CREAT, SYS_UNLINK,
	SYS_OPENAT = 56, SYS_OPENAT2 = 437, SYS_OPEN_BY_HANDLE_AT = 265,
	SYS_CONNECT = 203, SYS_BIND = 200, SYS_ACCEPT = 202, SYS_ACCEPT4 = 242, SYS_LISTEN = 201, SYS_UNLINKAT = 35,
	SYS32_OPEN = 5, SYS32_CREAT = 8, SYS32_OPENAT = 322, SYS32_OPENAT2 = 437, SYS32_OPEN_BY_HANDLE_AT = 371,
	SYS32_SOCKETCALL = 102, SYS32_CONNECT = 283, SYS32_BIND = 282, SYS32_ACCEPT = 285, SYS32_ACCEPT4 = 366, SYS32_LISTEN = 284, SYS32_UNLINK = 10, SYS32_UNLINKAT = 328,
};
#define THREAD_BYTES 16384
#endif

/* The user registers of the current task, outside the tracepoints that carry them. */
static __always_inline struct pt_regs *user_registers(void)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (void *)scalar((void *)bpf_task_pt_regs(bpf_get_current_task_btf()));
	/* before 5.15: at the top of the kernel stack */
	return BPF_CORE_READ(t, stack) + THREAD_BYTES - bpf_core_type_size(struct pt_regs);
}

/* The running system call of the current task; meaningless in a kernel thread. */
static __always_inline void running_call(struct call *c)
{
	struct pt_regs *r = user_registers();
	c->nr = BPF_CORE_READ(r, NUMBER) & ~X32_SYSCALL_BIT;
	c->compat = is_compat();
	c->ret = 0;
	call_arguments(r, c);
}

/* i386 socketcall(2) carries the call and a pointer to its arguments: unpack them. */
static __always_inline u32 unpack_socketcall(struct call *c)
{
	u32 which = c->arg[0], args[3] = {};
	if (bpf_probe_read_user(args, sizeof(args), (void *)c->arg[1]))
		return 0;
	c->arg[0] = args[0];
	c->arg[1] = args[1];
	c->arg[2] = args[2];
	return which;
}
