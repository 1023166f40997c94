/* A file system was mounted: by mount, or by move_mount, which attaches what fsmount or open_tree made.
 *
 * tracepoint: the call succeeded. mount's texts exist only in user memory by then. What move_mount attaches
 * is a mount of the kernel's: its file system, its source and its place come from there.
 */
#include "../calls.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct file_system_type {
	const char *name;
};
struct super_block___mount {
	struct file_system_type *s_type;
	struct dentry *s_root;
};
struct vfsmount___mount {
	struct dentry *mnt_root;
	struct super_block___mount *mnt_sb;
	int mnt_flags;
};
struct mount___mount {
	const char *mnt_devname;
};
#pragma clang attribute pop

struct mount_body {
	u64 flags, data;
	u8 call, flags_known, data_known, reserved[5];
};
LAYOUT(mount_body)
enum mount_call { CALL_MOUNT, CALL_MOVE_MOUNT };
enum mount_slice { MOUNT_SOURCE, MOUNT_TARGET, MOUNT_FILESYSTEMTYPE, MOUNT_BASE, MOUNT_ROOT, MOUNT_SLICES };

#define MOVE_MOUNT_F_EMPTY_PATH 4
#define MOVE_MOUNT_SET_GROUP 0x100
#define MS_BIND 0x1000
#define MS_MOVE 0x2000

static __always_inline bool mount_is_call(u32 nr)
{
	return nr == SYS_MOUNT || nr == SYS_MOVE_MOUNT || nr == SYS32_MOUNT;
}

/* The flags of a mount as mount(2) spells them. */
static __always_inline u64 mount_flags(u32 mnt)
{
	/* nosuid nodev noexec are one place apart, noatime nodiratime are 7 */
	u64 flags = (mnt & 7) << 1 | (u64)(mnt & 0x18) << 7;
	if (mnt & 0x20)
		flags |= 1 << 21; /* relatime */
	if (mnt & 0x40)
		flags |= 1; /* read-only */
	return flags;
}

/* Appends what is known of the mount behind a descriptor that move_mount has just attached. */
__noinline int put_mounted(u32 slot, u32 fd)
{
	struct file *f = file_of(fd);
	if (!f)
		return 0;
	struct vfsmount *vm = BPF_CORE_READ(f, f_path.mnt);
	struct vfsmount___mount *m = (void *)vm;
	struct mount___mount *whole = (void *)vm - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(m, mnt_root);
	put_string(slot, MOUNT_SOURCE, (u64)BPF_CORE_READ(whole, mnt_devname), 0);
	put_path(slot, MOUNT_TARGET, (u64)root, (u64)vm);
	put_string(slot, MOUNT_FILESYSTEMTYPE, (u64)BPF_CORE_READ(m, mnt_sb, s_type, name), 0);
	if (root != BPF_CORE_READ(m, mnt_sb, s_root))
		put_path(slot, MOUNT_ROOT, (u64)root, 0);
	return BPF_CORE_READ(m, mnt_flags);
}

static __always_inline bool mount_sys_exit(struct call *c)
{
	bool moved = c->nr == SYS_MOVE_MOUNT;
	if (!moved && c->nr != (c->compat ? SYS32_MOUNT : SYS_MOUNT))
		return false;
	u32 interest = admit(KIND_MOUNT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0) {
		filter(KIND_MOUNT, FILTERED_FAILED);
		return true;
	}
	if (moved && c->arg[4] & MOVE_MOUNT_SET_GROUP) {
		filter(KIND_MOUNT, FILTERED_OTHER);
		return true;
	}
	struct mount_body *b = call_begin(KIND_MOUNT, c, interest, sizeof(*b), MOUNT_SLICES);
	if (!b)
		return true;
	if (moved) {
		u8 first = 0;
		b->call = CALL_MOVE_MOUNT;
		b->flags_known = 1;
		if (c->arg[1])
			bpf_probe_read_user(&first, 1, (void *)c->arg[1]);
		if (c->arg[4] & MOVE_MOUNT_F_EMPTY_PATH && !first) {
			b->flags = mount_flags(put_mounted(SLOT_SYS_EXIT, c->arg[0]));
		} else {
			b->flags = MS_MOVE;
			put_call_path(SLOT_SYS_EXIT, MOUNT_TARGET, MOUNT_BASE, c->arg[3], c->arg[2]);
			put_string(SLOT_SYS_EXIT, MOUNT_SOURCE, c->arg[1], USER_MEMORY | AS_GIVEN);
		}
	} else {
		b->call = CALL_MOUNT;
		b->flags_known = b->data_known = 1;
		b->flags = c->arg[3];
		b->data = c->arg[4];
		/* mount may do without these two */
		if (c->arg[0] && b->flags & (MS_BIND | MS_MOVE)) /* the source is a path */
			put_call_path(SLOT_SYS_EXIT, MOUNT_SOURCE, MOUNT_BASE, c->arg[0], AT_FDCWD);
		else if (c->arg[0])
			put_string(SLOT_SYS_EXIT, MOUNT_SOURCE, c->arg[0], USER_MEMORY | AS_GIVEN);
		if (c->arg[2])
			put_string(SLOT_SYS_EXIT, MOUNT_FILESYSTEMTYPE, c->arg[2], USER_MEMORY);
		put_call_path(SLOT_SYS_EXIT, MOUNT_TARGET, MOUNT_BASE, c->arg[1], AT_FDCWD);
	}
	submit(SLOT_SYS_EXIT, false);
	return true;
}
