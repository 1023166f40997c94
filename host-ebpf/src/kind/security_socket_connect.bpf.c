/* A socket is being connected.
 *
 * kprobe: security_socket_connect, the kernel's copy of the address; the result is not known yet.
 * tracepoint: a TCP connect is the socket entering SYN_SENT; what never gets that far, and every other
 * protocol, is the connect call's exit, with the address from the socket when it succeeded. Only a
 * failed connect's address comes from user memory, and says so.
 */
#include "../socket.h"

struct connect_body SOCKET_BODY;
LAYOUT(connect_body)
enum connect_slice { REMOTE, CONNECT_LOCAL, CONNECT_SLICES };

static __always_inline bool connect_is_call(u32 nr)
{
	return nr == SYS_CONNECT || nr == SYS32_CONNECT || nr == SYS32_SOCKETCALL;
}

/* Whether the call is connect; unpacks socketcall. */
static __always_inline bool connect_arguments(struct call *c)
{
	if (!c->compat)
		return c->nr == SYS_CONNECT;
	return c->nr == SYS32_CONNECT || (c->nr == SYS32_SOCKETCALL && c->arg[0] == 3 && unpack_socketcall(c) == 3);
}

/* Sockets whose SYN_SENT was reported during the connect call their thread is in. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} CONNECTING SEC(".maps");

#define TCP_SYN_SENT 2
enum { EISCONN = 106, EALREADY = 114, EINPROGRESS = 115 };

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(security_socket_connect__tracepoint__inet_sock_set_state, const struct sock *sock, int old, int new)
{
	if (new != TCP_SYN_SENT)
		return 0;
	u32 interest = admit(KIND_SECURITY_SOCKET_CONNECT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return 0;
	struct sock *sk = (void *)scalar(sock);
	struct call c;
	running_call(&c);
	/* The first argument is the descriptor (also of sendto with MSG_FASTOPEN), if it is this socket. */
	bool by_fd = sock_of(c.arg[0]) == sk;
	bool by_connect = connect_arguments(&c);
	if (by_connect)
		by_fd = sock_of(c.arg[0]) == sk;
	if (by_connect && by_fd) {
		u64 id = bpf_get_current_pid_tgid(), value = (u64)sk;
		bpf_map_update_elem(&CONNECTING, &id, &value, BPF_ANY);
	}
	struct connect_body *b = socket_begin(connect_body, SLOT_SOCK_STATE, KIND_SECURITY_SOCKET_CONNECT, HOOK_INET_SOCK_SET_STATE, c.compat ? COMPAT : 0, interest, sk, CONNECT_SLICES);
	if (!b)
		return 0;
	b->fd = by_fd ? (s32)c.arg[0] : -1;
	put_address(SLOT_SOCK_STATE, REMOTE, (u64)sk, true);
	put_address(SLOT_SOCK_STATE, CONNECT_LOCAL, (u64)sk, false); /* the port is not chosen yet, unless bound */
	submit(SLOT_SOCK_STATE, false);
	return 0;
}

static __always_inline bool connect_sys_exit(struct call *c)
{
	if (!connect_arguments(c))
		return false;
	u32 interest = admit(KIND_SECURITY_SOCKET_CONNECT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	u64 id = bpf_get_current_pid_tgid();
	if (bpf_map_lookup_elem(&CONNECTING, &id)) {
		bpf_map_delete_elem(&CONNECTING, &id);
		filter(KIND_SECURITY_SOCKET_CONNECT, FILTERED_PAIRED);
		return true;
	}
	struct sock *sk = sock_of(c->arg[0]);
	if (!sk) {
		filter(KIND_SECURITY_SOCKET_CONNECT, FILTERED_OTHER);
		return true;
	}
	u16 family = family_of(sk);
	if (!family_wanted(family, interest)) {
		filter(KIND_SECURITY_SOCKET_CONNECT, FILTERED_CLASS);
		return true;
	}
	bool inet = family != AF_UNIX;
	if (inet && !c->ret && !BPF_CORE_READ(sk, __sk_common.skc_dport)) {
		filter(KIND_SECURITY_SOCKET_CONNECT, FILTERED_OTHER); /* AF_UNSPEC: a disconnect */
		return true;
	}
	/* A stream that is connected or on its way has been in SYN_SENT: also when this call only asked for
	 * the state, or when the socket that was in it is not the one behind the descriptor (MPTCP). */
	bool on_its_way = !c->ret || c->ret == -EINPROGRESS || c->ret == -EALREADY || c->ret == -EISCONN;
	if (inet && on_its_way && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM) {
		filter(KIND_SECURITY_SOCKET_CONNECT, FILTERED_PAIRED);
		return true;
	}
	struct connect_body *b = socket_begin(connect_body, SLOT_SYS_EXIT, KIND_SECURITY_SOCKET_CONNECT, HOOK_SYS_EXIT, c->compat ? COMPAT : 0, interest, sk, CONNECT_SLICES);
	if (!b)
		return true;
	b->fd = c->arg[0];
	b->result = c->ret;
	b->result_known = 1;
	if (!c->ret) {
		put_address(SLOT_SYS_EXIT, REMOTE, (u64)sk, true);
		put_address(SLOT_SYS_EXIT, CONNECT_LOCAL, (u64)sk, false);
	} else {
		u32 length = c->arg[2] > 128 ? 128 : c->arg[2];
		put_bytes(SLOT_SYS_EXIT, REMOTE, c->arg[1], length, USER_MEMORY);
	}
	submit(SLOT_SYS_EXIT, false);
	return true;
}

SEC("kprobe/security_socket_connect")
int security_socket_connect__kprobe(struct pt_regs *ctx)
{
	u32 interest = admit(KIND_SECURITY_SOCKET_CONNECT, RUNG_KPROBE, true);
	if (interest == REFUSED)
		return 0;
	struct socket *socket = (void *)PT_REGS_PARM1_CORE(ctx);
	struct sock *sk = BPF_CORE_READ(socket, sk);
	u64 address = PT_REGS_PARM2_CORE(ctx);
	u16 family = 0;
	bpf_probe_read_kernel(&family, sizeof(family), (void *)address);
	if (!family_wanted(family, interest)) {
		filter(KIND_SECURITY_SOCKET_CONNECT, FILTERED_CLASS);
		return 0;
	}
	struct call c;
	running_call(&c);
	bool by_connect = connect_arguments(&c);
	struct connect_body *b = socket_begin(connect_body, SLOT_KPROBE, KIND_SECURITY_SOCKET_CONNECT, HOOK_KPROBE, c.compat ? COMPAT : 0, interest, sk, CONNECT_SLICES);
	if (!b)
		return 0;
	b->fd = by_connect && sock_of(c.arg[0]) == sk ? (s32)c.arg[0] : -1;
	put_bytes(SLOT_KPROBE, REMOTE, address, PT_REGS_PARM3_CORE(ctx), 0);
	submit(SLOT_KPROBE, false);
	return 0;
}
