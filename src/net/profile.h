/* What a profile of config.lua names outside of the file (users' hashes, the first policy,
 * scripts, the folder of Lua files), read and tried: by a node that starts, and by
 * `usher config check`, so that the one refuses what the other would. */
#ifndef USHER_NET_PROFILE_H
#define USHER_NET_PROFILE_H

#include "net/access.h"
#include "script/config.h"

/* The users. On 0 the caller frees *out; on error there is none. Errors name the user. */
int profile_access(const struct config *config, struct access **out, struct error *e);
/* The profile's first policy compiled in a VM of its own, its scripts there, its folder of
 * Lua files there. Blocking, for programs. Errors name the key. */
int profile_check(const struct config *config, struct error *e);

#endif
