/* The owner of a file was changed with chown, lchown or fchown.
 *
 * tracepoint: the call succeeded. fchown's file is the kernel's; the path of the others exists only in
 * user memory by then, so it is given as the process gave it, with the directory it starts from.
 */
#include "../calls.h"

struct chown_body {
	s32 owner, group;
	u8 call, reserved[7];
};
LAYOUT(chown_body)
enum chown_call { CALL_CHOWN, CALL_LCHOWN, CALL_FCHOWN };
enum chown_slice { CHOWN_PATHNAME, CHOWN_BASE, CHOWN_SLICES };

static __always_inline bool chown_is_call(u32 nr)
{
	return nr == SYS_CHOWN || nr == SYS_LCHOWN || nr == SYS_FCHOWN || nr == SYS32_CHOWN || nr == SYS32_LCHOWN || nr == SYS32_FCHOWN ||
	       nr == SYS32_CHOWN16 || nr == SYS32_LCHOWN16 || nr == SYS32_FCHOWN16;
}

static __always_inline bool chown_sys_exit(struct call *c)
{
	u32 nr = c->nr, call;
	bool narrow = c->compat && (nr == SYS32_CHOWN16 || nr == SYS32_LCHOWN16 || nr == SYS32_FCHOWN16);
	if (c->compat ? nr == SYS32_CHOWN || nr == SYS32_CHOWN16 : nr == SYS_CHOWN)
		call = CALL_CHOWN;
	else if (c->compat ? nr == SYS32_LCHOWN || nr == SYS32_LCHOWN16 : nr == SYS_LCHOWN)
		call = CALL_LCHOWN;
	else if (c->compat ? nr == SYS32_FCHOWN || nr == SYS32_FCHOWN16 : nr == SYS_FCHOWN)
		call = CALL_FCHOWN;
	else
		return false;
	u32 interest = admit(KIND_CHOWN, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0) {
		filter(KIND_CHOWN, FILTERED_FAILED);
		return true;
	}
	struct chown_body *b = call_begin(KIND_CHOWN, c, interest, sizeof(*b), CHOWN_SLICES);
	if (!b)
		return true;
	b->call = call;
	b->owner = narrow ? wide_id(c->arg[1]) : (s32)c->arg[1];
	b->group = narrow ? wide_id(c->arg[2]) : (s32)c->arg[2];
	if (call == CALL_FCHOWN) {
		struct file *f = file_of(c->arg[0]);
		if (f)
			put_file_path(SLOT_SYS_EXIT, CHOWN_PATHNAME, f);
	} else {
		put_call_path(SLOT_SYS_EXIT, CHOWN_PATHNAME, CHOWN_BASE, c->arg[0], AT_FDCWD);
	}
	submit(SLOT_SYS_EXIT, false);
	return true;
}
