/* Sockets and their addresses, taken from the kernel's own objects where those hold them. */
#pragma once
#include "syscall.h"

enum { AF_UNSPEC = 0, AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };
enum { SOCK_STREAM = 1 };
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* The body of records about a socket. */
#define SOCKET_BODY                                   \
	{                                             \
		s32 fd, result;                       \
		u32 net_ns;                           \
		u16 type_, family, protocol;          \
		u8 result_known, reserved;            \
		u32 reserved2;                        \
	}

struct address4 {
	u16 family;
	__be16 port;
	__be32 address;
	u8 zero[8];
};
struct address6 {
	u16 family;
	__be16 port;
	u32 flow;
	u8 address[16];
	u32 scope;
};

/* The socket behind an open file, 0 when it is none. */
static __always_inline struct sock *sock_of_file(struct file *f)
{
	if (!f || (BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	struct socket *s = BPF_CORE_READ(f, private_data);
	return BPF_CORE_READ(s, sk);
}
/* The socket behind a descriptor of the current task. */
static __always_inline struct sock *sock_of(u32 fd)
{
	return sock_of_file(file_of(fd));
}

static __always_inline u16 family_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family);
}

/* Appends one end of an INET or INET6 socket as a sockaddr, or the name of an AF_UNIX one. Absent when
 * the socket has none. */
__noinline int put_address(u32 slot, u32 index, u64 sock, u32 remote)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	struct sock *sk = (void *)sock;
	u64 at = *a.next;
	opaque(at);
	if (at > a.size - sizeof(struct address6))
		return 0;
	u16 family = family_of(sk);
	if (family == AF_INET) {
		struct address4 *to = (void *)(a.record + at);
		__builtin_memset(to, 0, sizeof(*to));
		to->family = AF_INET;
		to->port = remote ? BPF_CORE_READ(sk, __sk_common.skc_dport) : bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
		to->address = remote ? BPF_CORE_READ(sk, __sk_common.skc_daddr) : BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		set_slice(&a, index, at, sizeof(*to), sizeof(*to), OK, 0);
		*a.next = at + sizeof(*to);
	} else if (family == AF_INET6) {
		struct address6 *to = (void *)(a.record + at);
		__builtin_memset(to, 0, sizeof(*to));
		to->family = AF_INET6;
		to->port = remote ? BPF_CORE_READ(sk, __sk_common.skc_dport) : bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
		bpf_core_read(to->address, sizeof(to->address), remote ? &sk->__sk_common.skc_v6_daddr : &sk->__sk_common.skc_v6_rcv_saddr);
		if (to->address[0] == 0xfe && (to->address[1] & 0xc0) == 0x80) /* link local */
			to->scope = BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
		set_slice(&a, index, at, sizeof(*to), sizeof(*to), OK, 0);
		*a.next = at + sizeof(*to);
	} else if (family == AF_UNIX) {
		struct unix_sock *u = (void *)sk;
		if (remote)
			u = (void *)BPF_CORE_READ(u, peer);
		struct unix_address *name = BPF_CORE_READ(u, addr);
		if (name)
			put_bytes(slot, index, (u64)&name->name, BPF_CORE_READ(name, len), 0);
	}
	return 0;
}

static __always_inline u32 net_ns_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* Whether sockets of this family make events: netlink and the like do not. */
static __always_inline bool family_wanted(u16 family, u32 interest)
{
	return family == AF_INET || family == AF_INET6 || (family == AF_UNIX && !(interest & NO_UNIX));
}

#define fill_socket(b, sk)                                     \
	({                                                     \
		(b)->net_ns = net_ns_of(sk);                   \
		(b)->type_ = BPF_CORE_READ(sk, sk_type);       \
		(b)->family = family_of(sk);                   \
		(b)->protocol = BPF_CORE_READ(sk, sk_protocol); \
	})

/* Starts a record whose body is a `struct type` that begins as SOCKET_BODY does. */
#define socket_begin(type, slot, kind, hook, flags, interest, sk, slices)                                       \
	({                                                                                                      \
		struct type *b_ = record_begin(slot, kind, hook, flags, interest, sizeof(struct type), slices); \
		if (b_)                                                                                         \
			fill_socket(b_, sk);                                                                    \
		b_;                                                                                             \
	})
