/* A policy on disk (one .lua file, or a folder of them) as a bundle. Blocking: for start-up
 * and for the programs of a client, never for the loop. */
#ifndef USHER_POLICY_BUNDLE_FILES_H
#define USHER_POLICY_BUNDLE_FILES_H

#include "base/buf.h"
#include "base/error.h"

/* A folder gives every .lua file in it and in its folders but the *_spec.lua; it must have a
 * policy.lua. A file gives itself, under the name policy.lua, and the modules beside it that
 * it requires. The same files make the same bytes everywhere. BADARG names the path and what
 * is wrong. */
int policy_files_read(const char *path, struct buf *bundle, struct error *e);

#endif
