/* A DNS response arrives at this host.
 *
 * tracepoint rung: a packet from port 53 passes the root of the unified control group hierarchy. It arrives while
 * any task runs; the process is the one that asked on the same socket, which a second program notes when requests
 * leave. Nobody where the socket asked before that program was there.
 */
#include "../dns.h"


SEC("cgroup_skb/egress")
int net_packet_dns_response__cgroup__egress(struct __sk_buff *skb)
{
	struct dns_place p = {};
	u32 slot_index = SLOT_DNS_EGRESS;
	if (!dns_find(skb, true, &p))
		return 1;
	u64 cookie = bpf_get_socket_cookie(skb);
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	if (!slot || !claim(slot))
		return 1; /* the answer will have no process, and say so */
	if (dns_by_current(skb, slot, &p)) {
		begin(SLOT_DNS_EGRESS, current_task(), KIND_NET_PACKET_DNS_RESPONSE, HOOK_CGROUP, 0, sizeof(struct dns_body), DNS_SLICES);
		bpf_map_update_elem(&DNS_ASKERS, &cookie, slot->record, BPF_ANY);
	}
	release(slot);
	return 1;
}

SEC("cgroup_skb/ingress")
int net_packet_dns_response__cgroup(struct __sk_buff *skb)
{
	struct dns_place p = {};
	u32 slot_index = SLOT_DNS_INGRESS;
	if (!dns_find(skb, false, &p))
		return 1;
	u64 cookie = bpf_get_socket_cookie(skb);
	struct record_header *asker = bpf_map_lookup_elem(&DNS_ASKERS, &cookie);
	u32 interest = admit_as(KIND_NET_PACKET_DNS_RESPONSE, RUNG_TRACEPOINT, asker ? asker->pid : 0);
	if (interest == REFUSED)
		return 1;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	if (!slot || !claim(slot)) {
		drop(KIND_NET_PACKET_DNS_RESPONSE, DROPPED_FAULT);
		return 1;
	}
	begin(SLOT_DNS_INGRESS, current_task(), KIND_NET_PACKET_DNS_RESPONSE, HOOK_CGROUP, interest & PROBE ? CANARY : 0, sizeof(struct dns_body), DNS_SLICES);
	dns_identity((void *)slot->record, asker);
	dns_fill(skb, slot, &p);
	submit(SLOT_DNS_INGRESS, false);
	release(slot);
	return 1;
}
