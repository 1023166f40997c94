/* Whether anybody wants the path in a slot: an automaton, made by the host, reads it once and says which groups
 * of texts are in it. ASCII case, the start and the end of the path are part of the automaton's classes, so this
 * side only follows it. Part of path.h. */
#pragma once

#define STATES 4096
#define CLASSES 64
/* Two classes for what is not in the path. */
enum path_class { CLASS_OTHER, CLASS_START, CLASS_END };
struct path_state {
	u16 next[CLASSES];
	u32 groups, reserved;
};
LAYOUT(path_state)
struct path_classes {
	u8 of[256];
	u32 start; /* the state before the first byte */
};
LAYOUT(path_classes)

/* Two of each, so that one can be written while the other is in use. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * STATES);
	__type(key, u32);
	__type(value, struct path_state);
} PATH_STATES SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct path_classes);
} PATH_CLASSES SEC(".maps");

/* The groups that a kind is wanted for; 0 = whatever the path. */
struct path_wish {
	u32 any;    /* of any operation */
	u32 change; /* of those that can change the file */
};
LAYOUT(path_wish)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_KINDS);
	__type(key, u32);
	__type(value, struct path_wish);
} PATH_WISHES SEC(".maps");

static __always_inline struct path_state *path_state(u32 bank, u32 state)
{
	u32 key = (bank & 1) * STATES + (state & (STATES - 1));
	return bpf_map_lookup_elem(&PATH_STATES, &key);
}

#define SCAN_BYTES 64

/* Reads the next bytes of the path. True when it has come to the end. A function of its own because the verifier
 * then looks at 64 steps instead of 4,096. */
__noinline int scan(u32 slot, u32 bank)
{
	struct area a;
	bank &= 1;
	struct path_classes *c = bpf_map_lookup_elem(&PATH_CLASSES, &bank);
	if (!c || !area_of(slot, &a))
		return 1;
	struct walk *w = a.path;
	u32 at = w->at, state = w->state, groups = w->groups;
	for (u32 i = 0; i < SCAN_BYTES; i++) {
		if (at >= PATH_BYTES)
			break;
		struct path_state *s = path_state(bank, state);
		if (!s)
			return 1;
		groups |= s->groups;
		u64 class = c->of[*path_at(w, at)];
		opaque(class);
		state = s->next[class & (CLASSES - 1)];
		at++;
	}
	w->at = at;
	w->state = state;
	w->groups = groups;
	return at >= PATH_BYTES;
}

/* The groups whose texts are in the path that was built last. */
__noinline int path_groups(u32 slot)
{
	struct area a;
	struct filters *f = filters();
	if (!f || !area_of(slot, &a))
		return 0;
	u32 bank = f->bank & 1;
	struct path_classes *c = bpf_map_lookup_elem(&PATH_CLASSES, &bank);
	if (!c)
		return 0;
	struct walk *w = a.path;
	w->at = w->start;
	w->state = c->start;
	w->groups = 0;
	for (u32 i = 0; i < PATH_BYTES / SCAN_BYTES; i++)
		if (scan(slot, bank))
			break;
	struct path_state *last = path_state(bank, w->state), *end = last ? path_state(bank, last->next[CLASS_END]) : 0;
	return w->groups | (last ? last->groups : 0) | (end ? end->groups : 0);
}

/* Whether the path that was built last is wanted; of a cut path nobody knows. */
__noinline int path_wanted(u32 slot, u32 kind, u32 change)
{
	struct area a;
	struct path_wish *wish = bpf_map_lookup_elem(&PATH_WISHES, &kind);
	if (!wish || !area_of(slot, &a))
		return 1;
	u32 groups = wish->any;
	if (!groups || (change && !wish->change) || a.path->cut)
		return 1;
	if (change)
		groups |= wish->change;
	return !!(path_groups(slot) & groups);
}

/* Whether files of this file system are left out. */
static __always_inline bool left_out_filesystem(struct inode *inode)
{
	struct filters *f = filters();
	if (!f || !f->magic[0])
		return false;
	u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);
	for (u32 i = 0; i < MAGICS; i++)
		if (f->magic[i] && f->magic[i] == magic)
			return true;
	return false;
}
