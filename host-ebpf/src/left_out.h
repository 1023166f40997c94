/* Who is left out on purpose, by the host's configuration: processes by their binary, control groups, and
 * processes that make more records than anybody could look at. Part of record.h. */
#pragma once

enum filter_flag { IGNORE_TASKS = 1, IGNORE_CGROUPS = 2, ONLY_CGROUPS = 4, SEE_OWN = 8 };
#define MAGICS 8
struct filters {
	u32 flags;
	u32 bank;  /* which of the two path automata counts */
	u32 rate;  /* records per second and process of a kind; 0 = any number */
	u32 burst; /* and at once */
	u64 magic[MAGICS];
};
LAYOUT(filters)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct filters);
} FILTERS SEC(".maps");

/* Ignored binaries. By file, not by path: who has a mount namespace of his own picks the paths in it. */
struct binary {
	u64 inode;
	u32 dev, reserved;
};
LAYOUT(binary)
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct binary);
	__type(value, u32);
} BINARIES SEC(".maps");

/* Their processes and what those started, by tgid. One that is forgotten is seen again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u32);
} IGNORED SEC(".maps");

/* Control groups by id, with the flag they are listed under. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u64);
	__type(value, u32);
} CGROUPS SEC(".maps");

static __always_inline struct filters *filters(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&FILTERS, &zero);
}

/* Whether what the host does itself is reported like anything else. */
static __always_inline bool see_own(void)
{
	struct filters *f = filters();
	return f && f->flags & SEE_OWN;
}

#define CGROUP_DEPTH 12

/* Whether the task's control group, or one above it, is listed under `flag`. */
static __always_inline bool in_cgroup(u32 flag)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct kernfs_node *node = BPF_CORE_READ(t, cgroups, dfl_cgrp, kn);
	for (u32 i = 0; i < CGROUP_DEPTH; i++) {
		if (!node)
			return false;
		u64 id = BPF_CORE_READ(node, id);
		u32 *listed = bpf_map_lookup_elem(&CGROUPS, &id);
		if (listed && *listed & flag)
			return true;
		struct kernfs_node___6_15 *newer = (void *)node;
		node = bpf_core_field_exists(newer->__parent) ? BPF_CORE_READ(newer, __parent) : BPF_CORE_READ(node, parent);
	}
	return false;
}

/* Why the current task's operations are left out; 0 when they are not. */
__noinline int left_out(void)
{
	struct filters *f = filters();
	if (!f || !f->flags)
		return 0;
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	if (f->flags & IGNORE_TASKS && bpf_map_lookup_elem(&IGNORED, &tgid))
		return FILTERED_BINARY;
	if (f->flags & IGNORE_CGROUPS && in_cgroup(IGNORE_CGROUPS))
		return FILTERED_CGROUP;
	if (f->flags & ONLY_CGROUPS && !in_cgroup(ONLY_CGROUPS))
		return FILTERED_CGROUP;
	return 0;
}

/* A new image: when it is an ignored binary, so is the process from now on. */
static __always_inline void mark_ignored(u64 inode, u32 dev)
{
	struct binary file = { .inode = inode, .dev = dev };
	u32 tgid = bpf_get_current_pid_tgid() >> 32, yes = 1;
	if (bpf_map_lookup_elem(&BINARIES, &file))
		bpf_map_update_elem(&IGNORED, &tgid, &yes, BPF_ANY);
}

/* A process starts as what its creator is, and stays that until it ends. */
static __always_inline void inherit_ignored(u32 parent, u32 child)
{
	u32 *ignored = bpf_map_lookup_elem(&IGNORED, &parent), yes = 1;
	if (ignored)
		bpf_map_update_elem(&IGNORED, &child, &yes, BPF_ANY);
}

/* What a process may still report of a kind, and which processes reported too much: the host reads these. */
struct task_kind {
	u32 tgid, kind;
};
struct bucket {
	u64 time, tokens;
};
struct throttled {
	u64 count;
	u8 comm[16];
};
LAYOUT(throttled)
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct task_kind);
	__type(value, struct bucket);
} BUCKETS SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct task_kind);
	__type(value, struct throttled);
} THROTTLED SEC(".maps");

#define SECOND 1000000000ull

/* Takes a token of a process, the one that the record is about, for a record of `kind`. True when there is none left. Processors that
 * do so at once may take one token together: the limit is not that exact. */
__noinline int throttle(u32 kind, u32 tgid, u64 comm)
{
	struct filters *f = filters();
	if (!f || !f->rate)
		return 0;
	u64 rate = f->rate, burst = f->burst, now = bpf_ktime_get_boot_ns();
	struct task_kind key = { .tgid = tgid, .kind = kind };
	struct bucket *b = bpf_map_lookup_elem(&BUCKETS, &key);
	if (!b) {
		struct bucket full = { .time = now, .tokens = burst };
		bpf_map_update_elem(&BUCKETS, &key, &full, BPF_NOEXIST);
		return 0;
	}
	u64 elapsed = now - b->time, tokens = b->tokens;
	if (elapsed > 64 * SECOND)
		elapsed = 64 * SECOND;
	u64 earned = elapsed * rate / SECOND;
	if (earned) {
		tokens += earned;
		if (tokens > burst)
			tokens = burst;
		b->time = now;
		b->tokens = tokens;
	}
	if (tokens) {
		b->tokens = tokens - 1;
		return 0;
	}
	struct throttled *t = bpf_map_lookup_elem(&THROTTLED, &key);
	if (t) {
		__sync_fetch_and_add(&t->count, 1);
	} else {
		struct throttled first = { .count = 1 };
		bpf_probe_read_kernel(first.comm, sizeof(first.comm), (void *)comm);
		bpf_map_update_elem(&THROTTLED, &key, &first, BPF_ANY);
	}
	return 1;
}
