/* A name of a file was removed, as the calls unlink and unlinkat see it.
 *
 * tracepoint: the call succeeded; the path is given as the process gave it, with the directory it starts
 * from. The kind beside this one reports the same removal by its inode, where the rung knows it.
 */
#include "../calls.h"

struct unlink_call_body {
	u8 call, reserved[7];
};
LAYOUT(unlink_call_body)
enum unlink_call { CALL_UNLINK, CALL_UNLINKAT };
enum unlink_call_slice { UNLINK_CALL_PATHNAME, UNLINK_CALL_BASE, UNLINK_CALL_SLICES };

static __always_inline bool unlink_call_is_call(u32 nr)
{
	return nr == SYS_UNLINK || nr == SYS_UNLINKAT || nr == SYS32_UNLINK || nr == SYS32_UNLINKAT;
}

/* Always false: another kind is about the same calls. */
static __always_inline bool unlink_call_sys_exit(struct call *c)
{
	bool at = c->nr == (c->compat ? SYS32_UNLINKAT : SYS_UNLINKAT);
	if (!at && c->nr != (c->compat ? SYS32_UNLINK : SYS_UNLINK))
		return false;
	if (at && c->arg[2] & AT_REMOVEDIR)
		return false;
	u32 interest = admit(KIND_UNLINK, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return false;
	if (c->ret < 0) {
		filter(KIND_UNLINK, FILTERED_FAILED);
		return false;
	}
	struct unlink_call_body *b = call_begin(KIND_UNLINK, c, interest, sizeof(*b), UNLINK_CALL_SLICES);
	if (!b)
		return false;
	b->call = at;
	put_call_path(SLOT_SYS_EXIT, UNLINK_CALL_PATHNAME, UNLINK_CALL_BASE, at ? c->arg[1] : c->arg[0], at ? (s32)c->arg[0] : AT_FDCWD);
	submit(SLOT_SYS_EXIT, false);
	return false;
}
