/* The owner of a file was changed with fchownat, which is what the chown program uses.
 *
 * tracepoint: the call succeeded; the path is given as the process gave it, with the directory it starts from.
 */
#include "../calls.h"

struct fchownat_body {
	s32 dirfd, owner, group;
	u32 flags;
};
LAYOUT(fchownat_body)
enum fchownat_slice { FCHOWNAT_PATHNAME, FCHOWNAT_BASE, FCHOWNAT_SLICES };

static __always_inline bool fchownat_is_call(u32 nr)
{
	return nr == SYS_FCHOWNAT || nr == SYS32_FCHOWNAT;
}

static __always_inline bool fchownat_sys_exit(struct call *c)
{
	if (c->nr != (c->compat ? SYS32_FCHOWNAT : SYS_FCHOWNAT))
		return false;
	u32 interest = admit(KIND_FCHOWNAT, RUNG_TRACEPOINT, true);
	if (interest == REFUSED)
		return true;
	if (c->ret < 0) {
		filter(KIND_FCHOWNAT, FILTERED_FAILED);
		return true;
	}
	struct fchownat_body *b = call_begin(KIND_FCHOWNAT, c, interest, sizeof(*b), FCHOWNAT_SLICES);
	if (!b)
		return true;
	b->dirfd = c->arg[0];
	b->owner = c->arg[2];
	b->group = c->arg[3];
	b->flags = c->arg[4];
	put_call_path(SLOT_SYS_EXIT, FCHOWNAT_PATHNAME, FCHOWNAT_BASE, c->arg[1], c->arg[0]);
	submit(SLOT_SYS_EXIT, false);
	return true;
}
