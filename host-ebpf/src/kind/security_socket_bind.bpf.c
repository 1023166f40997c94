/* A socket was bound.
 *
 * kprobe: security_socket_bind, the kernel's copy of the address that was asked for; the result is not
 * known yet. tracepoint: the bind call succeeded, and the address is the one the socket got.
 */
#include "../socket.h"

struct bind_body SOCKET_BODY;
LAYOUT(bind_body)
enum bind_slice { BIND_LOCAL, BIND_SLICES };

static __always_inline bool bind_is_call(u32 nr)
{
	return nr == SYS_BIND || nr == SYS32_BIND || nr == SYS32_SOCKETCALL;
}

static __always_inline bool bind_arguments(struct call *c)
{
	if (!c->compat)
		return c->nr == SYS_BIND;
	return c->nr == SYS32_BIND || (c->nr == SYS32_SOCKETCALL && c->arg[0] == 2 && unpack_socketcall(c) == 2);
}

static __always_inline bool bind_sys_exit(struct call *c)
{
	if (!bind_arguments(c))
		return false;
	u32 interest = admit(KIND_SECURITY_SOCKET_BIND, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	struct sock *sk = sock_of(c->arg[0]);
	if (c->ret < 0) {
		filter(KIND_SECURITY_SOCKET_BIND, FILTERED_FAILED);
		return true;
	}
	if (!sk) {
		filter(KIND_SECURITY_SOCKET_BIND, FILTERED_OTHER);
		return true;
	}
	if (!family_wanted(family_of(sk), interest)) {
		filter(KIND_SECURITY_SOCKET_BIND, FILTERED_CLASS);
		return true;
	}
	struct bind_body *b = socket_begin(bind_body, SLOT_SYS_EXIT, KIND_SECURITY_SOCKET_BIND, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, sk, BIND_SLICES);
	if (!b)
		return true;
	b->fd = c->arg[0];
	b->result_known = 1;
	put_address(SLOT_SYS_EXIT, BIND_LOCAL, (u64)sk, false);
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_socket_bind")
int security_socket_bind__kprobe(struct pt_regs *ctx)
{
	u32 interest = admit(KIND_SECURITY_SOCKET_BIND, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct socket *socket = (void *)PT_REGS_PARM1_CORE(ctx);
	struct sock *sk = BPF_CORE_READ(socket, sk);
	if (!family_wanted(family_of(sk), interest)) {
		filter(KIND_SECURITY_SOCKET_BIND, FILTERED_CLASS);
		return 0;
	}
	struct call c;
	running_call(&c);
	bool by_bind = bind_arguments(&c);
	struct bind_body *b = socket_begin(bind_body, SLOT_KPROBE, KIND_SECURITY_SOCKET_BIND, HOOK_KPROBE, c.compat ? COMPAT : 0, interest, sk, BIND_SLICES);
	if (!b)
		return 0;
	b->fd = by_bind && sock_of(c.arg[0]) == sk ? (s32)c.arg[0] : -1;
	put_bytes(SLOT_KPROBE, BIND_LOCAL, PT_REGS_PARM2_CORE(ctx), PT_REGS_PARM3_CORE(ctx), 0);
	submit(SLOT_KPROBE, false);
	return 0;
}
