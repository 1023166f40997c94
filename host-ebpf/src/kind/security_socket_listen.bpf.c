/* A socket starts to listen.
 *
 * tracepoint: the listen call succeeded; the address is the socket's own, a port that the kernel chose
 * included.
 */
#include "../socket.h"

struct listen_body {
	s32 fd, result;
	u32 net_ns;
	u16 type_, family, protocol;
	u8 result_known, reserved;
	s32 backlog;
};
LAYOUT(listen_body)
enum listen_slice { LISTEN_LOCAL, LISTEN_SLICES };

static __always_inline bool listen_is_call(u32 nr)
{
	return nr == SYS_LISTEN || nr == SYS32_LISTEN || nr == SYS32_SOCKETCALL;
}

static __always_inline bool listen_arguments(struct call *c)
{
	if (!c->compat)
		return c->nr == SYS_LISTEN;
	return c->nr == SYS32_LISTEN || (c->nr == SYS32_SOCKETCALL && c->arg[0] == 4 && unpack_socketcall(c));
}

/* `arguments`: the descriptor, above it the backlog. */
__noinline int listen_record(u32 flags, u32 interest, u64 arguments)
{
	struct sock *sk = sock_of(arguments);
	if (!sk) {
		drop(KIND_SECURITY_SOCKET_LISTEN, DROPPED_FAULT);
		return 0;
	}
	if (!family_wanted(family_of(sk), interest)) {
		filter(KIND_SECURITY_SOCKET_LISTEN, FILTERED_CLASS);
		return 0;
	}
	struct listen_body *b = socket_begin(listen_body, SLOT_SYS_EXIT, KIND_SECURITY_SOCKET_LISTEN, HOOK_SYS_EXIT, flags, interest, sk, LISTEN_SLICES);
	if (!b)
		return 0;
	b->fd = arguments;
	b->backlog = arguments >> 32;
	b->result_known = 1;
	put_address(SLOT_SYS_EXIT, LISTEN_LOCAL, (u64)sk, false);
	submit(SLOT_SYS_EXIT, false);
	return 0;
}

static __always_inline bool listen_sys_exit(struct call *c)
{
	if (!listen_arguments(c))
		return false;
	u32 interest = admit(KIND_SECURITY_SOCKET_LISTEN, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0)
		filter(KIND_SECURITY_SOCKET_LISTEN, FILTERED_FAILED);
	else
		listen_record(c->compat ? COMPAT : 0, interest, (u32)c->arg[0] | c->arg[1] << 32);
	return true;
}
