/* A process sends a signal, whichever call it does it with.
 *
 * tracepoint: the end of the call. Its arguments are registers, and the process it is aimed at is looked up
 * by its number, so no memory of the caller is read and there is no need of another rung.
 */
#include "../calls.h"

struct kill_body {
	s32 pid, sig, result;
	u8 call, pid_known;
	u16 reserved;
	TARGET_FIELDS
	u8 reserved2[7];
};
LAYOUT(kill_body)
enum kill_call { CALL_KILL, CALL_TKILL, CALL_TGKILL, CALL_PIDFD_SEND_SIGNAL, CALL_RT_SIGQUEUEINFO, CALL_RT_TGSIGQUEUEINFO };
enum kill_slice { KILL_TARGET_EXE, KILL_SLICES };

static __always_inline bool kill_is_call(u32 nr)
{
	return nr == SYS_KILL || nr == SYS_TKILL || nr == SYS_TGKILL || nr == SYS_PIDFD_SEND_SIGNAL || nr == SYS_RT_SIGQUEUEINFO ||
	       nr == SYS_RT_TGSIGQUEUEINFO || nr == SYS32_KILL || nr == SYS32_TKILL || nr == SYS32_TGKILL || nr == SYS32_RT_SIGQUEUEINFO ||
	       nr == SYS32_RT_TGSIGQUEUEINFO;
}

#define EPERM 1
#define ESRCH 3

static __always_inline bool kill_sys_exit(struct call *c)
{
	bool n = !c->compat;
	u32 call;
	s32 sig = c->arg[1];
	if (c->nr == (n ? SYS_KILL : SYS32_KILL)) {
		call = CALL_KILL;
	} else if (c->nr == (n ? SYS_TKILL : SYS32_TKILL)) {
		call = CALL_TKILL;
	} else if (c->nr == (n ? SYS_TGKILL : SYS32_TGKILL)) {
		call = CALL_TGKILL;
		sig = c->arg[2];
	} else if (c->nr == SYS_PIDFD_SEND_SIGNAL) {
		call = CALL_PIDFD_SEND_SIGNAL;
	} else if (c->nr == (n ? SYS_RT_SIGQUEUEINFO : SYS32_RT_SIGQUEUEINFO)) {
		call = CALL_RT_SIGQUEUEINFO;
	} else if (c->nr == (n ? SYS_RT_TGSIGQUEUEINFO : SYS32_RT_TGSIGQUEUEINFO)) {
		call = CALL_RT_TGSIGQUEUEINFO;
		sig = c->arg[2];
	} else {
		return false;
	}
	u32 interest = admit(KIND_KILL, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	s32 number = c->arg[0];
	bool known = true;
	u64 pid = 0;
	if (call == CALL_PIDFD_SEND_SIGNAL) {
		/* Any other failure may mean that the descriptor is no process at all. */
		if (!c->ret || c->ret == -EPERM || c->ret == -ESRCH)
			pid = pid_by_fd(number);
		known = pid;
		if (pid) {
			struct pid_namespace *ns = 0;
			u32 level = BPF_CORE_READ((struct task_struct *)current_task(), thread_pid, level);
			number = level > 32 ? 0 : pid_at_level((void *)pid, level, &ns);
			known = number;
		}
	} else if (number > 0) {
		pid = pid_by_number(number);
	}
	struct task_struct *target = task_of_pid(pid);
	/* Threads of one process signal each other as a matter of course: some runtimes do it thousands of
	 * times in a second. */
	if (call != CALL_KILL && target && (u64)BPF_CORE_READ(target, tgid) == bpf_get_current_pid_tgid() >> 32) {
		filter(KIND_KILL, FILTERED_THREAD);
		return true;
	}
	struct kill_body *b = call_begin(KIND_KILL, c, interest, sizeof(*b), KILL_SLICES);
	if (!b)
		return true;
	b->pid = number;
	b->pid_known = known;
	b->sig = sig;
	b->result = c->ret;
	b->call = call;
	if (target) {
		fill_target(b, target);
		put_executable(SLOT_SYS_EXIT, KILL_TARGET_EXE, target);
	}
	submit(SLOT_SYS_EXIT, false);
	return true;
}
