/* A connection was accepted.
 *
 * tracepoint: the accept call returned a descriptor, and both ends are those of the socket behind it. An
 * io_uring request likewise where the kernel passes its completion. That is the truth everywhere, so there
 * are no kprobes; security_socket_accept itself runs before anybody knows the peer.
 */
#include "../socket.h"

struct accept_body SOCKET_BODY;
LAYOUT(accept_body)
enum accept_slice { ACCEPT_LOCAL, ACCEPT_REMOTE, ACCEPT_SLICES };

static __always_inline bool accept_is_call(u32 nr)
{
	return nr == SYS_ACCEPT || nr == SYS_ACCEPT4 || nr == SYS32_ACCEPT || nr == SYS32_ACCEPT4 || nr == SYS32_SOCKETCALL;
}

static __always_inline bool accept_arguments(struct call *c)
{
	if (!c->compat)
		return c->nr == SYS_ACCEPT || c->nr == SYS_ACCEPT4;
	if (c->nr == SYS32_SOCKETCALL && (c->arg[0] == 5 || c->arg[0] == 18))
		return unpack_socketcall(c);
	return c->nr == SYS32_ACCEPT || c->nr == SYS32_ACCEPT4;
}

/* `fds`: what the call returned, above it the listening descriptor. */
__noinline int accept_record(u32 slot_index, u32 hook_flags, u32 interest, u64 sock, u64 fds)
{
	struct sock *sk = (void *)sock;
	if (!sk) { /* another thread closed it already */
		drop(KIND_SECURITY_SOCKET_ACCEPT, DROPPED_FAULT);
		return 0;
	}
	if (!family_wanted(family_of(sk), interest)) {
		filter(KIND_SECURITY_SOCKET_ACCEPT, FILTERED_CLASS);
		return 0;
	}
	struct accept_body *b = socket_begin(accept_body, slot_index, KIND_SECURITY_SOCKET_ACCEPT, hook_flags & 0xffff, hook_flags >> 16, interest, sk, ACCEPT_SLICES);
	if (!b)
		return 0;
	b->fd = fds >> 32;
	b->result = fds;
	b->result_known = 1;
	put_address(slot_index, ACCEPT_LOCAL, (u64)sk, false);
	put_address(slot_index, ACCEPT_REMOTE, (u64)sk, true);
	submit(slot_index, false);
	return 0;
}

static __always_inline bool accept_sys_exit(struct call *c)
{
	if (!accept_arguments(c))
		return false;
	u32 interest = admit(KIND_SECURITY_SOCKET_ACCEPT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0)
		filter(KIND_SECURITY_SOCKET_ACCEPT, FILTERED_FAILED);
	else
		accept_record(SLOT_SYS_EXIT, HOOK_SYS_EXIT | (c->compat ? COMPAT : 0) << 16, interest, (u64)sock_of(c->ret), (u32)c->ret | c->arg[0] << 32);
	return true;
}

#define IORING_OP_ACCEPT 13

/* Newer kernels (6.18, not yet 6.12) pass the completion; elsewhere this program does not load. Of a request that
 * goes on accepting, the kernel does not say at its completions which request it was. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(security_socket_accept__tracepoint__io_uring_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *cqe)
{
	struct io_kiocb *req = request;
	if (!req || BPF_CORE_READ(req, opcode) != IORING_OP_ACCEPT)
		return 0;
	u32 interest = admit(KIND_SECURITY_SOCKET_ACCEPT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	s32 fd = cqe->res;
	if (fd < 0) {
		filter(KIND_SECURITY_SOCKET_ACCEPT, FILTERED_FAILED);
		return 0;
	}
	struct io_accept *accept = request; /* the command lies at the start of the request */
	u32 table_slot = BPF_CORE_READ(accept, file_slot);
	struct sock *sk = table_slot ? sock_of_file(io_uring_file((void *)scalar(ring), ~table_slot ? table_slot - 1 : (u32)fd)) : sock_of(fd);
	accept_record(SLOT_ACCEPT_IO_URING, HOOK_IO_URING_COMPLETE | IO_URING << 16, interest, (u64)sk, (u32)fd | (u64)~0u << 32);
	return 0;
}
