/* A process reaches into another: ptrace, process_vm_readv, process_vm_writev.
 *
 * tracepoint: the end of the call; its arguments are registers, and the process it is aimed at is looked up
 * by its number. Of ptrace only what begins a tracing or changes the traced process: a debugger at work
 * makes thousands of the other requests, and none of them comes first.
 */
#include "../calls.h"

struct ptrace_body {
	u64 request, addr, data;
	s64 result;
	s32 pid;
	u8 call, reserved[3];
	TARGET_FIELDS
	u8 reserved2[7];
};
LAYOUT(ptrace_body)
enum ptrace_call { CALL_PTRACE, CALL_PROCESS_VM_READV, CALL_PROCESS_VM_WRITEV };
enum ptrace_slice { PTRACE_TARGET_EXE, PTRACE_SLICES };
enum {
	PTRACE_TRACEME = 0,
	PTRACE_POKETEXT = 4,
	PTRACE_POKEDATA = 5,
	PTRACE_POKEUSR = 6,
	PTRACE_SETREGS = 13,
	PTRACE_SETFPREGS = 15,
	PTRACE_ATTACH = 16,
	PTRACE_SETREGSET = 0x4205,
	PTRACE_SEIZE = 0x4206,
};

static __always_inline bool ptrace_is_call(u32 nr)
{
	return nr == SYS_PTRACE || nr == SYS_PROCESS_VM_READV || nr == SYS_PROCESS_VM_WRITEV || nr == SYS32_PTRACE ||
	       nr == SYS32_PROCESS_VM_READV || nr == SYS32_PROCESS_VM_WRITEV;
}

static __always_inline bool ptrace_tells(u64 request)
{
	return request == PTRACE_TRACEME || request == PTRACE_POKETEXT || request == PTRACE_POKEDATA || request == PTRACE_POKEUSR ||
	       request == PTRACE_SETREGS || request == PTRACE_SETFPREGS || request == PTRACE_ATTACH || request == PTRACE_SETREGSET ||
	       request == PTRACE_SEIZE;
}

static __always_inline bool ptrace_sys_exit(struct call *c)
{
	bool n = !c->compat;
	u32 call;
	if (c->nr == (n ? SYS_PTRACE : SYS32_PTRACE))
		call = CALL_PTRACE;
	else if (c->nr == (n ? SYS_PROCESS_VM_READV : SYS32_PROCESS_VM_READV))
		call = CALL_PROCESS_VM_READV;
	else if (c->nr == (n ? SYS_PROCESS_VM_WRITEV : SYS32_PROCESS_VM_WRITEV))
		call = CALL_PROCESS_VM_WRITEV;
	else
		return false;
	u32 interest = admit(KIND_PTRACE, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (call == CALL_PTRACE && !ptrace_tells(c->arg[0])) {
		filter(KIND_PTRACE, FILTERED_CLASS);
		return true;
	}
	bool traceme = call == CALL_PTRACE && c->arg[0] == PTRACE_TRACEME;
	s32 number = call == CALL_PTRACE ? c->arg[1] : c->arg[0];
	struct task_struct *target = traceme || number <= 0 ? 0 : task_of_pid(pid_by_number(number));
	struct ptrace_body *b = call_begin(KIND_PTRACE, c, interest, sizeof(*b), PTRACE_SLICES);
	if (!b)
		return true;
	b->call = call;
	b->pid = number;
	b->result = c->ret;
	if (call == CALL_PTRACE) {
		b->request = c->arg[0];
		b->addr = c->arg[2];
		b->data = c->arg[3];
	}
	if (target) {
		fill_target(b, target);
		put_executable(SLOT_SYS_EXIT, PTRACE_TARGET_EXE, target);
	}
	submit(SLOT_SYS_EXIT, false);
	return true;
}
