/* The kernel side, one object. A kind is one file in kind/, one line in kinds.h, one include here and,
 * if it has a system call, one line in SYSCALL_KINDS. */
#include "kind/sched_process_exec.bpf.c"
#include "kind/sched_process_exit.bpf.c"
#include "kind/sched_process_fork.bpf.c"
#include "kind/security_file_open.bpf.c"
#include "kind/security_inode_unlink.bpf.c"
#include "kind/security_socket_bind.bpf.c"
#include "kind/security_socket_connect.bpf.c"
#include "kind/seed.bpf.c"
#include "kind/security_socket_accept.bpf.c"
#include "kind/security_socket_listen.bpf.c"
#include "kind/net_udp_send.bpf.c"
#include "kind/net_packet_dns_request.bpf.c"
#include "kind/net_packet_dns_response.bpf.c"

#define SYSCALL_KINDS(K) K(open) K(unlink) K(connect) K(bind) K(accept) K(listen)

/* One program for all calls: most calls are none of ours and leave after comparing their number. */
SEC("tp_btf/sys_exit")
int BPF_PROG(shared__tracepoint__sys_exit, struct pt_regs *regs, long ret)
{
	struct call c = { .nr = regs->NUMBER & ~X32_SYSCALL_BIT, .ret = ret };
#define IS(kind) || kind##_is_call(c.nr)
	if (!(false SYSCALL_KINDS(IS)))
		return 0;
	c.compat = is_compat();
	call_arguments((void *)scalar(regs), &c);
#define HANDLE(kind)               \
	if (kind##_sys_exit(&c))   \
		return 0;
	SYSCALL_KINDS(HANDLE)
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
