/* Records: how one is begun, filled and handed over.
 *
 * Every program owns one scratch slot per CPU and builds its record there; the record enters the ring
 * in one copy at the end. A reservation early on would hold up every record behind it.
 *
 * The functions that append are global and take scalars, so that the verifier checks each once, on
 * its own, instead of once per call and path: an inlined exec program exceeds its million-step limit.
 */
#pragma once
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "kinds.h"

#define VERSION 1

/* Puts a structure into the object's BTF, where a test compares it with the Rust one: clang describes
 * only types in the prototypes of functions. The function is in no program. */
#define LAYOUT(name)                     \
	int layout_##name(struct name *s) \
	{                                 \
		return s != 0;            \
	}

struct record_header {
	u32 length;
	u16 kind;
	u8 version;
	u8 hook;
	u16 flags;
	u16 slice_table;
	u16 slice_count;
	u16 cpu;
	u64 time;
	u64 leader_start;
	u64 thread_start;
	u64 parent_start;
	u64 cgroup_id;
	u32 pid, tid, ppid;
	u32 ns_pid, ns_tid, ns_ppid;
	u32 uid, euid, gid, egid;
	u32 login_uid, session;
	u32 mnt_ns, pid_ns;
	u8 comm[16];
	u8 nodename[64];
};
LAYOUT(record_header)
enum record_flag { COMPAT = 1, IO_URING = 2, TRUNCATED = 4, CANARY = 8, KERNEL_THREAD = 16 };
enum hook { HOOK_TRACEPOINT = 1, HOOK_KPROBE, HOOK_SYS_EXIT, HOOK_INET_SOCK_SET_STATE, HOOK_IO_URING_COMPLETE, HOOK_ITER_TASK, HOOK_CGROUP };

struct slice {
	u16 offset, length;
	u32 original;
	u8 status, flags;
	u16 reserved;
};
LAYOUT(slice)
enum slice_status { ABSENT, OK, CUT, FAULT };
enum slice_flag { DELETED = 1, USER_MEMORY = 2, PSEUDO = 4, AS_GIVEN = 8, FS_RELATIVE = 16 };
#define UNKNOWN_LENGTH 0xffffffffu

struct kind_counters {
	u64 run;
	u64 submitted;
	u64 filtered[16];
	u64 dropped[4];
	u64 canary;
	u64 reserved;
};
enum filtered { FILTERED_OFF, FILTERED_OWN, FILTERED_THREAD, FILTERED_FAILED, FILTERED_CLASS, FILTERED_PAIRED, FILTERED_OTHER, FILTERED_REPEAT,
		FILTERED_PATH = 10, FILTERED_BINARY, FILTERED_CGROUP, FILTERED_FILESYSTEM, FILTERED_THROTTLED };
enum dropped { DROPPED_HEADROOM, DROPPED_FULL, DROPPED_FAULT, DROPPED_UNPAIRED };

/* What the host wants of a kind. */
struct interest {
	u32 flags;
	u32 rung;
};
enum interest_flag { WANTED = 1, CHANGES_ONLY = 2, NO_UNIX = 4 };
enum rung { RUNG_KPROBE = 1, RUNG_TRACEPOINT };

/* What the host says about itself. */
struct config {
	u32 own_tgid; /* in the initial pid namespace; the task iterator writes it, running as the host */
	u32 canary;   /* while set, the host's own operations pass, marked */
};

#define MAX_KINDS 64
#define SMALL 16384
#define BIG 65536
#define PATH_BYTES 4096
#define NAME_BYTES 255

/* A path being walked: its bytes grow towards the front of `bytes`. */
struct walk {
	u64 dentry, mount, root;
	u32 start, flags, cut;
	u32 at, state, groups; /* of the automaton that reads it */
	u8 bytes[PATH_BYTES + 256];
};
/* A slot: where the next byte goes, how many programs are in it (see claim), a place to build a path, the record. */
#define SLOT(size)                \
	{                         \
		u32 next, busy;   \
		struct walk path; \
		u8 record[size];  \
	}
struct small_slot SLOT(SMALL);
struct big_slot SLOT(BIG);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} RING SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, struct small_slot);
} SMALL_SLOTS SEC(".maps");
/* A per-CPU value is limited to 32 KiB, so the big slots are a plain array indexed by CPU; the loader
 * sets max_entries to the number of possible CPUs. Only exec has one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct big_slot);
} BIG_SLOTS SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_KINDS);
	__type(key, u32);
	__type(value, struct kind_counters);
} COUNTERS SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_KINDS);
	__type(key, u32);
	__type(value, struct interest);
} INTEREST SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct config);
} CONFIG SEC(".maps");

/* Where a slot lies; the limits follow the branch, so the verifier knows both. */
struct area {
	u32 *next;
	struct walk *path;
	u8 *record;
	u32 size;
};
static __always_inline bool area_of(u32 slot, struct area *a)
{
	if (slot == SLOT_EXEC) {
		u32 cpu = bpf_get_smp_processor_id();
		struct big_slot *s = bpf_map_lookup_elem(&BIG_SLOTS, &cpu);
		if (!s)
			return false;
		*a = (struct area){ &s->next, &s->path, s->record, BIG };
	} else {
		struct small_slot *s = bpf_map_lookup_elem(&SMALL_SLOTS, &slot);
		if (!s)
			return false;
		*a = (struct area){ &s->next, &s->path, s->record, SMALL };
	}
	return true;
}

/* Programs at control groups may be preempted, and run again on the same CPU for another task: who finds the slot
 * taken leaves it alone and counts a drop. Adding first and looking afterwards lets at most one in. */
static __always_inline bool claim(struct small_slot *s)
{
	__sync_fetch_and_add(&s->busy, 1);
	if (*(volatile u32 *)&s->busy == 1)
		return true;
	__sync_fetch_and_add(&s->busy, -1);
	return false;
}
static __always_inline void release(struct small_slot *s)
{
	__sync_fetch_and_add(&s->busy, -1);
}
/* A socket of such a program's context as a plain number: through a slot, because older verifiers refuse other ways. */
static __always_inline u64 plain_sock(struct small_slot *s, struct bpf_sock *sk)
{
	volatile u64 *place = (void *)&s->path.root;
	*place = (u64)sk;
	return *place;
}

/* Keeps the compiler from folding a bound that the verifier needs to see. */
#define opaque(x) asm volatile("" : "+r"(x))

/* A typed kernel pointer as a plain number, which a global function accepts. */
static __always_inline u64 scalar(const void *p)
{
	u64 v = 0;
	bpf_probe_read_kernel(&v, sizeof(v), &p);
	return v;
}

static __always_inline struct kind_counters *counters(u32 kind)
{
	return bpf_map_lookup_elem(&COUNTERS, &kind);
}
/* Atomic although per CPU: another program may run on this CPU in the middle of an increment. */
#define count(kind, field)                                      \
	({                                                      \
		struct kind_counters *c_ = counters(kind);      \
		if (c_)                                         \
			__sync_fetch_and_add(&c_->field, 1);    \
	})
#define filter(kind, why) count(kind, filtered[(why) & 15])
#define drop(kind, why) count(kind, dropped[(why) & 3])

#include "left_out.h"

/* Counts a run of a kind and says whether it goes on: REFUSED, or the interest flags, with PROBE when
 * it is the host's own probe of the hook. `tgid` is who acts, 0 where the host's own operations count, too. */
#define REFUSED 0
#define PROBE 0x80000000u
static __always_inline u32 admit_for(u32 kind, u32 rung, u32 tgid, const bool current)
{
	u32 zero = 0, probe = 0;
	struct interest *i = bpf_map_lookup_elem(&INTEREST, &kind);
	if (!i || (i->rung && i->rung != rung))
		return REFUSED;
	count(kind, run);
	if (!(i->flags & WANTED)) {
		filter(kind, FILTERED_OFF);
		return REFUSED;
	}
	if (tgid) {
		struct config *c = bpf_map_lookup_elem(&CONFIG, &zero);
		if (c && c->own_tgid == tgid) {
			if (c->canary) {
				probe = PROBE;
			} else if (!see_own()) {
				filter(kind, FILTERED_OWN);
				return REFUSED;
			}
		}
	}
	if (current && kind > KIND_SCHED_PROCESS_EXIT && !probe) {
		u32 why = left_out();
		if (why) {
			filter(kind, why);
			return REFUSED;
		}
	}
	return i->flags | probe;
}
/* For what another task may have done: packets come when they come, and their programs may not even ask
 * which task is running before 6.18. */
static __always_inline u32 admit_as(u32 kind, u32 rung, u32 tgid)
{
	return admit_for(kind, rung, tgid, false);
}
/* For what the current task does. */
static __always_inline u32 admit(u32 kind, u32 rung, bool own)
{
	return admit_for(kind, rung, own ? bpf_get_current_pid_tgid() >> 32 : 0, true);
}

/* Whether a kind is wanted on a rung; counts nothing. For the first half of a two-step hook. */
static __always_inline bool wanted(u32 kind, u32 rung)
{
	struct interest *i = bpf_map_lookup_elem(&INTEREST, &kind);
	return i && i->rung == rung && i->flags & WANTED;
}

/* Hands the record over. Lifecycle kinds may fill the ring, the others leave a quarter to them. The
 * reader polls, so it is woken only when the unread bytes pass a multiple of 64 KiB: a wake-up per
 * record costs the producer more than the record. */
__noinline int submit(u32 slot, u32 lifecycle)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	struct record_header *h = (void *)a.record;
	u32 kind = h->kind;
	u64 length = *a.next;
	if (h->flags & CANARY)
		count(kind, canary);
	else if (!lifecycle && throttle(kind, h->pid, scalar(h->comm))) {
		filter(kind, FILTERED_THROTTLED);
		return 0;
	}
	u64 unread = bpf_ringbuf_query(&RING, BPF_RB_AVAIL_DATA);
	if (!lifecycle) {
		u64 size = bpf_ringbuf_query(&RING, BPF_RB_RING_SIZE);
		if (unread + length > size - size / 4) {
			drop(kind, DROPPED_HEADROOM);
			return 0;
		}
	}
	opaque(length);
	if (length < sizeof(*h) || length > a.size) {
		drop(kind, DROPPED_FAULT);
		return 0;
	}
	h->length = length;
	u64 wake = unread >> 16 != (unread + length) >> 16 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(&RING, a.record, length, wake))
		drop(kind, DROPPED_FULL);
	else
		count(kind, submitted);
	return 0;
}

/* Writes an entry of the slice table. */
static __always_inline void set_slice(struct area *a, u32 index, u32 offset, u32 length, u32 original, u32 status, u32 flags)
{
	struct record_header *h = (void *)a->record;
	u64 at = h->slice_table + (index & 31) * sizeof(struct slice);
	opaque(at);
	at &= 1023; /* for the verifier: tables end before */
	struct slice *s = (void *)(a->record + at);
	s->offset = offset;
	s->length = length;
	s->original = original;
	s->status = status;
	s->flags = flags;
	s->reserved = 0;
	if (status > OK)
		h->flags |= TRUNCATED;
}

/* Appends a NUL-terminated string of at most PATH_BYTES bytes, from user memory when `flags` says so. */
__noinline int put_string(u32 slot, u32 index, u64 from, u32 flags)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	u64 at = *a.next;
	opaque(at);
	if (at > a.size - (PATH_BYTES + 1)) {
		set_slice(&a, index, 0, 0, UNKNOWN_LENGTH, CUT, flags);
		return 0;
	}
	u8 *to = a.record + at;
	long n = flags & USER_MEMORY ? bpf_probe_read_user_str(to, PATH_BYTES + 1, (void *)from)
		      : bpf_probe_read_kernel_str(to, PATH_BYTES + 1, (void *)from);
	if (n <= 0) {
		set_slice(&a, index, at, 0, UNKNOWN_LENGTH, FAULT, flags);
		return 0;
	}
	bool cut = n > PATH_BYTES;
	set_slice(&a, index, at, n - 1, cut ? UNKNOWN_LENGTH : n - 1, cut ? CUT : OK, flags);
	*a.next = at + n - 1;
	return 0;
}

/* Appends `length` bytes, at most 256, from user memory when `flags` says so. */
__noinline int put_bytes(u32 slot, u32 index, u64 from, u32 length, u32 flags)
{
	struct area a;
	if (!area_of(slot, &a))
		return 0;
	u64 at = *a.next, n = length;
	opaque(at);
	if (at > a.size - 256)
		return 0;
	if (n > 256)
		n = 256;
	opaque(n);
	if (n > 256)
		return 0;
	long failed = flags & USER_MEMORY ? bpf_probe_read_user(a.record + at, n, (void *)from)
			   : bpf_probe_read_kernel(a.record + at, n, (void *)from);
	if (failed) {
		set_slice(&a, index, at, 0, length, FAULT, flags);
		return 0;
	}
	set_slice(&a, index, at, n, length, n < length ? CUT : OK, flags);
	*a.next = at + n;
	return 0;
}
