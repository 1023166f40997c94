/* DNS messages in packets, as programs at the root of the unified control group hierarchy see them: requests
 * leaving for port 53, responses arriving from it. Servers on this host, the other direction, are not meant. */
#pragma once
#include "task.h"

#define DNS_PORT 53
#define DNS_BYTES 1500 /* of one message; what is longer is cut and says so */
#define DNS_HEADER 12
enum { IPPROTO_TCP = 6, IPPROTO_UDP = 17 };

struct dns_body {
	u8 source[16], destination[16];
	u32 packet_length, ifindex;
	u16 source_port, destination_port;
	u8 version, protocol;
	u16 reserved;
};
LAYOUT(dns_body)
struct dns_record {
	struct record_header h;
	struct dns_body b;
	struct slice message;
	u8 bytes[DNS_BYTES];
};
enum dns_slice { DNS_MESSAGE, DNS_SLICES };

/* Who asked on a socket, by its cookie: a response arrives while some other task runs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct record_header);
} DNS_ASKERS SEC(".maps");

/* Where the message lies in a packet. */
struct dns_place {
	u32 at, length;
	u16 source_port, destination_port;
	u8 version, protocol;
};

/* Finds a request (`ask`) or a response. Packets with extension headers, fragments and the later segments of a
 * message in TCP are not looked into. */
static __always_inline bool dns_find(struct __sk_buff *skb, bool ask, struct dns_place *p)
{
	u8 ip[20], dns[DNS_HEADER];
	__be16 ports[2];
	if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)))
		return false;
	p->version = ip[0] >> 4;
	u32 l4 = 40;
	if (p->version == 4) {
		l4 = (ip[0] & 15) * 4;
		p->protocol = ip[9];
		if (ip[6] & 0x1f || ip[7]) /* a fragment but the first */
			return false;
	} else if (p->version == 6) {
		p->protocol = ip[6];
	}
	if (p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_TCP)
		return false;
	if (bpf_skb_load_bytes(skb, l4, ports, sizeof(ports)))
		return false;
	if (ports[ask] != bpf_htons(DNS_PORT))
		return false;
	p->source_port = bpf_ntohs(ports[0]);
	p->destination_port = bpf_ntohs(ports[1]);
	p->at = l4 + 8;
	if (p->protocol == IPPROTO_TCP) {
		u8 words = 0, prefix[2];
		if (bpf_skb_load_bytes(skb, l4 + 12, &words, 1))
			return false;
		p->at = l4 + (words >> 4) * 4;
		if (bpf_skb_load_bytes(skb, p->at, prefix, sizeof(prefix)))
			return false; /* no data */
		p->at += sizeof(prefix);
	}
	if (bpf_skb_load_bytes(skb, p->at, dns, sizeof(dns)))
		return false;
	p->length = skb->len - p->at;
	/* of the right direction, and in TCP, where any segment might look like it: an ordinary one about one name */
	if (ask == dns[2] >> 7)
		return false;
	return p->protocol == IPPROTO_UDP || (!(dns[2] & 0x78) && dns[4] == 0 && dns[5] == 1);
}

/* Whether the running task is the one that sends: UDP leaves in its sender's call; TCP may leave when an
 * acknowledgement or a timer lets it, and then nobody holds the socket. */
static __always_inline bool dns_by_current(struct __sk_buff *skb, struct small_slot *slot, struct dns_place *p)
{
	if (p->protocol == IPPROTO_UDP)
		return true;
	struct bpf_sock *sk = skb->sk;
	if (!sk)
		return false;
	struct sock *plain = (void *)plain_sock(slot, sk);
	return BPF_CORE_READ(plain, sk_lock.owned);
}

/* The identity in a header: everything from the start of the process on. */
#define IDENTITY_BYTES (sizeof(struct record_header) - __builtin_offsetof(struct record_header, leader_start))

/* Makes the asker, or nobody, the one a record is about. */
static __always_inline void dns_identity(struct record_header *h, struct record_header *asker)
{
	h->flags &= ~KERNEL_THREAD;
	if (asker) {
		__builtin_memcpy(&h->leader_start, &asker->leader_start, IDENTITY_BYTES);
		h->flags |= asker->flags & KERNEL_THREAD;
	} else {
		__builtin_memset(&h->leader_start, 0, IDENTITY_BYTES);
	}
}

/* Fills body and message of a record that was begun. */
static __always_inline void dns_fill(struct __sk_buff *skb, struct small_slot *slot, struct dns_place *p)
{
	struct dns_record *r = (void *)slot->record;
	__builtin_memset(&r->b, 0, sizeof(r->b));
	r->b.packet_length = skb->len;
	r->b.ifindex = skb->ifindex;
	r->b.source_port = p->source_port;
	r->b.destination_port = p->destination_port;
	r->b.version = p->version;
	r->b.protocol = p->protocol;
	if (p->version == 4) {
		bpf_skb_load_bytes(skb, 12, r->b.source, 4);
		bpf_skb_load_bytes(skb, 16, r->b.destination, 4);
	} else {
		bpf_skb_load_bytes(skb, 8, r->b.source, 16);
		bpf_skb_load_bytes(skb, 24, r->b.destination, 16);
	}
	u64 n = p->length;
	if (n > DNS_BYTES)
		n = DNS_BYTES;
	opaque(n);
	if (n < DNS_HEADER || n > DNS_BYTES)
		return;
	if (bpf_skb_load_bytes(skb, p->at, r->bytes, n))
		return;
	struct area a = { &slot->next, &slot->path, slot->record, SMALL };
	set_slice(&a, DNS_MESSAGE, __builtin_offsetof(struct dns_record, bytes), n, p->length, n < p->length ? CUT : OK, 0);
	slot->next = __builtin_offsetof(struct dns_record, bytes) + n;
}
