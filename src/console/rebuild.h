/* `usher node --id N --rebuild`: a node whose files are damaged, or whose state differs from
 * the others', starts anew from them. */
#ifndef USHER_CONSOLE_REBUILD_H
#define USHER_CONSOLE_REBUILD_H

#include "base/error.h"

struct rebuild_options {
    const char *dir, *address;
    const char *const *nodes; /* the profile's addresses, NULL-ended */
    const char *user;         /* NULL: none; the password is in $USHER_PASSWORD */
    const char *program;      /* how this program was called */
};

/* Before the node starts: moves the directory aside (nothing is deleted) and says where. An
 * absent or still unused directory is left. ERR_CONFLICT: in use, or nobody to rebuild from. */
int rebuild_prepare(const struct rebuild_options *o, struct error *e);
/* Once the node listens: asks the others, in the background, to put the node that lives here
 * now into the place of the one that lived here before. Tells how it went on stderr. */
void rebuild_join(const struct rebuild_options *o);

#endif
