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
static __always_inline void call_arguments(struct pt_regs *r, struct call *c, const bool typed)
{
	if (c->compat) {
		c->arg[0] = (u32)READ(typed, r, bx);
		c->arg[1] = (u32)READ(typed, r, cx);
		c->arg[2] = (u32)READ(typed, r, dx);
		c->arg[3] = (u32)READ(typed, r, si);
		c->arg[4] = (u32)READ(typed, r, di);
		c->arg[5] = (u32)READ(typed, r, bp);
	} else {
		c->arg[0] = READ(typed, r, di);
		c->arg[1] = READ(typed, r, si);
		c->arg[2] = READ(typed, r, dx);
		c->arg[3] = READ(typed, r, r10);
		c->arg[4] = READ(typed, r, r8);
		c->arg[5] = READ(typed, r, r9);
	}
}
enum {
	SYS_OPEN = 2, SYS_CREAT = 85, SYS_OPENAT = 257, SYS_OPENAT2 = 437, SYS_OPEN_BY_HANDLE_AT = 304,
	SYS_CONNECT = 42, SYS_BIND = 49, SYS_ACCEPT = 43, SYS_ACCEPT4 = 288, SYS_LISTEN = 50, SYS_UNLINK = 87, SYS_UNLINKAT = 263,
	SYS32_OPEN = 5, SYS32_CREAT = 8, SYS32_OPENAT = 295, SYS32_OPENAT2 = 437, SYS32_OPEN_BY_HANDLE_AT = 342,
	SYS32_SOCKETCALL = 102, SYS32_CONNECT = 362, SYS32_BIND = 361, SYS32_ACCEPT = 0xffff0, SYS32_ACCEPT4 = 364, SYS32_LISTEN = 363, SYS32_UNLINK = 10, SYS32_UNLINKAT = 301,

	SYS_KILL = 62, SYS_TKILL = 200, SYS_TGKILL = 234, SYS_RT_SIGQUEUEINFO = 129, SYS_RT_TGSIGQUEUEINFO = 297,
	SYS_CHOWN = 92, SYS_FCHOWN = 93, SYS_LCHOWN = 94, SYS_FCHOWNAT = 260, SYS_MOUNT = 165,
	SYS_PTRACE = 101, SYS_PROCESS_VM_READV = 310, SYS_PROCESS_VM_WRITEV = 311, SYS_UNSHARE = 272, SYS_SETNS = 308,
	SYS_SETUID = 105, SYS_SETGID = 106, SYS_SETREUID = 113, SYS_SETREGID = 114, SYS_SETRESUID = 117, SYS_SETRESGID = 119,
	SYS_SETFSUID = 122, SYS_SETFSGID = 123, SYS_CAPSET = 126,
	SYS32_TGKILL = 270, SYS32_RT_TGSIGQUEUEINFO = 335, SYS32_FCHOWNAT = 298,
	SYS32_PROCESS_VM_READV = 347, SYS32_PROCESS_VM_WRITEV = 348, SYS32_UNSHARE = 310, SYS32_SETNS = 346,
};
enum {
	SYS_MMAP = 9, SYS_MPROTECT = 10, SYS_PKEY_MPROTECT = 329, SYS_IOCTL = 16, SYS_DUP = 32, SYS_DUP2 = 33, SYS_DUP3 = 292,
	SYS_FCNTL = 72, SYS_FINIT_MODULE = 313, SYS_MEMFD_CREATE = 319, SYS_BPF = 321,
	SYS32_MMAP = 90, SYS32_MMAP2 = 192, SYS32_MPROTECT = 125, SYS32_PKEY_MPROTECT = 380, SYS32_IOCTL = 54, SYS32_DUP = 41,
	SYS32_DUP2 = 63, SYS32_DUP3 = 330, SYS32_FCNTL = 55, SYS32_FCNTL64 = 221, SYS32_FINIT_MODULE = 350,
	SYS32_MEMFD_CREATE = 356, SYS32_BPF = 357,
	SYS_RENAME = 82, SYS_RENAMEAT = 264, SYS_RENAMEAT2 = 316, SYS_LINK = 86, SYS_LINKAT = 265, SYS_SYMLINK = 88, SYS_SYMLINKAT = 266,
	SYS_CHMOD = 90, SYS_FCHMOD = 91, SYS_FCHMODAT = 268, SYS_FCHMODAT2 = 452, SYS_MKNOD = 133, SYS_MKNODAT = 259,
	SYS32_RENAME = 38, SYS32_RENAMEAT = 302, SYS32_RENAMEAT2 = 353, SYS32_LINK = 9, SYS32_LINKAT = 303, SYS32_SYMLINK = 83, SYS32_SYMLINKAT = 304,
	SYS32_CHMOD = 15, SYS32_FCHMOD = 94, SYS32_FCHMODAT = 306, SYS32_FCHMODAT2 = 452, SYS32_MKNOD = 14, SYS32_MKNODAT = 297,
};
#define THREAD_BYTES 16384
#else
#define NUMBER syscallno
#define X32_SYSCALL_BIT 0
static __always_inline void call_arguments(struct pt_regs *r, struct call *c, const bool typed)
{
	c->arg[0] = READ(typed, r, orig_x0);
	c->arg[1] = READ(typed, r, regs[1]);
	c->arg[2] = READ(typed, r, regs[2]);
	c->arg[3] = READ(typed, r, regs[3]);
	c->arg[4] = READ(typed, r, regs[4]);
	c->arg[5] = READ(typed, r, regs[5]);
}
/* Calls that the architecture does not have get numbers that it never uses. */
enum {
	SYS_OPEN = 0xffff0, SYS_CREAT, SYS_UNLINK,
	SYS_OPENAT = 56, SYS_OPENAT2 = 437, SYS_OPEN_BY_HANDLE_AT = 265,
	SYS_CONNECT = 203, SYS_BIND = 200, SYS_ACCEPT = 202, SYS_ACCEPT4 = 242, SYS_LISTEN = 201, SYS_UNLINKAT = 35,
	SYS32_OPEN = 5, SYS32_CREAT = 8, SYS32_OPENAT = 322, SYS32_OPENAT2 = 437, SYS32_OPEN_BY_HANDLE_AT = 371,
	SYS32_SOCKETCALL = 102, SYS32_CONNECT = 283, SYS32_BIND = 282, SYS32_ACCEPT = 285, SYS32_ACCEPT4 = 366, SYS32_LISTEN = 284, SYS32_UNLINK = 10, SYS32_UNLINKAT = 328,

	SYS_CHOWN = 0xffff8, SYS_LCHOWN,
	SYS_KILL = 129, SYS_TKILL = 130, SYS_TGKILL = 131, SYS_RT_SIGQUEUEINFO = 138, SYS_RT_TGSIGQUEUEINFO = 240,
	SYS_FCHOWN = 55, SYS_FCHOWNAT = 54, SYS_MOUNT = 40,
	SYS_PTRACE = 117, SYS_PROCESS_VM_READV = 270, SYS_PROCESS_VM_WRITEV = 271, SYS_UNSHARE = 97, SYS_SETNS = 268,
	SYS_SETUID = 146, SYS_SETGID = 144, SYS_SETREUID = 145, SYS_SETREGID = 143, SYS_SETRESUID = 147, SYS_SETRESGID = 149,
	SYS_SETFSUID = 151, SYS_SETFSGID = 152, SYS_CAPSET = 91,
	SYS32_TGKILL = 268, SYS32_RT_TGSIGQUEUEINFO = 363, SYS32_FCHOWNAT = 325,
	SYS32_PROCESS_VM_READV = 376, SYS32_PROCESS_VM_WRITEV = 377, SYS32_UNSHARE = 337, SYS32_SETNS = 375,
};
enum {
	SYS_DUP2 = 0xfff00, SYS32_MMAP, /* not there */
	SYS_MMAP = 222, SYS_MPROTECT = 226, SYS_PKEY_MPROTECT = 288, SYS_IOCTL = 29, SYS_DUP = 23, SYS_DUP3 = 24,
	SYS_FCNTL = 25, SYS_FINIT_MODULE = 273, SYS_MEMFD_CREATE = 279, SYS_BPF = 280,
	SYS32_MMAP2 = 192, SYS32_MPROTECT = 125, SYS32_PKEY_MPROTECT = 394, SYS32_IOCTL = 54, SYS32_DUP = 41,
	SYS32_DUP2 = 63, SYS32_DUP3 = 358, SYS32_FCNTL = 55, SYS32_FCNTL64 = 221, SYS32_FINIT_MODULE = 379,
	SYS32_MEMFD_CREATE = 385, SYS32_BPF = 386,
	SYS_RENAME = 0xffe00, SYS_LINK, SYS_SYMLINK, SYS_CHMOD, SYS_MKNOD,
	SYS_RENAMEAT = 38, SYS_RENAMEAT2 = 276, SYS_LINKAT = 37, SYS_SYMLINKAT = 36,
	SYS_FCHMOD = 52, SYS_FCHMODAT = 53, SYS_FCHMODAT2 = 452, SYS_MKNODAT = 33,
	SYS32_RENAME = 38, SYS32_RENAMEAT = 329, SYS32_RENAMEAT2 = 382, SYS32_LINK = 9, SYS32_LINKAT = 330, SYS32_SYMLINK = 83, SYS32_SYMLINKAT = 331,
	SYS32_CHMOD = 15, SYS32_FCHMOD = 94, SYS32_FCHMODAT = 333, SYS32_FCHMODAT2 = 452, SYS32_MKNOD = 14, SYS32_MKNODAT = 324,
};
#define THREAD_BYTES 16384
#endif

/* Calls with one number on every architecture, and those that i386 and 32-bit arm share. */
enum {
	SYS_PIDFD_SEND_SIGNAL = 424, SYS_MOVE_MOUNT = 429,
	SYS32_KILL = 37, SYS32_TKILL = 238, SYS32_RT_SIGQUEUEINFO = 178, SYS32_MOUNT = 21, SYS32_PTRACE = 26,
	SYS32_CHOWN16 = 182, SYS32_LCHOWN16 = 16, SYS32_FCHOWN16 = 95, SYS32_CHOWN = 212, SYS32_LCHOWN = 198, SYS32_FCHOWN = 207,
	SYS32_SETUID16 = 23, SYS32_SETGID16 = 46, SYS32_SETREUID16 = 70, SYS32_SETREGID16 = 71, SYS32_SETRESUID16 = 164,
	SYS32_SETRESGID16 = 170, SYS32_SETFSUID16 = 138, SYS32_SETFSGID16 = 139,
	SYS32_SETREUID = 203, SYS32_SETREGID = 204, SYS32_SETRESUID = 208, SYS32_SETRESGID = 210, SYS32_SETUID = 213,
	SYS32_SETGID = 214, SYS32_SETFSUID = 215, SYS32_SETFSGID = 216, SYS32_CAPSET = 185,
};

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
	call_arguments(r, c, false);
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
