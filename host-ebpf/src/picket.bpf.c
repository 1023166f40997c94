/* The kernel side, one object. A kind is one file in kind/, one line in kinds.h, one include here and,
 * if it has a system call, one name in SYSCALL_KINDS: those that share their calls with another kind
 * come first. */
#include "kind/bpf_attach.bpf.c"
#include "kind/chmod_common.bpf.c"
#include "kind/chown.bpf.c"
#include "kind/commit_creds.bpf.c"
#include "kind/fchownat.bpf.c"
#include "kind/kill.bpf.c"
#include "kind/memfd_create.bpf.c"
#include "kind/module_free.bpf.c"
#include "kind/module_load.bpf.c"
#include "kind/mount.bpf.c"
#include "kind/net_packet_dns_request.bpf.c"
#include "kind/net_packet_dns_response.bpf.c"
#include "kind/net_udp_send.bpf.c"
#include "kind/ptrace.bpf.c"
#include "kind/sched_process_exec.bpf.c"
#include "kind/sched_process_exit.bpf.c"
#include "kind/sched_process_fork.bpf.c"
#include "kind/security_file_mprotect.bpf.c"
#include "kind/security_file_open.bpf.c"
#include "kind/security_inode_link.bpf.c"
#include "kind/security_inode_mknod.bpf.c"
#include "kind/security_inode_rename.bpf.c"
#include "kind/security_inode_symlink.bpf.c"
#include "kind/security_inode_unlink.bpf.c"
#include "kind/security_mmap_file.bpf.c"
#include "kind/security_socket_accept.bpf.c"
#include "kind/security_socket_bind.bpf.c"
#include "kind/security_socket_connect.bpf.c"
#include "kind/security_socket_listen.bpf.c"
#include "kind/seed.bpf.c"
#include "kind/socket_dup.bpf.c"
#include "kind/switch_task_ns.bpf.c"
#include "kind/unlink.bpf.c"

#define SYSCALL_KINDS(K) \
	K(unlink_call) K(commit_creds) K(open) K(unlink) K(connect) K(bind) K(attach) K(memfd) K(mmap) \
	K(dup) K(rename) K(link) K(symlink) K(chmod) K(mknod) K(kill) K(chown) K(fchownat) K(mount) \
	K(ptrace) K(switch_task_ns) K(accept) K(listen)

/* One program for all calls: most calls are none of ours and leave after comparing their number. */
SEC("tp_btf/sys_exit")
int BPF_PROG(shared__tracepoint__sys_exit, struct pt_regs *regs, long ret)
{
	struct call c = { .nr = regs->NUMBER & ~X32_SYSCALL_BIT, .ret = ret };
#define IS(kind) || kind##_is_call(c.nr)
	if (!(false SYSCALL_KINDS(IS)))
		return 0;
	c.compat = is_compat();
	call_arguments(regs, &c, true);
#define HANDLE(kind)               \
	if (kind##_sys_exit(&c))   \
		return 0;
	SYSCALL_KINDS(HANDLE)
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
