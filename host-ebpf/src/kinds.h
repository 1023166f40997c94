/* The kinds, and the scratch slot of each program. One line per kind, one slot per program. */
#pragma once
enum kind {
	KIND_SCHED_PROCESS_EXEC = 1,
	KIND_SCHED_PROCESS_FORK,
	KIND_SCHED_PROCESS_EXIT,
	KIND_SECURITY_FILE_OPEN,
	KIND_SECURITY_SOCKET_CONNECT,
	KIND_SECURITY_SOCKET_BIND,
	KIND_SECURITY_INODE_UNLINK,
	KIND_SEED,
	KIND_SECURITY_SOCKET_ACCEPT = 28,
	KIND_SECURITY_SOCKET_LISTEN = 29,
	KIND_NET_UDP_SEND = 30,
	KIND_NET_PACKET_DNS_REQUEST = 31,
	KIND_NET_PACKET_DNS_RESPONSE = 32,
};
/* Two programs never share a slot: one may run on a CPU while another is in the middle of its record. */
enum slot {
	SLOT_EXEC, /* the big one */
	SLOT_FORK,
	SLOT_EXIT,
	SLOT_SEED,
	SLOT_SYS_EXIT,
	SLOT_SOCK_STATE,
	SLOT_OPEN_IO_URING,
	SLOT_UNLINK_IO_URING_SUBMIT,
	SLOT_UNLINK_IO_URING,
	SLOT_ACCEPT_IO_URING,
	SLOT_UDP_SEND,
	SLOT_DNS_EGRESS,
	SLOT_DNS_INGRESS,
	SLOT_KPROBE, /* all kprobes: the kernel runs no two of them on a CPU at once (bpf_prog_active) */
	SLOTS,
};
