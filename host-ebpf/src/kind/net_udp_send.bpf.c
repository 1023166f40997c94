/* A process sends UDP to a peer without having connected to it, for the first time.
 *
 * tracepoint rung: the control groups' sendmsg hooks, which the kernel runs for such sends only, in the
 * sending task and with its own copy of the address: no second thread can change it afterwards, and an
 * io_uring request is seen like a call. What a process has sent to is remembered in a bounded map, so a
 * chatty sender costs a lookup; where it is full, the peer that was not sent to for longest is news again.
 */
#include "../socket.h"

struct udp_send_body SOCKET_BODY;
LAYOUT(udp_send_body)
enum udp_send_slice { UDP_SEND_REMOTE, UDP_SEND_LOCAL, UDP_SEND_SLICES };
struct udp_send_record {
	struct record_header h;
	struct udp_send_body b;
};

struct udp_peer {
	u64 start;
	u32 tgid;
	u16 family;
	__be16 port;
	u32 address[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct udp_peer);
	__type(value, u8);
} UDP_PEERS SEC(".maps");

/* The descriptor of the running call where it is this socket's, else -1: these programs may not ask the kernel for
 * the user registers, so they look where they lie (with FRED, 16 bytes lower) and believe nothing unproved. */
static __always_inline s32 udp_descriptor(struct task_struct *t, struct sock *sk)
{
	void *top = BPF_CORE_READ(t, stack) + THREAD_BYTES - bpf_core_type_size(struct pt_regs);
	for (u32 below = 0; below <= 16; below += 16) {
		struct call c = { .compat = is_compat() };
		call_arguments(top - below, &c, false);
		if (sock_of(c.arg[0]) == sk)
			return c.arg[0];
	}
	return -1;
}

/* Appends the peer. */
static __always_inline void udp_put_peer(struct area *a, struct udp_peer *peer)
{
	u64 at = *a->next;
	opaque(at);
	if (at > a->size - sizeof(struct address6))
		return;
	if (peer->family == AF_INET) {
		struct address4 *to = (void *)(a->record + at);
		__builtin_memset(to, 0, sizeof(*to));
		to->family = AF_INET;
		to->port = peer->port;
		to->address = peer->address[0];
		set_slice(a, UDP_SEND_REMOTE, at, sizeof(*to), sizeof(*to), OK, 0);
		*a->next = at + sizeof(*to);
	} else {
		struct address6 *to = (void *)(a->record + at);
		__builtin_memset(to, 0, sizeof(*to));
		to->family = AF_INET6;
		to->port = peer->port;
		__builtin_memcpy(to->address, peer->address, sizeof(to->address));
		set_slice(a, UDP_SEND_REMOTE, at, sizeof(*to), sizeof(*to), OK, 0);
		*a->next = at + sizeof(*to);
	}
}

static __always_inline void udp_sent(struct bpf_sock_addr *ctx, struct udp_peer *peer)
{
	u32 slot_index = SLOT_UDP_SEND, flags = 0;
	struct task_struct *t = (void *)bpf_get_current_task();
	peer->tgid = BPF_CORE_READ(t, tgid);
	peer->start = BPF_CORE_READ(t, group_leader, start_boottime);
	u32 interest = admit_as(KIND_NET_UDP_SEND, RUNG_TRACEPOINT, peer->tgid);
	if (interest == REFUSED)
		return;
	if (interest & PROBE) {
		flags |= CANARY;
	} else if (bpf_map_lookup_elem(&UDP_PEERS, peer)) {
		filter(KIND_NET_UDP_SEND, FILTERED_REPEAT);
		return;
	}
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	if (!slot || !claim(slot)) {
		drop(KIND_NET_UDP_SEND, DROPPED_FAULT);
		return;
	}
	u8 one = 1;
	bpf_map_update_elem(&UDP_PEERS, peer, &one, BPF_ANY);
	struct sock *sk = (void *)plain_sock(slot, ctx->sk);
	begin(SLOT_UDP_SEND, current_task(), KIND_NET_UDP_SEND, HOOK_CGROUP, flags, sizeof(struct udp_send_body), UDP_SEND_SLICES);
	struct udp_send_body *b = &((struct udp_send_record *)slot->record)->b;
	__builtin_memset(b, 0, sizeof(*b));
	fill_socket(b, sk);
	b->fd = udp_descriptor(t, sk);
	struct area a = { &slot->next, &slot->path, slot->record, SMALL };
	udp_put_peer(&a, peer);
	put_address(SLOT_UDP_SEND, UDP_SEND_LOCAL, (u64)sk, false);
	submit(SLOT_UDP_SEND, false);
	release(slot);
}

SEC("cgroup/sendmsg4")
int net_udp_send__cgroup(struct bpf_sock_addr *ctx)
{
	struct udp_peer peer = { .family = AF_INET, .port = ctx->user_port, .address = { ctx->user_ip4 } };
	udp_sent(ctx, &peer);
	return 1;
}

SEC("cgroup/sendmsg6")
int net_udp_send__cgroup__sendmsg6(struct bpf_sock_addr *ctx)
{
	struct udp_peer peer = { .family = AF_INET6, .port = ctx->user_port };
	peer.address[0] = ctx->user_ip6[0];
	peer.address[1] = ctx->user_ip6[1];
	peer.address[2] = ctx->user_ip6[2];
	peer.address[3] = ctx->user_ip6[3];
	udp_sent(ctx, &peer);
	return 1;
}
