/* A socket became standard input, output or error of its process. */
#include "../socket.h"

struct dup_body {
	s32 old_fd, new_fd;
	u16 family, type_;
	u32 net_ns;
};
LAYOUT(dup_body)
enum dup_slice { DUP_REMOTE, DUP_SLICES };

enum { F_DUPFD = 0, F_DUPFD_CLOEXEC = 1030 };
#define LAST_STANDARD_FD 2

static __always_inline bool dup_is_call(u32 nr)
{
	return nr == SYS_DUP || nr == SYS_DUP2 || nr == SYS_DUP3 || nr == SYS_FCNTL || nr == SYS32_DUP || nr == SYS32_DUP2 ||
	       nr == SYS32_DUP3 || nr == SYS32_FCNTL || nr == SYS32_FCNTL64;
}

__noinline int duplicated(s32 old, s64 new, u32 compat)
{
	u32 interest = admit(KIND_SOCKET_DUP, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	if (new < 0) {
		filter(KIND_SOCKET_DUP, FILTERED_FAILED);
		return 0;
	}
	if (new > LAST_STANDARD_FD) {
		filter(KIND_SOCKET_DUP, FILTERED_CLASS);
		return 0;
	}
	struct sock *sk = sock_of(new);
	if (!sk || !family_wanted(family_of(sk), interest)) {
		filter(KIND_SOCKET_DUP, FILTERED_OTHER);
		return 0;
	}
	struct dup_body *b = record_begin(SLOT_SYS_EXIT, KIND_SOCKET_DUP, HOOK_SYS_EXIT, compat ? COMPAT : 0, interest, sizeof(*b), DUP_SLICES);
	if (!b)
		return 0;
	b->old_fd = old;
	b->new_fd = new;
	b->family = family_of(sk);
	b->type_ = BPF_CORE_READ(sk, sk_type);
	b->net_ns = net_ns_of(sk);
	put_address(SLOT_SYS_EXIT, DUP_REMOTE, (u64)sk, true);
	submit(SLOT_SYS_EXIT, false);
	return 0;
}

static __always_inline bool dup_sys_exit(struct call *c)
{
	bool n = !c->compat;
	if (c->nr == (n ? SYS_FCNTL : SYS32_FCNTL) || (!n && c->nr == SYS32_FCNTL64)) {
		if (c->arg[1] != F_DUPFD && c->arg[1] != F_DUPFD_CLOEXEC)
			return false;
	} else if (c->nr != (n ? SYS_DUP : SYS32_DUP) && c->nr != (n ? SYS_DUP2 : SYS32_DUP2) && c->nr != (n ? SYS_DUP3 : SYS32_DUP3)) {
		return false;
	}
	duplicated(c->arg[0], c->ret, c->compat);
	return true;
}
