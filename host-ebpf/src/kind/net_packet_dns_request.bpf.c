/* A DNS request leaves this host.
 *
 * tracepoint rung: a packet to port 53 passes the root of the unified control group hierarchy. The process is
 * the running task where it is the sender, else nobody.
 */
#include "../dns.h"


SEC("cgroup_skb/egress")
int net_packet_dns_request__cgroup(struct __sk_buff *skb)
{
	struct dns_place p = {};
	u32 slot_index = SLOT_DNS_EGRESS;
	if (!dns_find(skb, true, &p))
		return 1;
	struct task_struct *t = (void *)bpf_get_current_task();
	u32 interest = admit_as(KIND_NET_PACKET_DNS_REQUEST, RUNG_TRACEPOINT, BPF_CORE_READ(t, tgid));
	if (interest == REFUSED)
		return 1;
	struct small_slot *slot = bpf_map_lookup_elem(&SMALL_SLOTS, &slot_index);
	if (!slot || !claim(slot)) {
		drop(KIND_NET_PACKET_DNS_REQUEST, DROPPED_FAULT);
		return 1;
	}
	bool known = dns_by_current(skb, slot, &p);
	begin(SLOT_DNS_EGRESS, current_task(), KIND_NET_PACKET_DNS_REQUEST, HOOK_CGROUP, interest & PROBE ? CANARY : 0, sizeof(struct dns_body), DNS_SLICES);
	if (!known)
		dns_identity((void *)slot->record, 0);
	dns_fill(skb, slot, &p);
	submit(SLOT_DNS_EGRESS, false);
	release(slot);
	return 1;
}
